"""The bridge on a port without a broker: what is sent, settled and put away, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from pylib.brokers.bridge import Bridge
from pylib.brokers.port import Outgoing
from pylib.errors import Rejected
from pylib.runtime.loop import Loop
from pylib.runtime.receipts import settle_handling
from pylib.runtime.runtime import Runtime
from pylib.testing.contract.fake_port import FakePort
from pylib.zmq import zmq_socket


class Stand:
    """A bridge with its pipes, served by the test's own thread: ``turn`` runs the loop until a condition holds."""

    def __init__(self, runtime: Runtime, port: FakePort) -> None:
        self.port = port
        self.runtime = runtime
        self.loop = Loop()
        self.intake = runtime.sockets.open(zmq.PULL)
        self.intake.bind("inproc://out")
        self.out = zmq_socket(zmq.PUSH)
        self.out.connect("inproc://out")
        self.app = zmq_socket(zmq.PULL)
        self.app.bind("inproc://in")
        sink = runtime.sockets.open(zmq.PUSH)
        sink.connect("inproc://in")
        self.bridge = Bridge(
            self.loop, port, "bridge", sources=[self.intake], encode=self._encode,
            sinks={"in": sink}, route=lambda delivery: [("in", delivery.address)], receipts=runtime.receipts,
        )  # fmt: skip
        self.bridge.open()

    def turn(self, until: Callable[[], bool]) -> None:
        give_up = threading.Event()
        self.loop.call_later(5.0, give_up.set)

        def look() -> None:
            if until() or give_up.is_set():
                self.loop.stop()
            else:
                self.loop.call_later(0.001, look)

        look()
        self.loop.run()
        assert not give_up.is_set(), "not in time"

    def _encode(self, message: Any) -> Outgoing:
        if message == "bad":
            raise Rejected("it is bad")
        return Outgoing(message, b"")


@pytest.fixture
def stand(runtime: Runtime) -> Iterator[Stand]:
    made = Stand(runtime, FakePort(window=2))
    yield made
    made.loop.close()


def test_it_takes_from_its_pipe_only_what_the_port_has_room_for(stand: Stand) -> None:
    for address in "abcd":
        stand.out.send_pyobj(address)
    stand.turn(lambda: True)
    assert stand.port.published == [], "taken before the port was up"
    stand.port.connect()
    stand.turn(lambda: len(stand.port.published) == 2)
    stand.port.confirm(2)
    stand.turn(lambda: [each.address for each in stand.port.published] == list("abcd"))
    stand.port.confirm(2)


def test_a_delivery_is_settled_after_the_application_asks_for_the_next_and_in_order(stand: Stand) -> None:
    stand.port.connect()
    stand.port.deliver("one")
    stand.port.deliver("two")
    assert stand.app.recv_pyobj() == "one"
    assert stand.port.settled == []
    assert stand.app.recv_pyobj() == "two"
    stand.turn(lambda: len(stand.port.settled) == 1)
    settle_handling()
    stand.turn(lambda: len(stand.port.settled) == 2)
    assert [each.delivery.address for each in stand.port.settled] == ["one", "two"]


def test_a_delivery_is_settled_only_after_what_it_caused_was_accepted(stand: Stand) -> None:
    stand.port.connect()
    stand.port.deliver("cause")
    assert stand.app.recv_pyobj() == "cause"
    stand.out.send_pyobj("effect")
    settle_handling()
    stand.turn(lambda: len(stand.port.published) == 1)
    stand.turn(lambda: True)
    assert stand.port.settled == []
    stand.port.confirm()
    stand.turn(lambda: len(stand.port.settled) == 1)


def test_a_bad_message_is_named_and_the_next_one_passes(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    stand.port.connect()
    stand.out.send_pyobj("bad")
    stand.out.send(b"no pickle")
    stand.out.send_pyobj("good")
    stand.turn(lambda: [each.address for each in stand.port.published] == ["good"])
    stand.port.confirm()
    assert len([r for r in caplog.records if "set aside" in r.getMessage()]) == 2


def test_nothing_of_an_earlier_connection_is_settled(stand: Stand) -> None:
    stand.port.connect()
    stand.port.deliver("before")
    assert stand.app.recv_pyobj() == "before"
    stand.port.lose()
    stand.port.connect()
    settle_handling()
    stand.turn(lambda: True)
    assert stand.port.settled == []


def test_it_finishes_by_the_book_and_within_its_time(stand: Stand) -> None:
    stand.port.connect()
    stand.out.send_pyobj("last")
    stand.turn(lambda: len(stand.port.published) == 1)
    stand.bridge.finish(0.5)
    assert not stand.port.consuming
    assert not stand.port.closed, "it waits for the confirm"
    stand.port.confirm()
    stand.loop.run()
    assert stand.port.closed
