"""The embedded brokers of a test run: started once, as new for each test."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pylib.testing.leaks import KEPT

if TYPE_CHECKING:
    from pylib.embedded.amqp import AmqpBroker
    from pylib.embedded.mqtt import MqttBroker


class EmbeddedBrokers:
    """Starts each of the two when it is first asked for. For the test run's main thread.

    A broker that a test has closed is replaced, so that the next test does not suffer for it. Raises ImportError with what to
    install where the extra is missing.
    """

    def __init__(self) -> None:
        self._mqtt: MqttBroker | None = None
        self._amqp: AmqpBroker | None = None
        self._in_use: set[str] = set()

    def mqtt(self) -> MqttBroker:
        """A running MQTT broker without connections, sessions and messages."""
        if self._mqtt is not None and self._as_new(self._mqtt, "mqtt"):
            return self._mqtt
        from pylib.embedded.mqtt import MqttBroker

        with KEPT.noting():
            self._mqtt = MqttBroker().start()
        self._in_use.add("mqtt")
        return self._mqtt

    def amqp(self) -> AmqpBroker:
        """A running AMQP broker with nothing in it but what every one has."""
        if self._amqp is not None and self._as_new(self._amqp, "amqp"):
            return self._amqp
        from pylib.embedded.amqp import AmqpBroker

        with KEPT.noting():
            self._amqp = AmqpBroker().start()
        self._in_use.add("amqp")
        return self._amqp

    def reset(self) -> None:
        """Leave nothing of the last test: its connections are closed, its messages gone."""
        self._in_use.clear()
        for broker in (self._mqtt, self._amqp):
            if broker is not None:
                with suppress(RuntimeError):
                    broker.reset()

    def close(self) -> None:
        """End both."""
        for broker in (self._mqtt, self._amqp):
            if broker is not None:
                broker.close()

    def _as_new(self, broker: MqttBroker | AmqpBroker, kind: str) -> bool:
        """Whether the broker runs; empty at its first use in a test, and what the test has made of it after that."""
        if kind in self._in_use:
            return True
        try:
            broker.reset()
        except RuntimeError:  # a test has closed it
            return False
        self._in_use.add(kind)
        return True
