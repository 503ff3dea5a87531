"""The same bridge on FastStream: a subscriber on its MQTT broker that publishes with its RabbitMQ broker.

    python benchmarks/peers/faststream_app.py MQTT_PORT AMQP_PORT [--workers N]

As it comes it handles one event at a time and acknowledges it when the handler has returned. With workers it has N under way
and acknowledges on arrival what it has buffered.
"""

from __future__ import annotations

import argparse
import asyncio

from faststream.mqtt import MQTTBroker, MQTTMessage, QoS
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange


async def serve(mqtt: int, amqp: int, workers: int) -> None:
    # Without its logger, which writes two lines for each event.
    source = MQTTBroker("127.0.0.1", port=mqtt, logger=None)
    sink = RabbitBroker(f"amqp://guest:guest@127.0.0.1:{amqp}/", logger=None)
    exchange = RabbitExchange("bench", type=ExchangeType.TOPIC, durable=True)

    @source.subscriber("bench/#", qos=QoS.AT_LEAST_ONCE, max_workers=workers)
    async def forward(event: MQTTMessage) -> None:
        topic = str(event.raw_message.topic)
        await sink.publish(event.body, routing_key=topic.replace("/", "."), exchange=exchange, persist=True)

    await sink.connect()
    await sink.declare_exchange(exchange)
    await source.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mqtt", type=int)
    parser.add_argument("amqp", type=int)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(serve(options.mqtt, options.amqp, options.workers))


if __name__ == "__main__":
    main()
