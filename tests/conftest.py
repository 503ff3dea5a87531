"""Loads the library's own test kit for all tests, and the fixtures of a private PostgreSQL: one server for a whole run."""

from __future__ import annotations

import signal

pytest_plugins = ["pylib.testing.plugin", "tests.unit.store.postgresql"]


def pytest_configure() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and whatever that starts inherits it: programs that are to
    end by Ctrl-C would not. A signal that is handled, not ignored, is what a started program finds as new."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
