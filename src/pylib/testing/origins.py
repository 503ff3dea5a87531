"""Remembers where threads were started and descriptors were opened, so that a leak is told with the line that made it."""

from __future__ import annotations

import builtins
import functools
import io
import os
import selectors
import socket
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self
from unittest.mock import patch

import pylib

# What a person did not write: the line to be told is the first one outside of these.
_FOREIGN: Final = tuple(
    {
        *(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(os.path.realpath(path) + os.sep for path in pylib.__path__),
    }
)
# Calls of `os` that return new descriptors, one or several.
_OPENING: Final = ("open", "pipe", "pipe2", "eventfd", "pidfd_open", "memfd_create", "dup", "openpty", "timerfd_create")


class Origins:
    """While it is entered, every thread that starts and every descriptor that is opened is remembered with its line.

    A line is that of the innermost caller that belongs neither to Python, nor to an installed package, nor to this library.
    Descriptors that C code opens by itself, as ZeroMQ and SQLite do, are not noticed. Enter and leave it on one thread.
    """

    def __init__(self) -> None:
        self._threads: weakref.WeakKeyDictionary[threading.Thread, str] = weakref.WeakKeyDictionary()
        self._descriptors: dict[tuple[int, str], str] = {}
        self._stack = ExitStack()

    def of_thread(self, thread: threading.Thread) -> str:
        """``, started at file:line``, or nothing where that is not known."""
        line = self._threads.get(thread)
        return f", started at {line}" if line else ""

    def of_descriptor(self, number: int, target: str) -> str:
        """``, opened at file:line``, or nothing where that is not known."""
        line = self._descriptors.get((number, target))
        return f", opened at {line}" if line else ""

    def __enter__(self) -> Self:
        self._replace(threading.Thread, "start", lambda found, made: self._note_thread(made[0]))
        self._replace(socket.socket, "__init__", lambda found, made: self._note(made[0]))
        if hasattr(selectors, "EpollSelector"):
            self._replace(selectors.EpollSelector, "__init__", lambda found, made: self._note(made[0]))
        for module in (builtins, io):
            self._replace(module, "open", lambda found, made: self._note(found))
        for name in _OPENING:
            if hasattr(os, name):
                self._replace(os, name, lambda found, made: self._note(found))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _replace(self, owner: Any, name: str, note: Callable[[Any, tuple[Any, ...]], None]) -> None:
        real = getattr(owner, name)

        @functools.wraps(real)
        def noting(*args: Any, **named: Any) -> Any:
            found = real(*args, **named)
            note(found, args)
            return found

        self._stack.enter_context(patch.object(owner, name, noting))

    def _note_thread(self, thread: threading.Thread) -> None:
        self._threads[thread] = caller_of_the_test()

    def _note(self, opened: object) -> None:
        for each in opened if isinstance(opened, tuple) else (opened,):
            # What has no descriptor, or not any more, cannot be left open.
            with suppress(OSError, ValueError, AttributeError):
                number = each if isinstance(each, int) else each.fileno()
                self._descriptors[number, os.readlink(f"/proc/self/fd/{number}")] = caller_of_the_test()


def caller_of_the_test() -> str:
    """``file:line`` of the innermost frame that a person wrote, else of the innermost that is not this file's."""
    frame: FrameType | None = sys._getframe(1)
    fallback = ""
    while frame is not None:
        path = _real(frame.f_code.co_filename)
        if path != _HERE:
            fallback = fallback or f"{path}:{frame.f_lineno}"
            if not path.startswith(_FOREIGN) and not path.startswith("<"):
                return f"{_short(path)}:{frame.f_lineno}"
        frame = frame.f_back
    return fallback


@functools.cache
def _real(path: str) -> str:
    return os.path.realpath(path)


def _short(path: str) -> str:
    """Relative to the current folder where it is in it, as test reports show it."""
    with suppress(ValueError, OSError):
        return str(Path(path).relative_to(Path.cwd()))
    return path


_HERE: Final = os.path.realpath(__file__)
