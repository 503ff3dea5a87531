"""Supervised threads: a death is known at once, has a cause, and is followed by what the policy says."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from typing import Any

import pytest
import zmq
from zmq.error import ContextTerminated

from pylib.app import AppThread, RestartPolicy, ZmqRelay, ZmqWorker
from pylib.errors import ConnectionLost, DecodeError, Rejected, ThreadDied
from pylib.handler import exception_handler
from pylib.runtime.receipts import handling, hold
from pylib.runtime.runtime import Runtime
from pylib.threads import die, interruptable_sleep, shutting_down
from pylib.zmq import Closable, zmq_socket, zmq_term

pytestmark = [pytest.mark.timeout(30)]
QUICK = RestartPolicy(limit=2, within=60.0, first_delay=0.001)


class Body(AppThread):
    """Runs what it is given."""

    def __init__(self, body: Any, name: str | None = None, **named: Any) -> None:
        super().__init__(name, **named)
        self.body = body

    def run(self) -> None:
        self.body()


def wait_for_stop(runtime: Runtime) -> None:
    assert runtime.latch.wait(5.0), "nothing asked for a stop"


# -- deaths --


def test_a_thread_that_raises_is_known_at_once_and_named_with_its_cause_and_stack(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    died: list[float] = []

    def body() -> None:
        died.append(time.monotonic())
        raise ValueError("the lock is jammed")

    Body(body, "door").start()
    wait_for_stop(runtime)
    latency = time.monotonic() - died[0]
    print(f"death to latch: {latency * 1000:.2f} ms")
    assert latency <= 0.1
    assert runtime.exit_code == 1
    cause = runtime.latch.cause
    assert cause is not None
    assert cause.reason == "thread 'door' died: ValueError: the lock is jammed"
    assert isinstance(cause.exception, ValueError)
    assert "Thread door died (ValueError: the lock is jammed); stopping." in caplog.text
    assert caplog.text.count("in body") == 1, "the stack belongs in the log, once"
    assert all(record.levelno >= logging.ERROR for record in caplog.records if "jammed" in record.getMessage())


def test_a_thread_that_returns_unasked_stops_the_application(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    Body(lambda: None, "early").start()
    wait_for_stop(runtime)
    assert runtime.exit_code == 1
    assert "Thread early died (ThreadDied: its run() returned although nobody had asked it to stop)" in caplog.text


def test_an_untracked_thread_may_end_when_it_likes(runtime: Runtime) -> None:
    thread = Body(lambda: None)
    thread.untrack()
    thread.start()
    thread.join(5)
    assert not runtime.stopping


def test_a_hung_thread_is_named_with_its_stack_and_does_not_hold_up_the_stop(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, released: threading.Event
) -> None:
    other = Runtime()
    with other.active():
        thread = Body(lambda: released.wait(20), "stuck", deadline=0.05)
    thread.start()
    wait_for_stop(other)
    assert other.exit_code == 1
    assert "Thread stuck has been busy with one thing" in caplog.text
    assert "released.wait" in caplog.text
    begun = time.monotonic()
    left = other.stop()
    assert time.monotonic() - begun < 0.5, "a thread known to hang is not waited for"
    assert ["stuck" in text and "released.wait" in text for text in left] == [True]
    released.set()
    thread.join(5)
    other.latch.gate.close()


def test_a_thread_that_waits_in_recv_is_not_taken_for_hung(runtime: Runtime) -> None:
    seen: list[object] = []
    served = threading.Event()

    class Slow(AppThread, Closable):
        def __init__(self) -> None:
            AppThread.__init__(self, deadline=0.04)
            Closable.__init__(self, "inproc://slow")

        def run(self) -> None:
            while True:
                seen.append(self.socket.recv_pyobj())
                served.set()

    Slow().start()
    assert not runtime.latch.wait(0.2)  # five deadlines long
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://slow")
    push.send_pyobj("still there")
    assert served.wait(5)


def test_an_exception_raised_in_a_thread_from_outside_is_a_death_like_any_other(runtime: Runtime) -> None:
    running = threading.Event()

    def spin() -> None:
        running.set()
        while True:
            pass

    thread = Body(spin, "spinner")
    thread.start()
    assert running.wait(5)
    ident = ctypes.c_ulong(thread.ident or 0)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(MemoryError)) == 1
    wait_for_stop(runtime)
    assert runtime.latch.cause is not None
    assert runtime.latch.cause.thread == "spinner"
    assert isinstance(runtime.latch.cause.exception, MemoryError)


def test_of_two_threads_with_one_name_the_death_of_either_is_noticed(runtime: Runtime) -> None:
    first = Body(lambda: interruptable_sleep.wait(), "twin")
    second = Body(lambda: 1 / 0, "twin")
    first.start()
    second.start()
    wait_for_stop(runtime)
    assert isinstance(runtime.latch.cause.exception, ZeroDivisionError)  # type: ignore[union-attr]


def test_a_lost_dependency_stops_without_a_crash_report(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    def lose() -> None:
        raise ConnectionLost("mosquitto went away")

    thread = Body(lose)
    thread.start()
    thread.join(5)
    assert runtime.exit_code == 1
    assert caplog.text.count("mosquitto went away") == 1
    assert "Traceback" not in caplog.text


def test_sys_exit_in_a_thread_is_the_process_exit_code(runtime: Runtime) -> None:
    def leave() -> None:
        raise SystemExit(7)

    Body(leave).start()
    wait_for_stop(runtime)
    assert runtime.exit_code == 7


# -- restarts --


def test_a_restart_policy_is_honoured_and_escalates_at_its_limit(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []

    def fail() -> None:
        runs.append(len(runs))
        raise ValueError(f"attempt {len(runs)}")

    Body(fail, "flaky", restart=QUICK).start()
    wait_for_stop(runtime)
    assert len(runs) == 3, "the first run and two restarts"
    assert runtime.exit_code == 1
    assert caplog.text.count("restarting it in") == 2
    assert "stopping: that was restart 2 within 60 s" in caplog.text


def test_a_restarted_thread_goes_on_with_what_waits_in_its_pipe(runtime: Runtime) -> None:
    seen: list[object] = []
    done = threading.Event()

    class Relay(ZmqRelay):
        def process(self, message: Any) -> Any:
            seen.append(message)
            if message == "bad":
                raise ValueError("bad")
            if message == "last":
                done.set()

    Relay("relay", "inproc://in", "inproc://out", restart=QUICK).start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://in")
    for message in ("good", "bad", "last"):
        push.send_pyobj(message)
    assert done.wait(5)
    assert seen == ["good", "bad", "last"]
    assert not runtime.stopping


def test_the_back_off_doubles_and_forgets_deaths_that_are_long_past() -> None:
    now = [0.0]
    delays = RestartPolicy(limit=4, within=10.0, first_delay=1.0, max_delay=3.0).delays(lambda: now[0])
    assert [next(delays) for _ in range(4)] == [1.0, 2.0, 3.0, 3.0]
    now[0] = 11.0
    assert next(delays) == 1.0
    exhausted = RestartPolicy(limit=1).delays(lambda: 0.0)
    next(exhausted)
    assert next(exhausted, None) is None
    assert next(RestartPolicy().delays(lambda: 0.0), None) is None


def test_a_stop_ends_a_back_off(runtime: Runtime) -> None:
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise ValueError("bad")

    thread = Body(fail, restart=RestartPolicy(limit=5, first_delay=30.0, max_delay=30.0))
    thread.start()
    assert failed.wait(5)
    assert thread.stop() is True


# -- making, starting and stopping --


class ThreadFirst(AppThread, Closable):
    def __init__(self) -> None:
        AppThread.__init__(self, name="first")
        Closable.__init__(self, connect_url="inproc://order")
        self.got = threading.Event()

    def run(self) -> None:
        while not shutting_down:
            self.socket.recv_pyobj()
            self.got.set()


class ClosableFirst(ThreadFirst):
    def __init__(self) -> None:
        Closable.__init__(self, connect_url="inproc://order")
        AppThread.__init__(self, name="first")
        self.got = threading.Event()


class Twice(ThreadFirst):
    def __init__(self) -> None:
        Closable.__init__(self, connect_url="inproc://order")
        AppThread.__init__(self, name="zero")
        ThreadFirst.__init__(self)


@pytest.mark.parametrize("kind", [ThreadFirst, ClosableFirst, Twice])
def test_base_classes_may_be_initialised_in_any_order_also_twice(runtime: Runtime, kind: type[ThreadFirst]) -> None:
    thread = kind()
    assert thread.name == thread.member.name == "first"
    assert len(runtime.sockets.all()) == 1
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://order")
    push.send_pyobj("before the start")
    thread.start()
    assert thread.got.wait(5)
    assert thread.socket.owner is thread.member


def test_a_thread_can_be_started_once_and_a_second_start_does_no_harm(runtime: Runtime) -> None:
    thread = Body(lambda: interruptable_sleep.wait())
    thread.start()
    with pytest.raises(RuntimeError, match="started already"):
        thread.start()
    assert runtime.supervisor.members() == [thread.member]


def test_stopping_one_thread_leaves_the_others_alone(runtime: Runtime) -> None:
    seen: list[bool] = []
    alone = Body(lambda: seen.append(interruptable_sleep.wait() and bool(shutting_down)), "alone")
    other = Body(lambda: interruptable_sleep.wait(), "other")
    alone.start()
    other.start()
    assert alone.stop() is True
    assert seen == [True], "a thread that is stopped alone is told so"
    assert other.is_alive()
    assert not runtime.stopping
    assert not shutting_down


def test_a_straggler_alone_is_named_with_its_stack_and_the_sum_of_the_waits_is_bounded(
    runtime: Runtime, released: threading.Event
) -> None:
    other = Runtime(stop_budget=0.3)
    with other.active():
        threads = [Body(lambda: interruptable_sleep.wait(), f"good-{number}") for number in range(3)]
        threads.append(Body(lambda: released.wait(20), "straggler"))
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    left = other.stop()
    assert time.monotonic() - begun < 0.6
    assert len(left) == 1
    assert left[0].startswith("thread straggler")
    assert "released.wait" in left[0]
    assert other.stop() == left, "asked again, it says the same"
    released.set()
    threads[-1].join(5)
    other.latch.gate.close()


def test_a_thread_started_after_the_stop_began_ends_at_once(runtime: Runtime) -> None:
    die()
    thread = Body(lambda: interruptable_sleep.wait())
    thread.start()
    zmq_term()
    thread.join(5)
    assert not thread.is_alive()


def test_a_thread_started_after_the_stop_is_over_ends_at_once_and_leaves_nothing(runtime: Runtime) -> None:
    zmq_term()
    thread = Body(lambda: interruptable_sleep.wait())
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert [other.name for other in threading.enumerate() if other.name == "pylib-watchdog"] == []


def test_a_thread_that_starts_another_and_ends_leaves_it_its_sockets(runtime: Runtime) -> None:
    made: list[ThreadFirst] = []

    def make_and_end() -> None:
        made.append(ThreadFirst())
        made[0].start()

    maker = Body(make_and_end, "maker")
    maker.untrack()
    maker.start()
    maker.join(5)
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://order")
    push.send_pyobj("hello")
    assert made[0].got.wait(5)


def test_a_thread_closes_its_own_sockets_when_it_ends(runtime: Runtime) -> None:
    def body() -> None:
        zmq_socket(zmq.PUSH)

    thread = Body(body)
    thread.untrack()
    thread.start()
    thread.join(5)
    assert runtime.sockets.all() == []


# -- relays and workers --


class Doubler(ZmqRelay):
    def process(self, message: Any) -> Any:
        if message is None:
            raise DecodeError("nothing in it")
        if isinstance(message, str):
            return None
        return (number for number in (message, message * 2)) if message > 0 else message


def test_a_relay_sends_one_message_several_or_none(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    settled: list[tuple[object, BaseException | None]] = []
    sink = zmq_socket(zmq.PULL)
    sink.bind("inproc://out")
    Doubler("doubler", "inproc://in", "inproc://out").start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://in")
    for token, message in enumerate((-1, "drop me", None, 2)):
        receipt = runtime.receipts.open(lambda receipt: settled.append((receipt.token, receipt.error)), token)
        with handling((receipt,)):
            push.send_pyobj(message)
    assert [sink.recv_pyobj() for _ in range(3)] == [-1, 2, 4]
    die()
    with pytest.raises(ContextTerminated):
        sink.recv()
    zmq_term()
    by_token = dict(settled)
    assert sorted(str(token) for token, _ in settled) == list("0123")
    assert isinstance(by_token[2], DecodeError)
    assert [by_token[token] for token in (0, 1, 3)] == [None, None, None]
    assert "doubler: a message was set aside: DecodeError: nothing in it" in caplog.text


def test_a_relay_drains_its_pipe_before_it_ends(runtime: Runtime) -> None:
    seen: list[Any] = []
    gate = threading.Event()

    class Slow(ZmqRelay):
        def process(self, message: Any) -> Any:
            gate.wait(10)
            seen.append(message)

    Slow("slow", "inproc://in", "inproc://out").start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://in")
    for number in range(1500):
        push.send_pyobj(number)
    die()
    gate.set()
    zmq_term()
    assert seen == list(range(1500))


def test_a_relay_stops_when_the_latch_trips_and_not_only_when_the_context_goes(runtime: Runtime) -> None:
    """The original copied the flag at import: its relays went on after die() until the context was gone."""
    seen: list[bool] = []

    class Relay(ZmqRelay):
        def process_message(self, sink_socket: Any) -> None:
            self.socket.recv_pyobj()
            seen.append(bool(shutting_down))
            die()
            seen.append(bool(shutting_down))

    relay = Relay("relay", "inproc://in", "inproc://out")
    relay.start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://in")
    push.send_pyobj(1)
    wait_for_stop(runtime)
    assert runtime.stop() == []
    assert seen == [False, True]
    assert not relay.is_alive()


def test_messages_held_when_the_stop_comes_are_failed_and_not_acknowledged(runtime: Runtime) -> None:
    settled: list[BaseException | None] = []
    got = threading.Event()

    class Gatherer(AppThread, Closable):
        def __init__(self) -> None:
            AppThread.__init__(self)
            Closable.__init__(self, "inproc://in")

        def run(self) -> None:
            hold()
            self.socket.recv_pyobj()
            got.set()
            self.socket.recv_pyobj()

    Gatherer().start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://in")
    with handling((runtime.receipts.open(lambda receipt: settled.append(receipt.error)),)):
        push.send_pyobj(1)
    assert got.wait(5)
    assert runtime.stop() == []
    assert [type(error) for error in settled] == [ContextTerminated]


class Adder(ZmqWorker):
    def process_message(self, message: Any) -> Any:
        if message == "lock":
            return threading.Lock()
        if message == "reject":
            raise Rejected("not today")
        return message + 1


def ask(url: str, message: Any) -> Any:
    socket = zmq_socket(zmq.REQ)
    socket.connect(url)
    socket.send_pyobj(message)
    answer = socket.recv_pyobj()
    socket.close()
    return answer


def test_a_worker_answers_refuses_and_lives(runtime: Runtime) -> None:
    Adder("adder", "inproc://adder").start()
    assert ask("inproc://adder", 1) == 2
    assert isinstance(ask("inproc://adder", "reject"), Rejected)
    assert ask("inproc://adder", 2) == 3
    assert not runtime.stopping


@pytest.mark.parametrize("message", ["lock", None])
def test_a_worker_that_cannot_answer_says_so_before_it_dies(runtime: Runtime, message: Any) -> None:
    Adder("adder", "inproc://adder").start()
    answer = ask("inproc://adder", message)
    assert isinstance(answer, Rejected)
    assert "adder could not answer: TypeError" in str(answer)
    wait_for_stop(runtime)
    assert runtime.exit_code == 1


def test_a_death_is_the_cause_and_what_follows_from_it_is_not(runtime: Runtime) -> None:
    Body(lambda: 1 / 0, "first").start()
    wait_for_stop(runtime)
    die(ThreadDied("second"))
    assert isinstance(runtime.latch.cause.exception, ZeroDivisionError)  # type: ignore[union-attr]


def test_a_restarted_thread_as_the_first_applications_wrote_it_keeps_its_senders(runtime: Runtime) -> None:
    seen: list[object] = []
    done = threading.Event()

    class Processor(AppThread, Closable):
        def __init__(self) -> None:
            AppThread.__init__(self, name="processor", restart=QUICK)
            Closable.__init__(self, connect_url="inproc://app-worker")

        def run(self) -> None:
            with exception_handler(closable=self):
                while not shutting_down:
                    message = self.socket.recv_pyobj()
                    seen.append(message)
                    if message == "bad":
                        raise ValueError("bad")
                    if message == "last":
                        done.set()

    Processor().start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://app-worker")
    for message in ("good", "bad", "last"):
        push.send_pyobj(message)
    assert done.wait(5)
    assert seen == ["good", "bad", "last"]
