"""Asks for Fibonacci's numbers, one per argument."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import pika


class Client:
    """Sends a question with a queue to answer to, and waits for the answer with the same correlation id."""

    def __init__(self, port: int) -> None:
        self.connection = pika.BlockingConnection(pika.ConnectionParameters("localhost", port))
        self.channel = self.connection.channel()
        self.replies = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.replies, self.answered, auto_ack=True)
        self.asked = ""
        self.answers: list[int] = []

    def answered(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if properties.correlation_id == self.asked:
            self.answers.append(int(body))

    def ask(self, n: int) -> int:
        self.asked = str(uuid.uuid4())
        about = pika.BasicProperties(reply_to=self.replies, correlation_id=self.asked)
        self.channel.basic_publish(exchange="", routing_key="rpc_queue", properties=about, body=str(n).encode())
        while not self.answers:
            self.connection.process_data_events(time_limit=None)
        return self.answers.pop()


client = Client(int(sys.argv[1]))
for n in sys.argv[2:]:
    print("answer", n, client.ask(int(n)))
client.connection.close()
