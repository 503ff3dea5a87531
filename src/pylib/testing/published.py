"""What was published while a test looked on: one record for both kinds of broker, awaited by event."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pylib.brokers.topics import amqp_matches, mqtt_matches
from pylib.data import decode, decode_json, unwrap_payload
from pylib.errors import DecodeError

Kind = Literal["mqtt", "amqp"]
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Published:
    """One message that an application published.

    broker    ``mqtt`` or ``amqp``
    address   topic or routing key
    payload   the body as it was sent
    exchange  on AMQP; "" otherwise
    headers, message_id, content_type, expiration (ms as text)   on AMQP where they were given
    qos, retain   on MQTT, as they reached the watching client: one that watches already sees no retain flag on MQTT 3.1.1
    """

    broker: Kind
    address: str
    payload: bytes
    exchange: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    message_id: str | None = None
    content_type: str | None = None
    expiration: str | None = None
    qos: int = 0
    retain: bool = False

    @property
    def body(self) -> Any:
        """What the payload says: decoded by its content type, the library's envelope taken off.

        Without a content type it is MessagePack on AMQP and JSON on MQTT; text where it is neither, bytes where it is not
        even text; None for an empty payload.
        """
        if not self.payload:
            return None
        try:
            if self.broker == "amqp":
                return unwrap_payload(decode(self.payload, self.content_type))[0]
            return decode_json(self.payload)
        except DecodeError:
            try:
                return self.payload.decode()
            except UnicodeDecodeError:
                return self.payload

    def __str__(self) -> str:
        shown = repr(self.body)
        place = f"{self.exchange}: {self.address}" if self.exchange else self.address
        return f"{self.broker} {place} {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"


class Record:
    """All that was published, in order of arrival. Any thread adds, the test takes.

    Each message is taken once: what ``take`` returned is not there for the next one. What the test itself published is
    announced with ``mine`` and does not count.
    """

    def __init__(self) -> None:
        self._waiting: list[Published] = []
        self._mine: Counter[tuple[str, str, str, bytes]] = Counter()
        self._fences: set[str] = set()
        self._changed = threading.Condition()

    def mine(self, broker: Kind, exchange: str, address: str, payload: bytes) -> None:
        """Leave out one message like this: the test is about to publish it."""
        with self._changed:
            self._mine[broker, exchange, address, payload] += 1

    def add(self, message: Published) -> None:
        identity = (message.broker, message.exchange, message.address, message.payload)
        with self._changed:
            if self._mine[identity]:
                self._mine[identity] -= 1
            else:
                self._waiting.append(message)
            self._changed.notify_all()

    def fence(self, name: str) -> None:
        """What was published before this moment has arrived."""
        with self._changed:
            self._fences.add(name)
            self._changed.notify_all()

    def wait_fence(self, name: str, timeout: float) -> bool:
        with self._changed:
            found = self._changed.wait_for(lambda: name in self._fences, timeout)
            self._fences.discard(name)
            return found

    def take(self, wanted: Callable[[Published], bool], count: int, timeout: float) -> list[Published] | None:
        """The first ``count`` messages that are wanted, taken out; None, and none taken out, if they did not come in time."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [each for each in self._waiting if wanted(each)][:count]
                if len(found) == count:
                    self._waiting = [each for each in self._waiting if not any(each is one for one in found)]
                    return found
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def waiting(self) -> list[Published]:
        """What nobody has taken yet."""
        with self._changed:
            return list(self._waiting)


def matcher(address: str, broker: Kind | None, where: Callable[[Published], bool] | None) -> Callable[[Published], bool]:
    """A test for messages on a topic filter or binding key, of one kind of broker or of either, that ``where`` agrees to."""

    def wanted(message: Published) -> bool:
        if broker not in (None, message.broker):
            return False
        matches = mqtt_matches if message.broker == "mqtt" else amqp_matches
        if message.address != address and not matches(address, message.address):
            return False
        return where is None or where(message)

    return wanted
