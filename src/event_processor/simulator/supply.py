"""Water and electricity: what is drawn at the moment, and what has gone through the meter. Owned by the home."""

from __future__ import annotations

__all__ = ["Supply"]


class Supply:
    """One meter. ``per_s`` is what a rate of 1 adds to the register in a second."""

    def __init__(self, now: float, register: float, per_s: float, base: float = 0.0) -> None:
        self.register = register
        self.base = base
        self.shut = False
        self._per_s = per_s
        self._drawn: dict[str, float] = {}
        self._read_at = now

    @property
    def rate(self) -> float:
        """What goes through it now."""
        return 0.0 if self.shut else self.base + sum(self._drawn.values())

    def draw(self, who: str, rate: float, now: float) -> None:
        """Somebody takes this much from now on; 0 ends it."""
        self.read(now)
        if rate > 0:
            self._drawn[who] = rate
        else:
            self._drawn.pop(who, None)

    def taken_by(self, who: str) -> float:
        """What one takes now, were it not shut."""
        return self._drawn.get(who, 0.0)

    def shut_off(self, shut: bool, now: float) -> None:
        """Close it for all, or open it."""
        self.read(now)
        self.shut = shut

    def read(self, now: float) -> float:
        """Bring the register up to now, and return it. It never goes back."""
        elapsed = max(0.0, now - self._read_at)
        self._read_at = max(self._read_at, now)
        self.register += self.rate * elapsed * self._per_s
        return self.register
