"""A runtime of a test's own, and the proof that nothing of it is left when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pylib.testing.leaks import Snapshot, leaked_since
from pylib.testing.origins import Origins

if TYPE_CHECKING:
    from pylib.runtime.member import Member
    from pylib.runtime.runtime import Runtime


class LeftBehind(AssertionError):
    """A test left something behind; the message has one line for each thing, with the line that made it."""

    def __init__(self, left: list[str]) -> None:
        super().__init__("The test left behind:\n  " + "\n  ".join(left))


@contextmanager
def leak_check() -> Iterator[None]:
    """Raise ``LeftBehind`` when a thread or a descriptor that was opened in the block is still there two seconds after it."""
    before = Snapshot.take()
    with Origins() as origins:
        yield
    left = leaked_since(before, origins=origins)
    if left:
        raise LeftBehind(left)


@contextmanager
def fresh_runtime() -> Iterator[Runtime]:
    """A runtime that is current in the block, and the process's default; stopped and inspected after it.

    Raises ``LeftBehind`` for what its stop had to leave, a delivery that was never settled, a ZeroMQ socket, a thread or a
    descriptor. It knows no exceptions: a test that leaves something behind on purpose ends it before it returns.
    """
    from pylib.runtime.runtime import Runtime, reset_default

    before = Snapshot.take()
    with Origins() as origins:
        runtime = Runtime()
        members: list[Member] = []
        admit = runtime.supervisor.admit

        def admitted(member: Member) -> None:
            members.append(member)
            admit(member)

        runtime.supervisor.admit = admitted  # type: ignore[method-assign]  # to know them all
        previous = reset_default(runtime)
        try:
            with runtime.active():
                yield runtime
                left = runtime.stop()
        finally:
            reset_default(previous)
    if not runtime.context.closed:
        left.append("the runtime's ZeroMQ context could not be terminated: a socket of it is open")
    if len(runtime.receipts):
        left.append(f"{len(runtime.receipts)} deliveries of the runtime were never settled")
    left += [each.describe() for each in runtime.sockets.all()]
    # Pytest still holds the runtime, and by way of logged tracebacks its members: their gates would stay open for that.
    for gate in (runtime.latch.gate, *(member.gate for member in members)):
        gate.close()
    left += leaked_since(before, origins=origins)
    if left:
        raise LeftBehind(left)
