"""Takes one task at a time and acknowledges it when it is done; a task with an exclamation mark is the end of the worker."""

from __future__ import annotations

import os
import sys
from typing import Any

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare("task_queue", durable=True)


def work(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    task = body.decode()
    if "!" in task and not method.redelivered:
        print("died of", task, flush=True)
        os._exit(3)
    print("done", task)
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel.basic_qos(prefetch_count=1)
channel.basic_consume("task_queue", work)
print("waiting")
try:
    channel.start_consuming()
except KeyboardInterrupt:
    channel.stop_consuming()
connection.close()
