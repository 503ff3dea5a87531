"""POSIX signals: TERM and INT stop, a second INT is immediate, HUP is handed on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

from pylib.runtime.latch import Latch, StopCause

__all__ = ["Signals"]


class Signals:
    """Turns signals into trips of a latch. Installed and removed by the main thread.

    The handlers do nothing but trip (a flag and a byte), so they may interrupt anything. ``descriptor`` becomes readable at
    the same moment, from C, whatever the main thread is stuck in; ``drain`` then does the same from another thread.
    """

    def __init__(self, latch: Latch, on_hup: Callable[[], object] | None = None) -> None:
        self._latch = latch
        self.on_hup = on_hup
        self._previous: dict[int, object] = {}
        self._interrupts = 0
        self._drained_interrupts = 0
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._previous_fd = -1
        self.last_signal = 0

    def install(self) -> None:
        """Install the handlers. Raises RuntimeError outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Signal handlers can be installed by the main thread only: make the SignalHandler there.")
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._handle)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def remove(self) -> None:
        """Put back what was there before. Main thread; harmless when nothing was installed."""
        if self._reader is None or self._writer is None:
            return
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._previous.items():
            if handler is not None:
                signal.signal(number, handler)  # type: ignore[arg-type]  # it is what signal.signal() returned
        self._previous.clear()
        self._reader.close()
        self._writer.close()
        self._reader = self._writer = None

    @property
    def descriptor(self) -> int:
        """Readable when a signal has arrived; -1 when not installed."""
        return self._reader.fileno() if self._reader is not None else -1

    def drain(self) -> None:
        """Act on signals from another thread than the main one, which may be stuck in C code."""
        numbers = b""
        if self._reader is not None:
            with contextlib.suppress(OSError):
                numbers = self._reader.recv(512)
        for number in numbers:
            if number == signal.SIGINT:
                self._drained_interrupts += 1
                if self._drained_interrupts > 1:
                    os._exit(130)
            if number in (signal.SIGINT, signal.SIGTERM):
                self._trip(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.last_signal = number
        if number == signal.SIGHUP:
            if self.on_hup is not None:
                self.on_hup()
            return
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                os._exit(130)  # asked twice: nothing is worth waiting for
        self._trip(number)

    def _trip(self, number: int) -> None:
        self._latch.trip(StopCause(f"signal {signal.Signals(number).name}"))
