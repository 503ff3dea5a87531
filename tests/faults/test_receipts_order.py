"""The order and number of acknowledgements, on a port without a broker: work may end in any order, they may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pylib.runtime.here import HERE
from pylib.runtime.receipts import Receipt, Receipts
from pylib.runtime.runtime import Runtime
from pylib.testing.contract.fake_port import FakePort
from tests.unit.test_bridge import Stand


@pytest.fixture
def stand(runtime: Runtime) -> Iterator[Stand]:
    made = Stand(runtime, FakePort(window=10))
    yield made
    made.loop.close()


def take(stand: Stand) -> tuple[Receipt, ...]:
    """Take one message over, to be settled whenever this test likes."""
    stand.app.recv_pyobj()
    receipts, HERE.receipts = HERE.receipts, ()
    return receipts


def settled(stand: Stand) -> list[str]:
    """What the broker has been told after two rounds of the loop: all that was due by now."""
    stand.loop.post(lambda: stand.loop.post(stand.loop.stop))
    stand.loop.run()
    return [each.delivery.address for each in stand.port.settled]


def test_work_that_ends_out_of_order_is_acknowledged_in_order(stand: Stand) -> None:
    stand.port.connect()
    for address in "abcd":
        stand.port.deliver(address)
    held = [take(stand) for _ in "abcd"]
    for each in (2, 1):
        for receipt in held[each]:
            receipt.release()
    assert settled(stand) == []
    for receipt in held[0]:
        receipt.release()
    assert settled(stand) == ["a", "b", "c"]
    for receipt in held[3]:
        receipt.release()
    assert settled(stand) == ["a", "b", "c", "d"]


def test_letting_go_too_often_acknowledges_once(stand: Stand) -> None:
    stand.port.connect()
    stand.port.deliver("a")
    stand.port.deliver("b")
    held = [take(stand), take(stand)]
    for _ in range(3):
        for receipt in held[0]:
            receipt.release()
    assert settled(stand) == ["a"]
    for receipt in held[1]:
        receipt.release()
    assert settled(stand) == ["a", "b"]


def test_what_fails_because_of_the_stop_is_not_acknowledged_and_neither_is_what_came_after(stand: Stand) -> None:
    stand.port.connect()
    for address in "abc":
        stand.port.deliver(address)
    held = [take(stand) for _ in "abc"]
    stand.bridge.stop_consuming()
    for receipt in held[1]:
        receipt.fail(RuntimeError("stopped"))
    for receipt in (*held[0], *held[2]):
        receipt.release()
    assert settled(stand) == ["a"]
    assert len(stand.runtime.receipts) == 0


def test_more_receipts_than_a_frame_can_count_survive_fan_out_and_failure() -> None:
    receipts = Receipts()
    outcomes: list[tuple[object, str]] = []
    held = [receipts.open(lambda each: outcomes.append((each.token, str(each.error))), n) for n in range(600)]
    frames = [receipts.attach(b"x", held) for _ in range(3)]
    for receipt in held:
        receipt.release()
    assert outcomes == []
    (_, first), (_, second), (_, third) = (receipts.detach(frame) for frame in frames)
    for receipt in first:
        receipt.release()
    for receipt in second:
        receipt.fail(ValueError("bad"))
    assert outcomes == [], "settled while a message of the tree is left"
    for receipt in third:
        receipt.release()
    assert outcomes == [(n, "bad") for n in range(600)]
    assert len(receipts) == 0
