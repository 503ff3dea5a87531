"""An AMQP 0-9-1 server inside the process, with RabbitMQ's extensions and RabbitMQ's answers.

Unmodified clients (pika, aio-pika, amqpstorm, kombu) connect to it over a loopback socket. Messages live in memory and end
with it, durable or not. `docs/reference/embedded-brokers.md` lists what it does and where it differs from RabbitMQ.
"""

from __future__ import annotations

from pylib.embedded.amqp.api import AmqpBroker, QueueState
from pylib.embedded.amqp.limits import Limits

__all__ = ["AmqpBroker", "Limits", "QueueState"]
