"""The stop latch: set once, and the first cause is the one that counts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pylib.runtime.gate import Gate

__all__ = ["Latch", "StopCause"]


@dataclass(frozen=True, slots=True)
class StopCause:
    """Why an application stops. The first cause decides the exit code; later ones are consequences.

    ``told``: the log has it already, in words for the person who has to mend it.
    """

    reason: str
    exit_code: int = 0
    exception: BaseException | None = None
    thread: str = ""
    told: bool = False

    @classmethod
    def of(cls, exception: BaseException | type[BaseException] | None, thread: str = "") -> StopCause:
        """The cause that ``die(exception=...)`` stands for: an exception or its class means failure, none means a wish."""
        if isinstance(exception, type):
            kind = exception
            try:
                exception = kind()
            except TypeError:  # it wants arguments, which nobody has: the class alone says what happened
                exception = kind.__new__(kind)
        if exception is None:
            return cls("asked to stop", 0, None, thread)
        text = str(exception)
        name = type(exception).__name__
        return cls(f"{name}: {text}" if text else name, 1, exception, thread)


class Latch:
    """Trips once. Every wait in the library watches its gate, so nothing sleeps through a stop.

    ``trip`` takes no lock and does nothing but append, set a flag and write a byte: it may be called from any thread and
    from a signal handler.
    """

    __slots__ = ("_causes", "gate")

    def __init__(self) -> None:
        # An append to a deque is atomic, which a test-and-set is not: whoever is first in here has won.
        self._causes: deque[StopCause] = deque(maxlen=None)
        self.gate = Gate()

    def trip(self, cause: StopCause) -> bool:
        """Ask for a stop. True if this call was the first."""
        if self.tripped:
            return False
        self._causes.append(cause)
        self.gate.open()
        return self._causes[0] is cause

    @property
    def tripped(self) -> bool:
        return bool(self._causes)

    @property
    def cause(self) -> StopCause | None:
        """The first cause, or None while nobody has asked."""
        return self._causes[0] if self._causes else None

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the latch trips, at most ``timeout`` seconds. Any thread. True if it has tripped."""
        return self.gate.wait(timeout)
