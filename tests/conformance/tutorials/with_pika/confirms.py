"""Publishes with confirms: one at a time, and one that nobody takes."""

from __future__ import annotations

import sys

import pika
import pika.exceptions

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
queue = channel.queue_declare("", exclusive=True).method.queue
channel.confirm_delivery()
for n in range(100):
    channel.basic_publish(exchange="", routing_key=queue, body=str(n).encode(), mandatory=True)
print("confirmed", channel.queue_declare(queue, passive=True).method.message_count)
try:
    channel.basic_publish(exchange="", routing_key="nobody-has-this-queue", body=b"x", mandatory=True)
except pika.exceptions.UnroutableError as e:
    print("returned", e.messages[0].method.reply_text)
connection.close()
