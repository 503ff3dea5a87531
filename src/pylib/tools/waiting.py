"""Waiting between two looks, so that Ctrl-C ends the wait at once."""

from __future__ import annotations

import threading

__all__ = ["pause"]


def pause(seconds: float) -> None:
    """Wait so many seconds; KeyboardInterrupt ends it. For a command's main thread."""
    threading.Event().wait(max(0.0, seconds))
