"""What systemd is told, by a socket that a test plays."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.observe.health import Health, Problem
from pylib.observe.observing import health_of
from pylib.observe.systemd import notify_systemd, status_of, watchdog_s
from pylib.runtime.runtime import Runtime


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        here.bind(str(tmp_path / "notify"))
        here.settimeout(10)
        yield here


def environment(notes: socket.socket, seconds: float | None = 0.15) -> dict[str, str]:
    found = {"NOTIFY_SOCKET": str(notes.getsockname())}
    return found if seconds is None else {**found, "WATCHDOG_USEC": str(int(seconds * 1e6))}


def told(notes: socket.socket) -> list[str]:
    return notes.recv(4096).decode().split("\n")


def until_silence(notes: socket.socket) -> None:
    """Raises TimeoutError as soon as nothing is told for as long as the socket waits; returns if that is never so."""
    for _ in range(50):
        told(notes)


def test_it_is_ready_alive_and_says_when_it_stops(runtime: Runtime, notes: socket.socket) -> None:
    assert notify_systemd(runtime, health_of(runtime), environment(notes))
    assert told(notes) == ["READY=1", "STATUS=Running.", "WATCHDOG=1"]
    assert told(notes) == ["WATCHDOG=1"]
    assert told(notes) == ["WATCHDOG=1"]
    runtime.stop()
    last = told(notes)
    while "WATCHDOG=1" in last:
        last = told(notes)
    assert last[0] == "STOPPING=1"


def test_what_is_wrong_is_its_status_and_only_what_a_restart_helps_ends_its_signs_of_life(
    runtime: Runtime, notes: socket.socket
) -> None:
    away = Problem(part="RabbitMQ", what="not connected", since=0.0)
    hung = Problem(part="thread x", what="it\nhangs", since=0.0, fatal=True)
    problems = [away]

    def healthy() -> Health:
        live = not any(problem.fatal for problem in problems)
        return Health(live=live, ready=not problems, at=0.0, problems=tuple(problems))

    notify_systemd(runtime, healthy, environment(notes))
    assert told(notes) == ["READY=1", "STATUS=Not ready: RabbitMQ: not connected", "WATCHDOG=1"]
    problems[:] = [hung]
    last = told(notes)
    while last == ["WATCHDOG=1"]:
        last = told(notes)
    assert last == ["STATUS=Not alive: thread x: it hangs"]
    notes.settimeout(0.5)
    with pytest.raises(TimeoutError):
        told(notes)
    runtime.stop()


def test_a_status_line_is_one_line_and_short() -> None:
    long = Problem(part="x", what="y\r\n" * 500, since=0.0)
    line = status_of(Health(live=True, ready=False, at=0.0, problems=(long,)))
    assert line.isprintable()
    assert len(line) <= 200


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_a_watchdog_is_served_where_systemd_has_one_for_this_process(given: dict[str, str], wanted: float | None) -> None:
    assert watchdog_s(given) == wanted


@pytest.mark.parametrize("address", ["", "notify", "tcp:1"])
def test_without_systemd_nothing_is_started(runtime: Runtime, address: str) -> None:
    assert not notify_systemd(runtime, health_of(runtime), {"NOTIFY_SOCKET": address})
    assert not runtime.supervisor.members()


def test_an_address_in_the_abstract_namespace_is_understood(runtime: Runtime) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        here.bind(f"\0pylib-test-{os.getpid()}")
        here.settimeout(10)
        notify_systemd(runtime, health_of(runtime), {"NOTIFY_SOCKET": f"@pylib-test-{os.getpid()}"})
        assert told(here)[0] == "READY=1"
        runtime.stop()


HOLDS_THE_LOCK = """
import re, sys, threading
from pylib.application import Application

app = Application("holder")

@app.every(3600)
def hold():
    threading.Thread(target=lambda: sys.stdin.readline() and re.match("(a+)+b", "a" * 64), daemon=True).start()

app.run()
"""


def test_something_that_holds_the_interpreter_lock_ends_the_signs_of_life(notes: socket.socket, tmp_path: Path) -> None:
    """And so systemd ends the process, which nothing within it could do: the regular expression takes for ever, in C."""
    given = {**os.environ, **environment(notes, 0.6), "STATE_DIRECTORY": str(tmp_path), "APP_NAME": "holder"}
    command = [sys.executable, "-c", HOLDS_THE_LOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=given, text=True) as holder:
        try:
            assert "READY=1" in told(notes)
            assert told(notes) == ["WATCHDOG=1"]
            assert holder.stdin is not None
            holder.stdin.write("now\n")
            holder.stdin.flush()
            notes.settimeout(0.6)  # as long as systemd would wait
            with pytest.raises(TimeoutError):
                until_silence(notes)
            assert holder.poll() is None, "nothing within the process can end it"
        finally:
            holder.kill()
