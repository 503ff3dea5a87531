"""Publishing to MQTT: what is under way, what was acknowledged a moment ago, and what has to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from pylib.brokers.mqtt_values import publish_properties
from pylib.brokers.port import Expired, Outgoing, PortOwner
from pylib.brokers.topics import check_topic
from pylib.brokers.window import NOBODY, InFlight, Quarantine, Window
from pylib.errors import MessageError, Rejected
from pylib.runtime.loop import Loop

__all__ = ["PubAcks"]

# What may surround topic and payload in a packet before its exact size is worth knowing.
_ROUND_IT: Final = 1000
# Acknowledged messages kept for another publication, at the most: the bound on memory.
MOST_KEPT: Final = 20_000


class PubAcks:
    """The publishing half of an MQTT port. For its loop's thread.

    :param quarantine: seconds that an acknowledged message is kept, to be published again after an unclean disconnect.
    :param flush: writes what paho has queued, soon.
    """

    def __init__(self, window: int, quarantine: float, flush: Callable[[], None]) -> None:
        self._window = Window(window)
        self._seconds = quarantine
        self._kept: Quarantine
        self._flush = flush
        self._loop: Loop
        self._owner: PortOwner
        self._client: Client | None = None
        self._version_5 = True
        # The largest packet that the broker takes, if it said so (MQTT 5 section 3.2.2.3.6): it hangs up on a larger one.
        self.most_bytes: int | None = None
        # QoS 0 goes to the socket and is done: answered when it was written.
        self._sent: list[object] = []

    def bind(self, loop: Loop, owner: PortOwner) -> None:
        self._loop, self._owner = loop, owner
        self._kept = Quarantine(self._seconds, MOST_KEPT, loop.monotonic)

    @property
    def room(self) -> int:
        return 0 if self._client is None else self._window.room - len(self._sent)

    @property
    def unsettled(self) -> int:
        return len(self._window) + len(self._sent)

    def up(self, client: Client, version_5: bool) -> None:
        """The connection works: publish what had to wait, in order."""
        self._client, self._version_5 = client, version_5
        for entry in self._window.take_waiting():
            self._send(entry)

    def down(self, clean: bool) -> None:
        """The connection is gone. After an unclean end the broker may have lost what it acknowledged last."""
        was_up, self._client = self._client is not None, None
        self._window.requeue()
        kept = self._kept.release()
        if was_up and not clean:
            self._window.put_first(kept)
        self.written()

    def publish(self, message: Outgoing, token: object) -> None:
        check_topic(message.address)
        entry = InFlight(message, token)
        if self._client is None or self._window.waiting:
            self._window.wait(entry)
        else:
            self._send(entry)

    def reclaim(self) -> list[tuple[Outgoing, object]]:
        return [(entry.message, entry.token) for entry in self._window.take_all() if entry.token is not NOBODY]

    def fail_all(self, error: Exception) -> None:
        """Nothing more will be published: everything under way has this outcome."""
        for entry in self._window.take_all():
            self._answer(entry, error)

    def acknowledged(self, packet_id: int, reason: ReasonCode) -> None:
        """PUBACK or PUBCOMP. Called by paho under its lock: takes none, and calls nothing of paho's."""
        entry = self._window.answered(packet_id)
        if entry is None:
            return
        error = None
        if reason.is_failure:
            error = Rejected(f"{entry.message.address}: the broker refused it: {reason}")
        else:
            self._kept.keep(entry.message)
        self._answer(entry, error)
        self._loop.defer(self.offer_room)

    def written(self) -> None:
        """Everything is on the wire: what asked for no acknowledgement is done."""
        sent, self._sent = self._sent, []
        for token in sent:
            self._owner.on_outcome(token, None)
        if sent:
            self.offer_room()

    def offer_room(self) -> None:
        if self.room > 0:
            self._owner.on_room()

    def _check_size(self, message: Outgoing, most: int) -> None:
        # Fixed header with a length of up to four bytes, topic with its length, packet id, properties (MQTT 5 section 3.3).
        properties = publish_properties(message, self._loop.time()) if self._version_5 else None
        beside = len(properties.pack()) if properties is not None else 1  # type: ignore[no-untyped-call]  # paho leaves it so
        size = 9 + len(message.address.encode()) + beside + len(message.body)
        if size > most:
            raise Rejected(f"{message.address}: its packet has {size} bytes, and the broker takes {most}: send less, or have "
                           "the broker allow more (Mosquitto: max_packet_size)")  # fmt: skip

    def _answer(self, entry: InFlight, error: Exception | None) -> None:
        if entry.token is not NOBODY:
            self._owner.on_outcome(entry.token, error)

    def _send(self, entry: InFlight) -> None:
        message, client = entry.message, self._client
        if client is None:
            self._window.wait(entry)
            return
        now = self._loop.time()
        try:
            if message.expires_at is not None and message.expires_at <= now:
                raise Expired(f"{message.address}: it expired before it could be sent")
            if self.most_bytes is not None and len(message.body) + len(message.address) + _ROUND_IT > self.most_bytes:
                self._check_size(message, self.most_bytes)
            properties = publish_properties(message, now) if self._version_5 else None
            info: MQTTMessageInfo = client.publish(message.address, message.body, message.qos, message.retain, properties)
            if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                raise Rejected(f"{message.address}: {info.rc.name}")
        except MessageError as error:
            self._answer(entry, error)
        except ValueError as error:  # paho's word for a topic or payload that no packet can hold
            self._answer(entry, Rejected(f"{message.address}: {error}"))
        else:
            if message.qos:
                self._window.sent(info.mid, entry)
            else:
                self._sent.append(entry.token)
                self._loop.defer(self._flush)
