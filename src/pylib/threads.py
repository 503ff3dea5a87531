"""Stopping and sleeping: the facade over the current runtime's latch.

``shutting_down`` is a live object, so ``from pylib.threads import shutting_down`` is never out of date. It works for
``not``, ``if``, ``while`` and ``==``; it is not the object ``True``.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, Protocol

from pylib.errors import ThreadDied
from pylib.runtime.gate import wait_for_any
from pylib.runtime.here import HERE
from pylib.runtime.latch import StopCause
from pylib.runtime.receipts import hold, settle
from pylib.runtime.runtime import Runtime, current

__all__ = ["bye", "die", "hold", "interruptable_sleep", "settle", "shutting_down", "thread_nanny", "trigger_exception"]

log = logging.getLogger("pylib.threads")

# ``threads.trigger_exception``: the exception that stopped the application, or None; always of the moment it is read.
trigger_exception: BaseException | None


def __getattr__(name: str) -> object:
    if name == "trigger_exception":
        cause = current().latch.cause
        return cause.exception if cause is not None else None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _ShuttingDown:
    """True once the current runtime has been asked to stop, or the calling thread alone has (``AppThread.stop``)."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return current().stopping or (HERE.member is not None and HERE.member.gate.is_open)

    def __eq__(self, other: object) -> bool:
        return bool(self) == other

    def __hash__(self) -> int:
        return id(type(self))

    def __repr__(self) -> str:
        return repr(bool(self))


class _InterruptableSleep:
    """A sleep that a stop ends; in the manner of ``threading.Event``."""

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep ``timeout`` seconds or until the stop, also of the calling thread alone. True if it is the stop."""
        gates = [current().latch.gate]
        if HERE.member is not None:
            gates.append(HERE.member.gate)
        return wait_for_any(gates, timeout)

    def is_set(self) -> bool:
        return current().stopping

    def set(self) -> None:
        """Wake every sleeper, for good: this is ``die()``."""
        current().trip()


shutting_down = _ShuttingDown()
interruptable_sleep = _InterruptableSleep()


def die(exception: BaseException | type[BaseException] | None = None) -> None:
    """Ask the application to stop: the first stage. Returns at once; the first call's cause decides the exit code.

    An exception, or its class, means failure (exit code 1); none means a wish (0). Any thread, and signal handlers.
    """
    current().trip(exception)


def bye() -> NoReturn:
    """Finish whatever of the stop is left, then exit with the code of the first cause. Main thread; does not return."""
    runtime = current()
    left = runtime.stop()
    cause = runtime.latch.cause
    code = runtime.exit_code
    if code and cause is not None and cause.told:
        log.info("Exiting with code %d.", code)
    elif code:
        log.error("Stopped because of %s. Exiting with code %d.", cause.reason if cause is not None else "?", code)
    else:
        log.info("Stopped (%s). Exiting with code 0.", cause.reason if cause is not None else "finished")
    if left and runtime.owns_process:
        # Something hangs and cannot be killed. Leaving the ordinary way would wait for it.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code or 1)
    sys.exit(code)


class _BoundToRuntime(Protocol):
    """What ``thread_nanny`` needs of a signal handler."""

    @property
    def runtime(self) -> Runtime: ...


def thread_nanny(signal_handler: _BoundToRuntime) -> None:
    """Watch the application until it stops: meant as the target of a daemon thread, as the first applications did.

    Supervised threads report their own deaths, so what is left for this watch are plain ``threading.Thread``s: one that
    ends with an uncaught exception stops the application too. Returns when the stop begins.
    """
    runtime = signal_handler.runtime
    previous = threading.excepthook

    def on_uncaught(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "?"
        previous(args)
        error = args.exc_value if args.exc_value is not None else ThreadDied(f"{args.exc_type.__name__} in {name}")
        if isinstance(error, Exception):
            runtime.latch.trip(StopCause(f"thread {name!r} died: {type(error).__name__}: {error}", 1, error, name))

    threading.excepthook = on_uncaught
    try:
        runtime.latch.wait()
    finally:
        if threading.excepthook is on_uncaught:
            threading.excepthook = previous


def spawn(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a plain daemon thread that sees the caller's runtime as its own."""
    runtime = current()
    thread = threading.Thread(name=name, target=lambda: runtime.run(target), daemon=True)
    thread.start()
    return thread
