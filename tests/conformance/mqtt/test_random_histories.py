"""Histories that nobody thought of: the same random steps of three clients lead to the same deliveries on both brokers."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pylib.embedded.mqtt import MqttBroker
from pylib.testing.mosquitto import Mosquitto
from tests.conformance.mqtt import kit
from tests.conformance.mqtt.kit import Arrived, Endpoint, Raw

HISTORIES = int(os.environ.get("PYLIB_MQTT_HISTORIES", "24"))
STEPS = 40
NAMES = ("keeper", "lamp", "same")
TOPICS = ("a", "a/b", "a/b/c", "b", "$other/a")
FILTERS = ("a", "a/b", "a/+", "a/#", "#", "+/b", "b", "$other/#")
# Filters that do not overlap. Where they do, all of a client have one QoS: which one counts is in the list of differences.
SEPARATE = ("a", "a/b", "b", "$other/#")


class History:
    """Takes the steps on one broker and writes down what each client gets after each."""

    def __init__(self, broker: Endpoint, chance: random.Random, filters: tuple[str, ...]) -> None:
        self._broker = broker
        self._chance = chance
        self._filters = filters
        self._clients: dict[str, Raw] = {}
        self.log: list[object] = []

    def run(self) -> list[object]:
        steps: list[Callable[[str], None]] = [
            self.connect,
            self.subscribe,
            self.unsubscribe,
            self.publish,
            self.publish,
            self.leave,
        ]
        try:
            for _ in range(STEPS):
                name, step = self._chance.choice(NAMES), self._chance.choice(steps)
                step(name)
                self.settle()
        finally:
            for raw in self._clients.values():
                raw.drop()
        return self.log

    def connect(self, name: str) -> None:
        clean = self._chance.random() < 0.4
        will = Arrived(
            self._chance.choice(TOPICS), b"will of " + name.encode(), self._chance.randrange(3), self._chance.random() < 0.3
        )
        with_will = self._chance.random() < 0.5
        old = self._clients.pop(name, None)
        if old is not None:
            old.leave()
        raw = self._clients[name] = Raw(self._broker)
        raw.send(kit.connect(name, clean=clean, will=will if with_will else None))
        self.log.append((name, "connects", clean, raw.read()))

    def subscribe(self, name: str) -> None:
        wanted = [(self._chance.choice(self._filters), self._chance.randrange(3)) for _ in range(self._chance.randrange(1, 3))]
        if self._filters is not SEPARATE:
            wanted = [(topic_filter, NAMES.index(name)) for topic_filter, _ in wanted]
        if raw := self._clients.get(name):
            self.log.append((name, "subscribes to", wanted))
            raw.subscribe(*wanted)

    def unsubscribe(self, name: str) -> None:
        topic_filter = self._chance.choice(self._filters)
        if raw := self._clients.get(name):
            self.log.append((name, "unsubscribes from", topic_filter))
            raw.unsubscribe(topic_filter)

    def publish(self, name: str) -> None:
        topic, qos = self._chance.choice(TOPICS), self._chance.randrange(3)
        payload = self._chance.choice((b"", b"x", b"y"))
        retain = self._chance.random() < 0.4
        if raw := self._clients.get(name):
            self.log.append((name, "publishes", topic, payload, qos, retain))
            raw.send(kit.publish(topic, payload, qos, 99, retain=retain))

    def leave(self, name: str) -> None:
        if raw := self._clients.pop(name, None):
            self.log.append((name, "leaves"))
            raw.leave()

    def settle(self) -> None:
        """Answer everything until nothing comes any more, and note what came. The order is other cases' business."""
        got: dict[str, list[object]] = {name: [] for name in self._clients}
        busy = True
        while busy:
            busy = False
            for name, raw in self._clients.items():
                for message in until_quiet(raw):
                    busy = True
                    if message is not None:
                        got[name].append((message.topic, message.payload, message.qos, message.retain, message.dup))
        self.log.append({name: sorted(map(repr, messages)) for name, messages in got.items() if messages})


def until_quiet(raw: Raw) -> Iterator[Arrived | None]:
    """What comes before the answer to a ping, acknowledged; None for steps of a handshake."""
    raw.send(kit.packet(kit.PINGREQ))
    while True:
        first, body = raw.read()
        if first == kit.PINGRESP:
            return
        if first & 0xF0 == kit.PUBLISH:
            raw._put_back.appendleft((first, body))
            message = raw.arrived()
            if message.qos:
                raw.send(kit.answer(kit.PUBACK if message.qos == 1 else kit.PUBREC, message.packet_id))
            yield message
        else:
            if first in (kit.PUBREC, kit.PUBREL):
                raw.send(kit.packet(kit.PUBREL if first == kit.PUBREC else kit.PUBCOMP, body))
            yield None


@contextmanager
def both() -> Iterator[tuple[Endpoint, Endpoint]]:
    with MqttBroker() as embedded, Mosquitto() as real:
        yield Endpoint("embedded", embedded.host, embedded.port), Endpoint("mosquitto", real.host, real.port)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_random_history_goes_the_same_way_on_both(seed: int) -> None:
    filters = SEPARATE if seed % 2 else FILTERS
    with both() as (embedded, real):
        ours = History(embedded, random.Random(seed), filters).run()
        theirs = History(real, random.Random(seed), filters).run()
    for step, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        assert our == their, f"step {step} after {ours[max(0, step - 8) : step]}"
