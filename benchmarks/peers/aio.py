"""The same bridge on asyncio: aiomqtt in, aio-pika out, up to 500 publisher confirms awaited at a time.

    python benchmarks/peers/aio.py MQTT_PORT AMQP_PORT [--uvloop]

aiomqtt acknowledges an event when it arrives, so an event whose confirm is still awaited is lost with the process.
"""

from __future__ import annotations

import argparse
import asyncio

import aio_pika
import aiomqtt

IN_FLIGHT = 500


async def serve(mqtt: int, amqp: int) -> None:
    connection = await aio_pika.connect_robust(f"amqp://guest:guest@127.0.0.1:{amqp}/")
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.declare_exchange("bench", aio_pika.ExchangeType.TOPIC, durable=True)
    places = asyncio.Semaphore(IN_FLIGHT)

    async def publish(event: aiomqtt.Message) -> None:
        try:
            message = aio_pika.Message(bytes(event.payload), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, str(event.topic).replace("/", "."))
        finally:
            places.release()

    async with aiomqtt.Client("127.0.0.1", mqtt) as client, asyncio.TaskGroup() as group:
        await client.subscribe("bench/#", qos=1)
        print("ready", flush=True)
        async for event in client.messages:
            await places.acquire()
            group.create_task(publish(event))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mqtt", type=int)
    parser.add_argument("amqp", type=int)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    if options.uvloop:
        import uvloop

        uvloop.run(serve(options.mqtt, options.amqp))
    else:
        asyncio.run(serve(options.mqtt, options.amqp))


if __name__ == "__main__":
    main()
