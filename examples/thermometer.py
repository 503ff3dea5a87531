"""An input application on RabbitMQ: says that it is there, and reports the temperature when it changes.

    APP_CONFIG=examples/app.conf python examples/thermometer.py [--alarm 30]

Above --alarm degrees it is active, and whatever [links] joins to "Kitchen Thermometer" is set off.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator

import zmq
from pika.exceptions import AMQPConnectionError
from zmq.error import ContextTerminated

from pylib import app_config
from pylib.observe.logging import configure_logging
from pylib.process import SignalHandler
from pylib.rabbit import RabbitMQRelay
from pylib.threads import bye, die, interruptable_sleep, shutting_down
from pylib.zmq import URL_RABBIT_MQ_PUBLISHER, zmq_socket, zmq_term

DEVICE = {"device_key": "Kitchen Thermometer", "type": "temperature", "device_label": "Kitchen"}
TOPIC = "thermometer"


def main() -> None:
    options = arguments()
    configure_logging()
    SignalHandler()
    try:
        relay = RabbitMQRelay(
            zmq_url=URL_RABBIT_MQ_PUBLISHER,
            mq_server_address=app_config.get("rabbitmq", "server_address"),
            mq_exchange_name=app_config.get("rabbitmq", "mq_exchange"),
            mq_topic_filter=TOPIC,
            mq_exchange_type="topic",
            wait=app_config.getboolean("app", "wait_for_brokers", fallback=True),
            reconnect="unless_refused",
        )
    except AMQPConnectionError as error:
        die(exception=error)
        bye()
    relay.start()
    try:
        with zmq_socket(zmq.PUSH) as publisher:
            publisher.connect(URL_RABBIT_MQ_PUBLISHER)
            told = None
            for degrees in temperatures():
                publisher.send_pyobj((f"event.heartbeat.{relay.device_topic}", {"device_info": {"inputs": [DEVICE]}}))
                if degrees != told:
                    told = degrees
                    publisher.send_pyobj((f"event.notify.{relay.device_topic}", reading(degrees, options.alarm)))
                interruptable_sleep.wait(options.every)
    except ContextTerminated:
        die()
    finally:
        zmq_term()
    bye()


def reading(degrees: float, alarm: float) -> dict[str, object]:
    device = DEVICE | {"sample_value": degrees}
    return {"device_info": {"inputs": [device]}, "active_devices": [device] if degrees > alarm else []}


def temperatures() -> Iterator[float]:
    """A day in a kitchen, in ten minutes, until the stop."""
    start = time.monotonic()
    while not shutting_down:
        yield round(20.0 + 5.0 * math.sin((time.monotonic() - start) / 600.0 * math.tau), 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A thermometer on RabbitMQ.")
    parser.add_argument("--alarm", type=float, default=30.0, metavar="DEGREES", help="active above this (default: 30)")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="time between signs of life")
    return parser.parse_args()


if __name__ == "__main__":
    main()
