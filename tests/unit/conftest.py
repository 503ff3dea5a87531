"""Threads that a test leaves hanging on purpose, and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest


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
