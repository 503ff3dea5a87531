"""Confirms as RabbitMQ may send them: negative ones, for many at once, and for messages that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pika
import pytest

from pylib.brokers.confirms import Confirms
from pylib.brokers.port import Outgoing
from pylib.errors import Rejected
from pylib.runtime.loop import Loop


class Stand:
    """The publishing half of a port, its owner, and a connection that keeps what is written to it."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[object, type | None]] = []
        self.written: list[Any] = []
        self.refusals: list[str] = []
        self.params = SimpleNamespace(frame_max=131072)
        self.loop = Loop()
        self.confirms = Confirms("home", 100, False, lambda: "RabbitMQ", self.refusals.append)
        self.confirms.bind(self.loop, self)  # type: ignore[arg-type]  # the two calls that are made here

    def up(self) -> None:
        self.written.clear()
        self.confirms.up(self, 1)  # type: ignore[arg-type]  # what is used of a connection

    def emit(self, frames: Any) -> None:
        self.written.append(frames)

    def on_outcome(self, token: object, error: Exception | None) -> None:
        self.outcomes.append((token, type(error) if error else None))

    def on_room(self) -> None:
        pass

    def answer(self, tag: int, *, multiple: bool = False, refused: bool = False) -> None:
        kind = pika.spec.Basic.Nack if refused else pika.spec.Basic.Ack
        self.confirms.confirmed(SimpleNamespace(method=kind(tag, multiple)))
        self.loop.post(self.loop.stop)
        self.loop.run()


@pytest.fixture
def stand() -> Iterator[Stand]:
    made = Stand()
    made.up()
    yield made
    made.loop.close()


def publish(stand: Stand, *tokens: int) -> None:
    for token in tokens:
        stand.confirms.publish(Outgoing("a.b", b"%d" % token), token)


def test_a_negative_confirm_is_no_acceptance_and_its_message_is_published_again(stand: Stand) -> None:
    publish(stand, 1, 2, 3)
    stand.answer(2, refused=True)
    assert stand.outcomes == []
    assert len(stand.refusals) == 1
    stand.confirms.down()
    stand.up()
    for tag in (1, 2, 3):
        stand.answer(tag)
    assert stand.outcomes == [(1, None), (2, None), (3, None)]


def test_a_confirm_for_a_message_that_is_not_under_way_is_nobodys(stand: Stand) -> None:
    publish(stand, 1)
    stand.answer(7)
    stand.answer(1)
    stand.answer(1)
    assert stand.outcomes == [(1, None)]


def test_of_a_window_with_one_poisonous_message_only_that_one_is_refused(stand: Stand) -> None:
    publish(stand, *range(10))
    poison = 4
    for _ in range(3):  # RabbitMQ closes the channel on it each time it gets there
        stand.confirms.down(suspect=True)
        stand.up()
        tag = 0
        while len(stand.written) > tag:
            tag += 1
            assert len(stand.written) == tag, "suspects are published one at a time"
            waiting = [n for n in range(10) if n not in dict(stand.outcomes)]
            if waiting[0] == poison:
                break
            stand.answer(tag)
    stand.confirms.down(suspect=True)
    stand.up()
    tag = 0
    while tag < len(stand.written):
        tag += 1
        stand.answer(tag)
    assert sorted(stand.outcomes) == [(n, Rejected if n == poison else None) for n in range(10)]
