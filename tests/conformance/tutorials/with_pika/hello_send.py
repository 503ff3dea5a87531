"""Sends one greeting to the queue hello."""

from __future__ import annotations

import sys

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare("hello")
channel.basic_publish(exchange="", routing_key="hello", body=b"Hello World!")
print("sent")
connection.close()
