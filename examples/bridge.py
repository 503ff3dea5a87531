"""MQTT to RabbitMQ, nothing lost: an event is acknowledged to the MQTT broker when RabbitMQ has confirmed it.

    python examples/bridge.py MQTT AMQP [--spool PATH] [--through N]

MQTT and AMQP are ports or addresses. Takes ``bench/#`` at QoS 1 under a persistent session and publishes to the durable topic
exchange ``bench``, slashes as dots. Prints ``ready`` once both sides are up.
"""

from __future__ import annotations

import argparse
import threading

from pylib.app import ZmqRelay
from pylib.brokers.identity import forward
from pylib.brokers.port import Delivery
from pylib.brokers.topics import topic_to_key
from pylib.mqtt import MqttSubscriber
from pylib.observe.logging import configure_logging
from pylib.process import SignalHandler
from pylib.rabbit import RabbitMQRelay
from pylib.threads import bye, interruptable_sleep
from pylib.zmq import zmq_term


def main() -> None:
    parser = argparse.ArgumentParser(description="MQTT to RabbitMQ, nothing lost.")
    parser.add_argument("mqtt", help="port or address of the MQTT broker")
    parser.add_argument("amqp", help="port or address of RabbitMQ")
    parser.add_argument("--spool", metavar="PATH", help="file in which events wait while RabbitMQ is away")
    parser.add_argument("--through", type=int, default=0, help="relays in between")
    options = parser.parse_args()
    configure_logging()
    SignalHandler()
    waited_for = {"mqtt", "rabbitmq"}
    lock = threading.Lock()

    def is_up(side: str) -> None:
        with lock:  # each side says so on its own thread, and says it again whenever it is back
            if side in waited_for:
                waited_for.remove(side)
                if not waited_for:
                    print("ready", flush=True)

    pipes = [f"inproc://stage-{n}" for n in range(options.through)] + ["inproc://rabbit-mq-publisher"]
    relay = RabbitMQRelay(
        pipes[-1], address(options.amqp), "bench", wait=True, spool=options.spool, on_ready=lambda: is_up("rabbitmq")
    )
    stages = [ZmqRelay(f"stage {n}", pipes[n], pipes[n + 1]) for n in range(options.through)]
    subscriber = MqttSubscriber(
        address(options.mqtt),
        "bench/#",
        sink_url=pipes[0],
        client_id="bridge",
        decode=to_rabbit,
        on_ready=lambda: is_up("mqtt"),
    )
    for thread in (relay, *reversed(stages), subscriber):
        thread.start()
    interruptable_sleep.wait()
    zmq_term()
    bye()


def to_rabbit(delivery: Delivery) -> tuple[str, bytes, dict[str, object]]:
    return forward(delivery, topic_to_key(delivery.address))


def address(text: str) -> str:
    return f"127.0.0.1:{text}" if text.isdigit() else text


if __name__ == "__main__":
    main()
