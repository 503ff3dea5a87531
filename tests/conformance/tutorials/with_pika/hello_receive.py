"""Prints what comes to the queue hello, until Ctrl-C."""

from __future__ import annotations

import sys
from typing import Any

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare("hello")


def received(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    print("received", body.decode())


channel.basic_consume("hello", received, auto_ack=True)
print("waiting")
try:
    channel.start_consuming()
except KeyboardInterrupt:
    channel.stop_consuming()
connection.close()
