"""Answers with Fibonacci's numbers."""

from __future__ import annotations

import sys
from typing import Any

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare("rpc_queue")


def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def asked(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    answer = str(fibonacci(int(body)))
    about = pika.BasicProperties(correlation_id=properties.correlation_id)
    channel.basic_publish(exchange="", routing_key=properties.reply_to, properties=about, body=answer.encode())
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel.basic_qos(prefetch_count=1)
channel.basic_consume("rpc_queue", asked)
print("waiting")
try:
    channel.start_consuming()
except KeyboardInterrupt:
    channel.stop_consuming()
connection.close()
