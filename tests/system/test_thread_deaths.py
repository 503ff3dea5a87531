"""A death in a real process: the cause is in the log, the exit code is 1, and nothing that hangs keeps it alive."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pylib.testing.processes import Program, run_python

pytestmark = [pytest.mark.timeout(60), pytest.mark.alone]

PROGRAM = """
import logging, sys, threading, time
from pylib import threads
from pylib.app import AppThread
from pylib.process import SignalHandler
from pylib.runtime.runtime import current
from pylib.threads import bye, die, thread_nanny
from pylib.zmq import zmq_term

logging.basicConfig(level=logging.INFO, format="%(threadName)s %(levelname)s %(message)s")
handler = SignalHandler()

class Body(AppThread):
    def run(self):
        {body}

def main():
    nanny = threading.Thread(name="nanny", target=thread_nanny, args=(handler,), daemon=True)
    nanny.start()
    {kind}
    print("ready", flush=True)
    threads.interruptable_sleep.wait(60)
    die()
    zmq_term()
    bye()

main()
"""
TRACKED = 'Body("victim", deadline=0.2).start()'
PLAIN = 'threading.Thread(name="victim", target=lambda: 1 / 0).start()'


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    opened: list[Program] = []

    def make(body: str = "pass", kind: str = TRACKED) -> Program:
        script = tmp_path / "app.py"
        script.write_text(PROGRAM.format(body=body, kind=kind))
        opened.append(run_python(script, folder=tmp_path))
        return opened[-1]

    yield make
    for program in opened:
        program.kill()


def test_a_thread_that_raises_ends_the_process_with_its_cause_and_stack_named(start: Callable[..., Program]) -> None:
    program = start('raise ValueError("jammed")')
    assert program.wait(10) == 1
    assert "Thread victim died (ValueError: jammed); stopping." in program.output
    assert "in run" in program.output
    assert "Exiting with code 1" in program.output


def test_a_thread_that_returns_ends_the_process_with_code_1(start: Callable[..., Program]) -> None:
    program = start("return")
    assert program.wait(10) == 1
    assert "Thread victim died (ThreadDied" in program.output


@pytest.mark.parametrize(
    "body", ["threading.Event().wait()", "time.sleep(60)", "__import__('ctypes').CDLL(None).usleep(60_000_000)"]
)
def test_a_hung_thread_ends_the_process_and_not_the_stop(start: Callable[..., Program], body: str) -> None:
    program = start(body)
    program.wait_for("ready")
    begun = time.monotonic()
    assert program.wait(10) == 1
    elapsed = time.monotonic() - begun
    print(f"hang to exit: {elapsed * 1000:.0f} ms (deadline 200 ms)")
    assert elapsed < 2.5
    assert "Thread victim has been busy with one thing" in program.output
    assert "in run" in program.output
    assert "Did not stop in time: thread victim" in program.output


def test_a_thread_that_ignores_the_stop_is_named_and_the_process_ends(start: Callable[..., Program]) -> None:
    program = start("threading.Event().wait()", 'Body("victim").start()')
    program.wait_for("ready")
    begun = time.monotonic()
    assert program.stop(signal.SIGTERM) == 1, "what was left behind is a failure"
    assert time.monotonic() - begun < 2.0
    assert "Did not stop in time: thread victim" in program.output


def test_a_plain_thread_that_raises_ends_the_process_too(start: Callable[..., Program]) -> None:
    program = start(kind=PLAIN)
    assert program.wait(10) == 1
    assert "ZeroDivisionError" in program.output
    assert "thread 'victim' died" in program.output


def test_a_process_whose_main_thread_never_stops_is_ended_by_the_watchdog(start: Callable[..., Program]) -> None:
    program = start('raise ValueError("jammed")', TRACKED + "; current().exit_deadline = 0.3; threading.Event().wait()")
    assert program.wait(10) == 1
    assert "Still running 0.3 s after the stop: MainThread" in program.output
