"""Binds a queue of its own to an exchange and prints what comes: `logs_receive.py PORT EXCHANGE TYPE KEY...`."""

from __future__ import annotations

import sys
from typing import Any

import pika

exchange, kind, *keys = sys.argv[2:]
connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.exchange_declare(exchange, kind)
queue = channel.queue_declare("", exclusive=True).method.queue
for key in keys:
    channel.queue_bind(queue, exchange, routing_key=key)


def received(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    print("received", method.routing_key or "-", body.decode())


channel.basic_consume(queue, received, auto_ack=True)
print("waiting")
try:
    channel.start_consuming()
except KeyboardInterrupt:
    channel.stop_consuming()
connection.close()
