"""Stopping: the flag is live, the first cause wins, dying costs nothing and the exit code is true."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib import threads
from pylib.runtime.latch import Latch, StopCause
from pylib.runtime.runtime import Runtime, current, reset_default
from pylib.testing.processes import run_program
from pylib.threads import bye, die, interruptable_sleep, shutting_down, thread_nanny

pytestmark = [pytest.mark.timeout(30)]


def test_a_flag_that_was_imported_by_name_follows_the_runtime(runtime: Runtime) -> None:
    assert not shutting_down
    assert shutting_down == False  # noqa: E712 (the comparison is what is tested)
    assert repr(shutting_down) == "False"
    die()
    assert shutting_down
    assert shutting_down == True  # noqa: E712
    assert threads.shutting_down is shutting_down
    assert threads.shutting_down


def test_the_flag_of_one_runtime_is_not_the_flag_of_another(runtime: Runtime) -> None:
    other = Runtime()
    with other.active():
        die()
        assert shutting_down
    assert not shutting_down


def test_dying_does_nothing_but_ask(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original flushed crash reports in die(), before it set the flag: 3 s inside a signal handler."""
    sentry = types.ModuleType("sentry_sdk")

    def flush(timeout: float = 0) -> None:
        raise AssertionError("die() must not flush")

    sentry.flush = flush  # type: ignore[attr-defined]
    sentry.is_initialized = lambda: True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentry_sdk", sentry)
    begun = time.perf_counter()
    die(ValueError("bad"))
    assert time.perf_counter() - begun < 1.0  # the original blocked for three seconds
    assert shutting_down


@pytest.mark.parametrize("cause", [ValueError("bad"), ValueError, UnicodeDecodeError])
def test_dying_of_an_exception_or_its_class_is_a_failure(runtime: Runtime, cause: type[Exception] | Exception) -> None:
    die(exception=cause)
    assert runtime.exit_code == 1
    kind = cause if isinstance(cause, type) else type(cause)
    assert isinstance(threads.trigger_exception, kind)
    with pytest.raises(SystemExit) as exit_info:
        bye()
    assert exit_info.value.code == 1


def test_dying_of_nothing_is_a_wish(runtime: Runtime) -> None:
    assert threads.trigger_exception is None
    die()
    assert threads.trigger_exception is None
    with pytest.raises(SystemExit) as exit_info:
        bye()
    assert exit_info.value.code == 0


def test_the_first_cause_wins(runtime: Runtime) -> None:
    die()
    die(ValueError("a consequence"))
    assert runtime.exit_code == 0
    assert threads.trigger_exception is None


def test_of_many_threads_that_die_together_exactly_one_is_the_first() -> None:
    for _ in range(50):
        latch = Latch()
        barrier = threading.Barrier(8)
        first: list[StopCause] = []

        def trip(
            number: int, latch: Latch = latch, barrier: threading.Barrier = barrier, first: list[StopCause] = first
        ) -> None:
            cause = StopCause(str(number))
            barrier.wait()
            if latch.trip(cause):
                first.append(cause)

        trippers = [threading.Thread(target=trip, args=(number,)) for number in range(8)]
        for tripper in trippers:
            tripper.start()
        for tripper in trippers:
            tripper.join()
        assert first == [latch.cause]


def test_saying_bye_runs_what_is_left_of_the_stop(runtime: Runtime) -> None:
    with pytest.raises(SystemExit) as exit_info:
        bye()
    assert exit_info.value.code == 0
    assert runtime.stopping
    assert runtime.context.closed


def test_a_sleep_ends_with_the_stop_and_says_so(runtime: Runtime) -> None:
    assert interruptable_sleep.wait(0.001) is False
    assert not interruptable_sleep.is_set()
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(runtime.run(interruptable_sleep.wait, 60.0)))
    sleeper.start()
    interruptable_sleep.set()
    sleeper.join(5)
    assert woken == [True]
    assert interruptable_sleep.is_set()
    assert interruptable_sleep.wait(60.0) is True  # at once, like every sleep from now on


class Handler:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime


@pytest.fixture
def nanny(runtime: Runtime) -> Iterator[threading.Thread]:
    previous = threading.excepthook
    # Pytest's own hook would report the exception that the test raises on purpose.
    threading.excepthook = lambda args: None
    ours = threading.excepthook
    thread = threading.Thread(target=thread_nanny, args=(Handler(runtime),), daemon=True)
    thread.start()
    while threading.excepthook is ours and thread.is_alive():
        threading.Event().wait(0.001)
    yield thread
    runtime.trip()
    thread.join(5)
    assert not thread.is_alive()
    assert threading.excepthook is ours, "the hook is put back"
    threading.excepthook = previous


def test_the_nanny_notices_the_death_of_a_plain_thread_at_once(runtime: Runtime, nanny: threading.Thread) -> None:
    plain = threading.Thread(target=lambda: 1 / 0, name="plain")
    plain.start()
    assert runtime.latch.wait(5)
    assert runtime.exit_code == 1
    assert runtime.latch.cause is not None
    assert runtime.latch.cause.reason == "thread 'plain' died: ZeroDivisionError: division by zero"
    plain.join()


def test_the_nanny_needs_no_settings_and_lives_until_the_stop(runtime: Runtime, nanny: threading.Thread) -> None:
    """The original's died silently of a missing option, and nobody watched from then on."""
    assert nanny.is_alive()
    assert not runtime.stopping


def test_the_default_runtime_is_made_once_and_can_be_replaced() -> None:
    previous = reset_default()
    try:
        found: list[Runtime] = []
        askers = [threading.Thread(target=lambda: found.append(current())) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert len(set(map(id, found))) == 1
        found[0].latch.gate.close()
    finally:
        reset_default(previous)


IMPORTS = """
import locale, logging, os, signal, sys, threading

def state():
    return (
        os.getcwd(), locale.setlocale(locale.LC_ALL), threading.enumerate(), sorted(os.listdir("/proc/self/fd")),
        [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)],
        logging.getLogger().handlers[:], logging.getLogger().level, threading.excepthook, sys.excepthook,
    )

before = state()
import pylib.app, pylib.handler, pylib.process, pylib.threads, pylib.zmq, pylib.runtime.runtime
assert state() == before, (before, state())
"""


def test_importing_the_facade_changes_nothing(tmp_path: Path) -> None:
    """The original's changed the folder, the locale and the log level, and read a settings file."""
    with run_program([sys.executable, "-c", IMPORTS], folder=tmp_path) as program:
        assert program.wait(20) == 0, program.output
    assert list(tmp_path.iterdir()) == []
