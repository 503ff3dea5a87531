"""Two descriptors to wait on: a gate, which opens once, and a wake-up, which rings many times."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Sequence

__all__ = ["Gate", "WakeUp", "wait_for_any"]


class Gate:
    """A descriptor that becomes readable once and stays so: any number of threads may poll it and none can miss it.

    ``open`` may be called from any thread and from a signal handler: it sets a flag and writes one byte.
    """

    __slots__ = ("_read", "_write", "is_open")

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        self.is_open = False

    def open(self) -> None:
        """Open for good. Opening twice is harmless, and so is opening after ``close``."""
        if self.is_open:
            return
        self.is_open = True
        with contextlib.suppress(OSError):  # closed, or full of bytes that say the same
            os.write(self._write, b"!")

    def fileno(self) -> int:
        """The descriptor to poll for reading; -1 once closed."""
        return self._read

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the gate is open, at most ``timeout`` seconds (None: for ever). Says whether it is open."""
        return wait_for_any((self,), timeout)

    def __del__(self) -> None:
        # Nobody holds it any more, so nobody can be polling it.
        self.close()

    def close(self) -> None:
        """Give the descriptors back. Only when no thread can be polling them any more."""
        read, write, self._read, self._write = self._read, self._write, -1, -1
        for descriptor in (read, write):
            if descriptor >= 0:
                os.close(descriptor)


def wait_for_any(gates: Sequence[Gate], timeout: float | None = None) -> bool:
    """Wait until one of the gates is open, at most ``timeout`` seconds (None: for ever). Says whether one is."""
    poller = select.poll()
    for gate in gates:
        if gate.is_open:
            return True
        if gate.fileno() < 0:
            return False
        poller.register(gate.fileno(), select.POLLIN)
    # A poll counts milliseconds in a C int: a wait of more than 24 days ends there, unopened.
    poller.poll(None if timeout is None else min(max(0.0, timeout) * 1000, 2**31 - 1))
    return any(gate.is_open for gate in gates)


class WakeUp:
    """A bell for one sleeper: ``ring`` from any thread, ``hush`` in the sleeper's own, before it looks at what changed.

    Many rings between two hushes cost one system call.
    """

    __slots__ = ("_read", "_rung", "_write")

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._rung = False

    def ring(self) -> None:
        """Wake the sleeper. Thread-safe and safe in a signal handler; never blocks."""
        if self._rung:
            return
        self._rung = True
        with contextlib.suppress(OSError):
            os.write(self._write, b"!")

    def hush(self) -> None:
        """Empty the bell. What was made ready before a ``ring`` is visible after the ``hush`` that follows it."""
        with contextlib.suppress(OSError):
            os.read(self._read, 4096)
        # Cleared after the read, never before: a ring in between writes nothing, but its work was made ready before it
        # rang and the caller looks at its work next. The other order could take a byte and leave the flag set, and
        # every later ring would be swallowed.
        self._rung = False

    def fileno(self) -> int:
        return self._read

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        read, write, self._read, self._write = self._read, self._write, -1, -1
        self._rung = True  # a late ring writes nowhere
        for descriptor in (read, write):
            if descriptor >= 0:
                os.close(descriptor)
