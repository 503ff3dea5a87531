"""Signals reach the application wherever its main thread is, and what was there before comes back."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.process import SignalHandler
from pylib.runtime.runtime import Runtime
from pylib.testing.processes import Program, run_python

pytestmark = [pytest.mark.timeout(60), pytest.mark.alone]

BEFORE = """
import logging, os, signal, sys, threading, time
import zmq
from zmq.error import ContextTerminated
from pylib import threads
from pylib.app import AppThread
from pylib.process import SignalHandler
from pylib.runtime.runtime import current
from pylib.threads import bye, die
from pylib.zmq import Closable, zmq_socket, zmq_term

logging.basicConfig(level=logging.INFO, format="%(threadName)s %(levelname)s %(message)s")
handler = SignalHandler()

class Worker(AppThread, Closable):
    def __init__(self):
        AppThread.__init__(self)
        Closable.__init__(self, connect_url="inproc://worker")
    def run(self):
        while not threads.shutting_down:
            self.socket.recv_pyobj()

Worker().start()
"""
AFTER = """
die()
zmq_term()
bye()
"""
WAITS = {
    "in recv": """
pull = zmq_socket(zmq.PULL)
pull.bind("inproc://main")
print("ready")
try:
    pull.recv()
except ContextTerminated:
    pass
""",
    "in a sleep": """
print("ready")
threads.interruptable_sleep.wait(60)
""",
    "in python code": """
print("ready")
while not threads.shutting_down:
    pass
""",
    "in a send": """
push = zmq_socket(zmq.PUSH)
print("ready")
try:
    push.send(b"nobody takes it")
except ContextTerminated:
    pass
""",
}
# A signal interrupts the first sleep; the second one then keeps the main thread from going on with its stop.
IN_C = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
current().exit_deadline = 0.3
print("ready")
libc.usleep(30_000_000)
libc.usleep(30_000_000)
"""


@pytest.fixture
def program_of(tmp_path: Path) -> Iterator[object]:
    opened: list[Program] = []

    def make(body: str, name: str = "app.py") -> Program:
        script = tmp_path / name
        script.write_text(body)
        program = run_python(script, folder=tmp_path)
        opened.append(program)
        return program

    yield make
    for program in opened:
        program.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("where", WAITS)
def test_a_signal_ends_the_application_in_order_wherever_it_waits(
    program_of: object, where: str, number: signal.Signals
) -> None:
    program = program_of(BEFORE + WAITS[where] + AFTER)  # type: ignore[operator]
    program.wait_for("ready")
    begun = time.monotonic()
    assert program.stop(number) == 0, program.output
    elapsed = time.monotonic() - begun
    print(f"{number.name} while {where}: {elapsed * 1000:.0f} ms")
    assert elapsed < 1.0, program.output
    assert f"signal {number.name}" in program.output
    assert "Did not stop" not in program.output


def test_a_main_thread_that_is_stuck_in_c_does_not_keep_the_process(program_of: object) -> None:
    program = program_of(BEFORE + IN_C + AFTER)  # type: ignore[operator]
    program.wait_for("ready")
    begun = time.monotonic()
    code = program.stop(signal.SIGTERM)
    assert time.monotonic() - begun < 5.0
    assert code == 1
    assert re.search(r"Still running 0.3 s after the stop: MainThread", program.output), program.output


def test_a_second_interrupt_ends_the_process_at_once(program_of: object) -> None:
    stuck = """
print("ready")
threads.interruptable_sleep.wait(60)
print("stopping")
threading.Event().wait(60)
"""
    program = program_of(BEFORE + stuck)  # type: ignore[operator]
    program.wait_for("ready")
    program.signal(signal.SIGINT)
    program.wait_for("stopping")
    begun = time.monotonic()
    assert program.stop(signal.SIGINT) == 130
    assert time.monotonic() - begun < 1.0


def test_a_signal_during_start_up_is_a_clean_end(program_of: object) -> None:
    early = BEFORE.replace("class Worker", "os.kill(os.getpid(), signal.SIGTERM)\n\nclass Worker")
    program = program_of(early + WAITS["in recv"] + AFTER)  # type: ignore[operator]
    assert program.wait(5) == 0, program.output
    assert "Did not stop" not in program.output


def test_a_hang_up_toggles_debug_logging(program_of: object) -> None:
    body = """
from pylib.observe.logging import log
for _ in range(3):
    print("debug", log.isEnabledFor(logging.DEBUG))
    os.kill(os.getpid(), signal.SIGHUP)
assert not threads.shutting_down
"""
    program = program_of(BEFORE + body + AFTER)  # type: ignore[operator]
    assert program.wait(10) == 0, program.output
    levels = re.findall("^debug (True|False)$", program.output, re.MULTILINE)
    assert levels == ["False", "True", "False"], program.output


@pytest.mark.leak_check
def test_the_previous_handlers_come_back_when_the_runtime_has_stopped() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    for _ in range(3):
        runtime = Runtime()
        with runtime.active():
            handler = SignalHandler()
            assert signal.getsignal(signal.SIGTERM) != before[0]
            os.kill(os.getpid(), signal.SIGTERM)
            assert runtime.latch.wait(5)
            assert handler.last_signal == signal.SIGTERM
            assert runtime.stop() == []
        assert [signal.getsignal(number) for number in numbers] == before
        assert signal.set_wakeup_fd(wakeup) == wakeup


def test_handlers_can_be_installed_by_the_main_thread_only() -> None:
    runtime = Runtime()
    errors: list[BaseException] = []

    def make() -> None:
        try:
            runtime.run(SignalHandler)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
    assert not runtime.owns_process
    assert sys.is_finalizing() is False
