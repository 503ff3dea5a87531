"""Order per key when handlers fail inside a burst: the bridge's way in, its retry store, a pipe, and a worker of the test."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zmq.error import Again

from pylib.brokers.bridge import Bridge
from pylib.brokers.port import Delivery
from pylib.brokers.retrying import RetryPolicy
from pylib.brokers.turns import MOST_KEYS, OUT_OF_TURN, Turns
from pylib.delivery.retry import RetryStore
from pylib.delivery.sqlite import StoreFull
from pylib.errors import Rejected
from pylib.runtime.loop import Loop
from pylib.runtime.receipts import fail_handling, settle_handling
from pylib.runtime.runtime import Runtime
from pylib.testing.contract.fake_port import FakePort
from pylib.zmq import zmq_socket

POLICY = RetryPolicy(tries=6, first=0.001, longest=0.004)


class Stand:
    """A bridge on a port without a broker, and a worker on the same thread that fails as often as a message is told to."""

    def __init__(self, runtime: Runtime, store: Path | None, *, failures: Counter[str], chance: random.Random) -> None:
        self.port = FakePort(window=10)
        self.loop = Loop()
        self.failures = failures
        self.handled: list[tuple[str, str]] = []
        self.tried: list[tuple[str, str]] = []
        self.turns = Turns(lambda delivery: delivery.address)
        self._chance = chance
        self._pipe = zmq_socket(zmq.PULL)
        self._pipe.bind("inproc://worker")
        sink = runtime.sockets.open(zmq.PUSH)
        sink.connect("inproc://worker")
        self.bridge = Bridge(
            self.loop, self.port, "bridge", sinks={"work": sink}, route=lambda delivery: [("work", delivery)],
            receipts=runtime.receipts, retry=POLICY if store is not None else None, store=store,
        )  # fmt: skip
        self.bridge.open()
        self.port.connect()

    def work(self, most: int) -> None:
        """What ``pylib.application.workers`` does, for so many messages at the most."""
        for _ in range(most):
            try:
                delivery, _carried = self._pipe.take()
            except Again:
                return
            if self.turns.refuses(delivery):
                fail_handling(OUT_OF_TURN)
                continue
            this = delivery.address, delivery.body.decode()
            self.tried.append(this)
            if self.failures[this[1]] > 0:
                self.failures[this[1]] -= 1
                self.turns.failed(delivery, final=False)
                fail_handling(OSError("this time"))
            elif self.failures[this[1]] < 0:
                self.turns.failed(delivery, final=True)
                fail_handling(Rejected("never"))
            else:
                self.handled.append(this)
                self.turns.succeeded(delivery)
                settle_handling()

    def turn(self, until: Callable[[], bool], most: int = 7) -> None:
        """Run loop and worker by turns, in unequal steps, until a condition holds."""
        late: list[bool] = []
        timer = self.loop.call_later(20.0, lambda: late.append(True))

        def step() -> None:
            self.work(self._chance.randint(0, most))
            if until() or late:
                self.loop.stop()
            else:
                self.loop.call_later(0.0005 * self._chance.randint(0, 2), step)

        step()
        self.loop.run()
        timer.cancel()
        assert not late, f"not in time: handled {len(self.handled)}, settled {len(self.port.settled)}"

    def bridge_lines(self) -> list[str]:
        """The keys of which something waits in memory."""
        inflow = self.bridge._inflow
        return [] if inflow is None else list(inflow._lines.open)

    def of(self, key: str) -> list[int]:
        return [int(body) for address, body in self.handled if address == key]


@contextmanager
def standing(store: Path | None, failures: Counter[str], seed: int = 1) -> Iterator[Stand]:
    """A stand in a runtime of its own, both gone afterwards."""
    runtime = Runtime()
    with runtime.active():
        stand = Stand(runtime, store, failures=failures, chance=random.Random(seed))
        try:
            yield stand
            assert not stand.bridge_lines(), "a line was left behind"
        finally:
            stand.bridge.finish(0.2)
            stand.loop.run()
            stand.loop.close()
            runtime.stop()
    assert len(runtime.receipts) == 0, "a receipt was never settled"


def run(store: Path | None, plan: list[tuple[str, int]], seed: int) -> tuple[Stand, list[Delivery]]:
    """Deliver a plan of (key, failures) in bursts, until all is handled and acknowledged."""
    chance = random.Random(seed)
    with standing(store, Counter({str(number): times for number, (_, times) in enumerate(plan)}), seed) as stand:
        deliveries: list[Delivery] = []

        def burst() -> None:
            for _ in range(chance.randint(1, 60)):
                if len(deliveries) < len(plan):
                    number = len(deliveries)
                    deliveries.append(stand.port.deliver(plan[number][0], str(number).encode()))
            if len(deliveries) < len(plan):
                stand.loop.call_later(0.001 * chance.randint(0, 3), burst)

        burst()
        good = sum(times >= 0 for _, times in plan)
        stand.turn(lambda: len(stand.handled) >= good and len(stand.port.settled) == len(plan))
    return stand, deliveries


def check(stand: Stand, deliveries: list[Delivery], plan: list[tuple[str, int]]) -> None:
    for key in {key for key, _ in plan}:
        assert stand.of(key) == [number for number, (other, times) in enumerate(plan) if other == key and times >= 0]
    assert [each.delivery for each in stand.port.settled] == deliveries, "acknowledged once each, in order of arrival"


keys = st.integers(0, 9).map("key/{}".format)
fates = st.one_of(st.just(0), st.just(0), st.just(0), st.just(0), st.just(1), st.just(3), st.just(-1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=st.lists(st.tuples(keys, fates), min_size=1, max_size=200), seed=st.integers(0, 1 << 16))
def test_each_keys_messages_are_handled_once_and_in_order_whatever_fails(plan: list[tuple[str, int]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(*run(Path(folder) / "delivery.db", plan, seed), plan)


@pytest.mark.parametrize("seed", range(5))
def test_a_burst_of_two_hundred_on_ten_keys_with_failures_keeps_its_order(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    plan = [(f"key/{number % 10}", chance.choice((0, 0, 0, 0, 0, 1, 3))) for number in range(200)]
    check(*run(tmp_path / "delivery.db", plan, seed), plan)


def test_what_is_behind_a_failure_in_the_pipe_is_not_begun_before_it(tmp_path: Path) -> None:
    plan = [("valve", int(number == 3)) for number in range(20)]
    stand, deliveries = run(tmp_path / "delivery.db", plan, 0)
    check(stand, deliveries, plan)
    tried = [int(body) for _, body in stand.tried]
    assert tried == [0, 1, 2, 3, *range(3, 20)], "only the one that failed was tried twice"


def test_a_message_that_is_given_up_frees_those_behind_it(tmp_path: Path) -> None:
    """After its last try the worker, who does not hear of it, still holds the key: what is behind comes from the store."""
    with standing(tmp_path / "delivery.db", Counter({"0": 99})) as stand:
        for number in range(5):
            stand.port.deliver("valve", str(number).encode())
        stand.turn(lambda: len(stand.handled) == 4)
        assert stand.turns.held == {}
        stand.port.deliver("valve", b"5")
        stand.turn(lambda: len(stand.port.settled) == 6)
        assert stand.of("valve") == [1, 2, 3, 4, 5]
        assert len(stand.tried) == POLICY.tries + 5


def test_a_refusal_is_not_counted_as_a_try(tmp_path: Path) -> None:
    with standing(tmp_path / "delivery.db", Counter({"0": 1, "1": POLICY.tries - 1})) as stand:
        for number in range(3):
            stand.port.deliver("valve", str(number).encode())
        stand.turn(lambda: len(stand.handled) == 3)
        assert stand.of("valve") == [0, 1, 2]


def test_order_holds_and_nothing_is_acknowledged_early_while_nothing_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RetryStore, letters: object) -> list[int]:
        raise StoreFull("the disk is full.")

    monkeypatch.setattr(RetryStore, "put_many", full)
    monkeypatch.setattr("pylib.brokers.lines.TRY_AGAIN", 0.005)
    plan = [(f"key/{number % 3}", int(number in (4, 9, 10))) for number in range(40)]
    check(*run(tmp_path / "delivery.db", plan, 3), plan)


def test_order_holds_without_a_retry_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylib.brokers.lines.TRY_AGAIN", 0.005)
    plan = [(f"key/{number % 3}", 3 * int(number in (4, 9, 10)) - (number == 12)) for number in range(40)]
    check(*run(None, plan, 4), plan)


def test_a_failure_is_not_acknowledged_before_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled_before: list[int] = []
    original = RetryStore.put_many
    with standing(tmp_path / "delivery.db", Counter({"1": 1})) as stand:

        def put_many(self: RetryStore, letters: object) -> list[int]:
            settled_before.append(len(stand.port.settled))
            return original(self, letters)  # type: ignore[arg-type]

        monkeypatch.setattr(RetryStore, "put_many", put_many)
        for number in range(3):
            stand.port.deliver("valve", str(number).encode())
        stand.work(3)
        stand.turn(lambda: len(stand.handled) == 3, most=1)
        assert settled_before == [1], "one commit for the failure and what is behind it, and only 0 acknowledged before"
        stand.turn(lambda: len(stand.port.settled) == 3)
        assert stand.of("valve") == [0, 1, 2]


def test_a_lost_connection_does_not_let_newer_messages_pass(tmp_path: Path) -> None:
    with standing(tmp_path / "delivery.db", Counter({"2": 1})) as stand:
        for number in range(10):
            stand.port.deliver("valve", str(number).encode())
        stand.work(4)
        stand.turn(lambda: len(stand.port.settled) >= 4, most=0)
        done = len(stand.port.settled)
        stand.port.lose()
        stand.port.connect()
        for number in range(done, 15):  # the broker begins again after the last one that was acknowledged
            stand.port.deliver("valve", str(number).encode())
        stand.turn(lambda: {str(number) for number in range(15)} <= {body for _, body in stand.handled})
        stand.turn(lambda: len(stand.port.settled) == 15)
        assert list(dict.fromkeys(stand.of("valve"))) == list(range(15)), "duplicates left out, it is in order"


def test_a_message_of_qos_0_passes_and_is_not_lost_for_another_one() -> None:
    turns = Turns(lambda delivery: delivery.address)
    turns.failed(Delivery("a", b"", 1), final=False)
    assert turns.refuses(Delivery("a", b"", 2))
    assert not turns.refuses(Delivery("a", b"", 0))
    assert not turns.refuses(Delivery("b", b"", 3))
    turns.succeeded(Delivery("a", b"", 0))
    assert turns.refuses(Delivery("a", b"", 2)), "only one that came again frees the key"
    turns.succeeded(Delivery("a", b"", 0, redelivered=True))
    assert not turns.refuses(Delivery("a", b"", 2))


def test_the_keys_that_a_worker_holds_are_bounded() -> None:
    turns = Turns(lambda delivery: delivery.address)
    for number in range(MOST_KEYS + 5):
        turns.failed(Delivery(str(number), b"", 1), final=False)
    assert len(turns.held) == MOST_KEYS
    assert not turns.refuses(Delivery("4", b"", 1))
    assert turns.refuses(Delivery("5", b"", 1))
