"""What a test left behind: threads that still run and file descriptors that are still open."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pylib.testing.guard import GUARD
from pylib.testing.origins import Origins

_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The threads and descriptors of this process at one moment."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]

    @staticmethod
    def take() -> Snapshot:
        """Return the present state. Where there is no ``/proc`` the descriptors are empty."""
        return Snapshot(frozenset(threading.enumerate()), frozenset(_open_descriptors()))


def leaked_since(before: Snapshot, timeout: float = 2.0, origins: Origins | None = None) -> list[str]:
    """Return one line per thread and descriptor that is there now, was not in ``before`` and does not go away.

    What is on its way out gets ``timeout`` seconds: threads are joined, descriptors are asked for again after garbage
    has been collected. ``origins``, entered while the test ran, adds the line that made each. Call it from the thread
    that runs the test.
    """
    deadline = time.monotonic() + timeout
    for thread in _new_threads(before):
        # A thread that somebody else started may not be joinable yet; it is then named below.
        with suppress(RuntimeError):
            thread.join(max(deadline - time.monotonic(), 0.0))
    remaining = _new_descriptors(before)
    pause = threading.Event()
    while remaining and time.monotonic() < deadline:
        _let_resting_paho_clients_go()
        gc.collect()
        remaining = _new_descriptors(before)
        if remaining:
            pause.wait(0.01)
    where = origins or Origins()
    threads = [
        f"thread {t.name!r} still runs{' (daemon)' if t.daemon else ''}{where.of_thread(t)}" for t in _new_threads(before)
    ]
    return threads + [
        f"descriptor {number} is open: {target}{where.of_descriptor(number, target)}" for number, target in remaining
    ]


class Kept:
    """What the kit itself starts in the middle of a test and keeps for the tests that follow: brokers of the whole run."""

    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()
        self.descriptors: set[tuple[int, str]] = set()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What is started within the block is no test's leak."""
        before = Snapshot.take()
        yield
        after = Snapshot.take()
        self.threads |= after.threads - before.threads
        self.descriptors |= after.descriptors - before.descriptors


KEPT = Kept()


def _new_threads(before: Snapshot) -> list[threading.Thread]:
    known = before.threads | KEPT.threads | {threading.current_thread()}
    return [thread for thread in threading.enumerate() if thread not in known]


def _new_descriptors(before: Snapshot) -> list[tuple[int, str]]:
    return sorted(set(_open_descriptors()) - before.descriptors - KEPT.descriptors)


def _let_resting_paho_clients_go() -> None:
    """Close the wake-up sockets of paho clients that are disconnected and run no thread; a reconnect opens new ones.

    Paho closes them when the client is collected and offers no other way. A test's fixtures are still there now, and a client
    in a circle of references (``client.on_message = self.heard``) is collected with a warning of unclosed sockets.
    """
    paho = sys.modules.get("paho.mqtt.client")
    if paho is None:
        return
    for each in gc.get_objects():
        if type(each) is paho.Client and each._sock is None and each._thread is None:
            each._reset_sockets(sockpair_only=True)


def _open_descriptors() -> list[tuple[int, str]]:
    if not _DESCRIPTORS.is_dir():
        return []
    found: list[tuple[int, str]] = []
    guard = GUARD.descriptor
    for name in os.listdir(_DESCRIPTORS):
        # The descriptor that lists the folder is itself listed, and is closed by now.
        with suppress(OSError):
            if int(name) != guard:
                found.append((int(name), os.readlink(_DESCRIPTORS / name)))
    return found
