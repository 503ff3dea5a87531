"""Puts tasks, one per argument, into a durable queue."""

from __future__ import annotations

import sys

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare("task_queue", durable=True)
for task in sys.argv[2:]:
    properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    channel.basic_publish(exchange="", routing_key="task_queue", body=task.encode(), properties=properties)
print("sent")
connection.close()
