"""A fresh runtime per test, with the proof that nothing of it is left when the test is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pylib.runtime.member import Member
from pylib.runtime.runtime import Runtime, reset_default
from pylib.testing.leaks import Snapshot, leaked_since


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """A runtime of this test's own, current here and the process's default, stopped and inspected afterwards.

    The check knows no exceptions: a test that leaves something behind on purpose ends it before it returns.
    """
    before = Snapshot.take()
    runtime = Runtime()
    members: list[Member] = []
    admit = runtime.supervisor.admit
    runtime.supervisor.admit = lambda member: (members.append(member), admit(member))[1]  # type: ignore[method-assign]
    previous = reset_default(runtime)
    try:
        with runtime.active():
            yield runtime
            left = runtime.stop()
    finally:
        reset_default(previous)
    assert left == [], "the stop left something behind"
    assert runtime.context.closed, "the ZeroMQ context was not terminated"
    assert len(runtime.receipts) == 0, "a receipt was never settled"
    assert runtime.sockets.all() == []
    # Pytest still holds the runtime, and by way of logged tracebacks its members: their gates would stay open for that.
    for gate in (runtime.latch.gate, *(member.gate for member in members)):
        gate.close()
    assert leaked_since(before) == []


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event on which a test's thread may hang; set when the test is over, so that the thread ends after all."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def join_all() -> Iterator[Callable[[threading.Thread], None]]:
    """Have a thread joined after the test, and the test failed if it does not end."""
    threads: list[threading.Thread] = []
    yield threads.append
    for thread in threads:
        thread.join(5.0)
        assert not thread.is_alive(), f"{thread.name} did not end"
