"""What a test left behind: threads that still run and file descriptors that are still open."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pylib.testing.guard import GUARD

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


def leaked_since(before: Snapshot, timeout: float = 2.0) -> list[str]:
    """Return one line per thread and descriptor that is there now, was not in ``before`` and does not go away.

    What is on its way out gets ``timeout`` seconds: threads are joined, descriptors are asked for again after garbage
    has been collected. Call it from the thread that runs the test.
    """
    deadline = time.monotonic() + timeout
    for thread in threading.enumerate():
        if thread not in before.threads and thread is not threading.current_thread():
            # A thread that somebody else started may not be joinable yet; it is then named below.
            with suppress(RuntimeError):
                thread.join(max(deadline - time.monotonic(), 0.0))
    remaining = _new_descriptors(before)
    pause = threading.Event()
    while remaining and time.monotonic() < deadline:
        gc.collect()
        remaining = _new_descriptors(before)
        if remaining:
            pause.wait(0.01)
    threads = [t for t in threading.enumerate() if t not in before.threads and t is not threading.current_thread()]
    return [*_describe_threads(threads), *(f"descriptor {number} is open: {target}" for number, target in remaining)]


def _describe_threads(threads: Iterable[threading.Thread]) -> list[str]:
    return [f"thread {t.name!r} still runs{' (daemon)' if t.daemon else ''}" for t in threads]


def _new_descriptors(before: Snapshot) -> list[tuple[int, str]]:
    return sorted(set(_open_descriptors()) - before.descriptors)


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
