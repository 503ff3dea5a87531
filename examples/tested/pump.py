"""A pump that takes orders from RabbitMQ. It knows pika and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pika
import pika.exceptions

RETRY_S = 0.05


class Pump(threading.Thread):
    """Runs for each order, says that it has, and acknowledges after that; an order that is none becomes a dead letter."""

    def __init__(self, url: str, run_for: Callable[[float], None]) -> None:
        super().__init__(name="pump")
        self._url = url
        self._run_for = run_for
        self._stopped = threading.Event()
        self.ready = threading.Event()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._serve()
            except pika.exceptions.AMQPError:
                self._stopped.wait(RETRY_S)

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _serve(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            channel = connection.channel()
            channel.exchange_declare("garden", "topic", durable=True)
            channel.queue_declare("pump.failed", durable=True)
            failed = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "pump.failed"}
            channel.queue_declare("pump.orders", durable=True, arguments=failed)
            channel.queue_bind("pump.orders", "garden", "order.pump")
            self.ready.set()
            for method, _, body in channel.consume("pump.orders", inactivity_timeout=0.02):
                if self._stopped.is_set():
                    break
                if method is None:
                    continue
                try:
                    seconds = float(json.loads(body or b"")["seconds"])
                except (ValueError, KeyError, TypeError):
                    channel.basic_reject(method.delivery_tag or 0, requeue=False)
                    continue
                self._run_for(seconds)
                channel.basic_publish("garden", "done.pump", json.dumps({"ran": seconds}))
                channel.basic_ack(method.delivery_tag or 0)
