"""An output application: listens for `event.control.siren` on RabbitMQ and sounds, tells the hub that it is there.

    APP_CONFIG=examples/app.conf python examples/siren.py

A control message past its time is dropped by the listener: a siren that sounds an hour late is worse than a quiet one.
"""

from __future__ import annotations

import zmq
from pika.exceptions import AMQPConnectionError
from zmq.error import ContextTerminated

from pylib import app_config, threads
from pylib.app import AppThread
from pylib.handler import exception_handler
from pylib.observe.logging import configure_logging
from pylib.process import SignalHandler
from pylib.rabbit import RabbitMQRelay, ZMQListener
from pylib.threads import bye, die
from pylib.zmq import Closable, zmq_socket, zmq_term

HEARTBEAT_INTERVAL_SECONDS = 5
OUTPUT_TYPE = "siren"


class Siren(AppThread, Closable):
    """Sounds: here it prints one line."""

    def __init__(self) -> None:
        AppThread.__init__(self)
        Closable.__init__(self, connect_url="inproc://app-thread")

    def run(self) -> None:
        with exception_handler(closable=self, and_raise=False, shutdown_on_error=True):
            while not threads.shutting_down:
                control = self.socket.recv_pyobj()[OUTPUT_TYPE]["data"]
                print(f"SIREN: triggered by {control['active_input']['device_key']}", flush=True)


def main() -> None:
    configure_logging()
    SignalHandler()
    server = app_config.get("rabbitmq", "server_address")
    exchange = app_config.get("rabbitmq", "mq_exchange")
    # receives RabbitMQ messages
    listener = ZMQListener(
        zmq_url="inproc://app-thread",
        mq_server_address=server,
        mq_exchange_name=f"{exchange}_control",
        mq_topic_filter=f"event.control.{OUTPUT_TYPE}",
        mq_exchange_type="direct",
        reconnect="unless_refused",
    )
    # sends what other threads put into inproc://rabbit-mq-publisher
    try:
        relay = RabbitMQRelay(
            zmq_url="inproc://rabbit-mq-publisher",
            mq_server_address=server,
            mq_exchange_name=exchange,
            mq_topic_filter=OUTPUT_TYPE,
            mq_exchange_type="topic",
            wait=app_config.getboolean("app", "wait_for_brokers", fallback=True),
            reconnect="unless_refused",
        )
    except AMQPConnectionError as error:
        die(exception=error)
        bye()
    Siren().start()
    listener.start()
    relay.start()
    publisher = zmq_socket(zmq.PUSH)
    try:
        publisher.connect("inproc://rabbit-mq-publisher")
        device_info = {"outputs": [{"device_key": "Siren", "type": OUTPUT_TYPE}]}
        while not threads.shutting_down:
            publisher.send_pyobj((f"event.heartbeat.{relay.device_topic}", {"device_info": device_info}))
            threads.interruptable_sleep.wait(HEARTBEAT_INTERVAL_SECONDS)
    except ContextTerminated:
        die()
    finally:
        zmq_term()
    bye()


if __name__ == "__main__":
    main()
