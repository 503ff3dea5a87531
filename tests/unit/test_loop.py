"""One wait per thread: sockets, descriptors, timers and posts, in batches, and nothing polls."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
import zmq

from pylib.runtime.gate import Gate, WakeUp
from pylib.runtime.loop import READ, WRITE, Loop
from pylib.runtime.member import Member
from pylib.runtime.runtime import Runtime
from pylib.testing.clock import VirtualClock

pytestmark = [pytest.mark.timeout(30), pytest.mark.leak_check]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_a_post_from_another_thread_wakes_a_loop_that_has_nothing_to_do(loop: Loop) -> None:
    ran_in: list[str] = []

    def call() -> None:
        ran_in.append(threading.current_thread().name)
        loop.stop()

    poster = threading.Thread(target=loop.post, args=(call,), name="poster")
    poster.start()
    loop.run()
    poster.join()
    assert ran_in == [threading.current_thread().name]


def test_posts_from_many_threads_are_all_made_in_order_per_thread(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []
    each, threads = 500, 4

    def poster(number: int) -> None:
        for count in range(each):
            loop.post(lambda count=count: seen.append((number, count)))  # type: ignore[misc]
        loop.post(lambda: loop.stop() if len(seen) == each * threads else None)

    workers = [threading.Thread(target=poster, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    loop.run()
    for worker in workers:
        worker.join()
    for number in range(threads):
        assert [count for who, count in seen if who == number] == list(range(each))


def test_a_stop_asked_for_before_the_loop_runs_is_not_forgotten(loop: Loop) -> None:
    loop.stop()
    loop.run()  # returns


def test_a_loop_that_was_stopped_can_run_again(loop: Loop) -> None:
    for _ in range(2):
        loop.post(loop.stop)
        loop.run()


def test_timers_fire_in_the_order_they_are_due_and_a_cancelled_one_never() -> None:
    clock = VirtualClock()
    loop = Loop(clock=clock)
    fired: list[str] = []
    loop.call_later(3.0, lambda: (fired.append("last"), loop.stop()))
    loop.call_later(1.0, lambda: fired.append("first"))
    loop.call_later(2.0, lambda: fired.append("never")).cancel()
    loop.post(lambda: clock.advance(3.0))
    loop.run()
    assert fired == ["first", "last"]
    loop.close()


def test_a_timer_is_never_early_and_the_wait_for_it_is_not_spun() -> None:
    clock = VirtualClock()
    loop = Loop(clock=clock)
    loop.call_later(0.0004, loop.stop)
    assert loop._timeout() == 1  # rounded up to the next millisecond: 0 would spin, and would be early
    loop.post(lambda: clock.advance(0.0004))
    loop.run()
    loop.close()


def test_a_timer_a_year_away_is_no_reason_to_fail(loop: Loop) -> None:
    loop.call_later(366 * 86400.0, lambda: None)
    threading.Thread(target=loop.post, args=(loop.stop,)).start()
    loop.run()


def test_what_is_deferred_runs_once_at_the_end_of_the_batch_however_often_it_is_asked_for(loop: Loop) -> None:
    order: list[str] = []

    def flush() -> None:
        order.append("flush")
        loop.stop()

    for number in range(3):
        loop.post(lambda number=number: (order.append(f"post {number}"), loop.defer(flush)))  # type: ignore[misc]
    loop.run()
    assert order == ["post 0", "post 1", "post 2", "flush"]


def test_a_handler_may_unwatch_a_source_that_is_ready_in_the_same_batch(loop: Loop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    handled: list[int] = []

    def handler(reader: int) -> None:
        handled.append(reader)
        for other, _ in pipes:
            loop.unwatch(other)
        loop.stop()

    for reader, writer in pipes:
        os.write(writer, b"!")
        loop.watch(reader, READ, lambda mask, reader=reader: handler(reader))  # type: ignore[misc]
    loop.run()
    assert len(handled) == 1
    for pair in pipes:
        for descriptor in pair:
            os.close(descriptor)


def test_the_mask_of_a_source_can_be_changed_also_to_nothing_and_back(loop: Loop) -> None:
    reader, writer = os.pipe()
    masks: list[int] = []

    def writable(mask: int) -> None:
        masks.append(mask)
        loop.watch(writer, 0, writable)  # as with a client that has nothing to write for now
        loop.unwatch(writer)
        loop.unwatch(writer)  # unknown by now
        loop.stop()

    loop.watch(writer, READ, writable)
    loop.watch(writer, WRITE, writable)
    loop.run()
    assert masks == [WRITE]
    os.close(reader)
    os.close(writer)


def test_a_zeromq_socket_and_a_descriptor_are_served_by_the_same_wait(runtime: Runtime) -> None:
    loop = Loop()
    pull = runtime.sockets.open(zmq.PULL)
    pull.bind("inproc://both")
    push = runtime.sockets.open(zmq.PUSH)
    push.connect("inproc://both")
    reader, writer = os.pipe()
    seen: set[str] = set()

    def note(what: str) -> None:
        seen.add(what)
        if len(seen) == 2:
            loop.stop()

    loop.watch(pull, READ, lambda mask: note(pull.recv().decode()))
    loop.watch(reader, READ, lambda mask: note(os.read(reader, 9).decode()))
    push.send(b"socket")
    os.write(writer, b"pipe")
    loop.run()
    assert seen == {"socket", "pipe"}
    loop.close()
    os.close(reader)
    os.close(writer)


def test_a_handler_that_raises_ends_the_run_with_its_exception(loop: Loop) -> None:
    def bad() -> None:
        raise ValueError("bad")

    loop.post(bad)
    with pytest.raises(ValueError, match="bad"):
        loop.run()


def test_a_member_is_busy_only_while_its_handlers_run() -> None:
    member = Member("m")
    loop = Loop(member)
    seen: list[float | None] = []
    loop.post(lambda: (seen.append(member.busy_since), loop.stop()))
    loop.run()
    assert seen[0] is not None
    assert member.busy_since is None
    loop.close()


def test_a_gate_once_open_is_open_for_every_waiter_and_for_good() -> None:
    gate = Gate()
    through: list[bool] = []
    waiters = [threading.Thread(target=lambda: through.append(gate.wait(10.0))) for _ in range(5)]
    for waiter in waiters:
        waiter.start()
    gate.open()
    gate.open()
    for waiter in waiters:
        waiter.join()
    assert through == [True] * 5
    assert gate.wait(0) is True


def test_a_gate_can_be_waited_for_longer_than_a_poll_can_say() -> None:
    gate = Gate()
    opener = threading.Thread(target=gate.open)
    opener.start()
    assert gate.wait(90 * 86400.0) is True
    opener.join()


def test_a_gate_and_a_bell_give_their_descriptors_back_when_nobody_holds_them() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        Gate(), WakeUp()
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_rings_cost_one_byte_and_a_ring_after_the_hush_is_heard() -> None:
    bell = WakeUp()
    for _ in range(1000):
        bell.ring()
    assert os.read(bell.fileno(), 4096) == b"!"
    bell.hush()
    bell.ring()
    assert os.read(bell.fileno(), 4096) == b"!"
    bell.close()
    bell.ring()  # late, and harmless
