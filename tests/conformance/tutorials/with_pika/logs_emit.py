"""Publishes to an exchange: `logs_emit.py PORT EXCHANGE TYPE KEY TEXT`."""

from __future__ import annotations

import sys

import pika

exchange, kind, key, text = sys.argv[2:]
connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", int(sys.argv[1])))
channel = connection.channel()
channel.exchange_declare(exchange, kind)
channel.basic_publish(exchange, routing_key=key, body=text.encode())
print("sent")
connection.close()
