"""What never changes crosses a pipe as it is, and everything else as a copy."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import zmq

from pylib.app import ZmqRelay
from pylib.runtime.receipts import settle
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket


class Value(msgspec.Struct, frozen=True):
    travels_by_reference: ClassVar[bool] = True

    number: int


class Thing(msgspec.Struct):
    number: int


def test_an_immutable_value_is_the_very_same_at_the_other_end_and_another_is_a_copy(runtime: Runtime) -> None:
    sender, taker = zmq_socket(zmq.PUSH), zmq_socket(zmq.PULL)
    taker.bind("inproc://here")
    sender.connect("inproc://here")
    value, thing = Value(1), Thing(1)
    sender.send_pyobj(value)
    sender.send_pyobj(thing)
    assert taker.recv_pyobj() is value
    copy = taker.recv_pyobj()
    assert (copy == thing, copy is thing) == (True, False)
    assert len(runtime.sockets.handover) == 0


def test_it_carries_its_receipt_through_a_relay(runtime: Runtime) -> None:
    ZmqRelay("relay", "inproc://in", "inproc://out").start()
    sender, taker = zmq_socket(zmq.PUSH), zmq_socket(zmq.PULL)
    taker.bind("inproc://out")
    sender.connect("inproc://in")
    settled: list[str] = []
    receipt = runtime.receipts.open(lambda receipt: settled.append(receipt.label), label="one")
    value = Value(2)
    sender.send_enclosed(value, receipt)
    assert taker.recv_pyobj() is value
    assert settled == []
    settle()
    assert settled == ["one"]


def test_a_frame_that_was_not_sent_is_taken_back(runtime: Runtime) -> None:
    handover = runtime.sockets.handover
    frame = handover.freeze(Value(3))
    assert len(handover) == 1
    handover.discard(frame)
    handover.discard(handover.freeze(Thing(3)))
    assert len(handover) == 0
