"""Counting what arrived against what was accepted: lost, twice, out of order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pika
from pika.exceptions import AMQPError

# Seconds without a new event after which what is missing counts as lost, and in which a late repetition may still come.
PATIENCE = 60.0
LATE = 1.5


class Tally:
    """What arrived, by device. For one thread.

    ``duplicates`` counts the second and later arrivals of a (device, seq); of those ``same_id`` had the first one's id.
    ``disorder`` counts first arrivals that came after a later one of their device: repetitions are ignored.
    """

    def __init__(self) -> None:
        self.duplicates = self.same_id = self.disorder = self.seen = self.foreign = 0
        self._ids: dict[int, dict[int, int]] = {}
        self._latest: dict[int, int] = {}

    def add(self, device: int, seq: int, message_id: str | None) -> None:
        ids = self._ids.setdefault(device, {})
        ident = hash(message_id)
        if seq in ids:
            self.duplicates += 1
            self.same_id += ids[seq] == ident
            return
        ids[seq] = ident
        self.seen += 1
        if seq < self._latest.get(device, -1):
            self.disorder += 1
        else:
            self._latest[device] = seq

    def lost(self, accepted: int, devices: int) -> int:
        """Of so many events, dealt out to the devices in turn, those that did not arrive."""
        there = 0
        for device, ids in self._ids.items():
            most = (accepted - device + devices - 1) // devices
            there += sum(1 for seq in ids if seq < most)
        return accepted - there


class Reader:
    """Reads a durable queue that gathers everything the exchange ``bench`` is given.

    Reading is for when no broker is being killed: an acknowledgement that a killed RabbitMQ forgets would look like a
    duplicate of the bridge's.
    """

    def __init__(self, urls: list[str], queue: str, arguments: dict[str, str] | None = None) -> None:
        self._urls = urls
        self.queue = queue
        with self._connect() as connection:
            channel = connection.channel()
            channel.exchange_declare("bench", "topic", durable=True)
            channel.queue_declare(queue, durable=True, arguments=arguments or {})
            channel.queue_bind(queue, "bench", "#")

    def depth(self) -> int:
        """Messages in the queue now; -1 when RabbitMQ does not say."""
        with suppress(AMQPError, OSError), self._connect() as connection:
            return int(connection.channel().queue_declare(self.queue, passive=True).method.message_count)
        return -1

    def collect(self, tally: Tally, accepted: int, patience: float = PATIENCE) -> None:
        """Read until everything accepted was seen, or nothing new came for ``patience`` seconds; then what is late."""
        with self._connect() as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=2000)
            last = time.monotonic()
            unacknowledged = 0
            tag = 0
            for method, properties, body in channel.consume(self.queue, inactivity_timeout=0.2):
                now = time.monotonic()
                if method is None:
                    if tag and unacknowledged:
                        channel.basic_ack(tag, multiple=True)
                        unacknowledged = 0
                    if now - last > (LATE if tally.seen >= accepted else patience):
                        break
                    continue
                before = tally.seen
                count(tally, body, properties.message_id if properties is not None else None)
                last = now if tally.seen > before or tally.seen >= accepted else last
                tag, unacknowledged = method.delivery_tag or 0, unacknowledged + 1
                if unacknowledged >= 500:
                    channel.basic_ack(tag, multiple=True)
                    unacknowledged = 0
            channel.cancel()

    def delete(self) -> None:
        with self._connect() as connection:
            connection.channel().queue_delete(self.queue)

    def _connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection([pika.URLParameters(url) for url in self._urls])


def count(tally: Tally, body: bytes | bytearray | None, message_id: str | None) -> None:
    """Add one event to the tally; what is none of the publisher's is only counted."""
    try:
        event = json.loads(body or b"")
        tally.add(int(event["device"]), int(event["seq"]), message_id)
    except (ValueError, TypeError, KeyError):
        tally.foreign += 1


def wait_until(true: Callable[[], bool], seconds: float, step: float = 0.1) -> bool:
    """Whether it became true within so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True
