"""Keys with a failure: what waits behind it, in order, until it is stored; or is tried from memory where nothing can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from pylib.brokers.port import Delivery
from pylib.brokers.retrying import Retrying
from pylib.runtime.loop import Loop

__all__ = ["Entry", "Leg", "Line", "Lines"]

TRY_AGAIN: Final = 1.0
"""Seconds until a message is tried again that failed while nothing could be stored."""


class Entry:
    """A delivery and how many of its legs are not done."""

    __slots__ = ("delivery", "legs", "parts")

    def __init__(self, delivery: Delivery, legs: int) -> None:
        self.delivery = delivery
        self.legs = legs
        self.parts: list[Leg] = []


class Leg:
    """A delivery's way down one pipe: the token of its receipt."""

    __slots__ = ("delivery", "entry", "error", "letter", "line", "rested", "route")

    #: Why it failed; None for one that merely waits. Set when it joins a line, as ``rested`` is.
    error: BaseException | None
    rested: bool

    def __init__(self, delivery: Delivery, route: str, entry: Entry | None, letter: int = 0) -> None:
        self.delivery = delivery
        self.route = route
        # None for QoS 0, for a letter, and once it is taken care of.
        self.entry = entry
        # Its number in the retry store, 0 for one that comes from the broker.
        self.letter = letter
        self.line: Line | None = None


class Line:
    """One key's. ``back`` came back from the pipe and is older than whatever is still ``out`` in it, which is older than what
    is ``held`` and was never sent down.
    """

    __slots__ = ("back", "held", "key", "out", "stuck", "trying")

    def __init__(self, key: str) -> None:
        self.key = key
        self.back: deque[Leg] = deque()
        self.out: set[Leg] = set()
        self.held: deque[Leg] = deque()
        # Whether the store would not have it, and who is under way meanwhile.
        self.stuck = False
        self.trying: Leg | None = None

    def ready(self) -> list[Leg]:
        """What may be stored now without overtaking anything."""
        if self.trying is not None:
            return []
        return [*self.back, *self.held] if not self.out else list(self.back)


class Lines:
    """The lines of one bridge, for the time between a failure and the store. Belongs to the loop's thread.

    Guarantee: of one key nothing is stored before what is older and can still fail, and nothing newer is sent down the pipe
    before all of it is stored. A leg leaves by ``settle``, once, after it is on the disk or was handled.

    :param push: sends a leg down its pipe again, marked as one that comes again.
    :param settle: told that a leg is taken care of.
    :param acknowledge: called after several were.
    :param letter: a leg as it is stored.
    """

    def __init__(
        self, loop: Loop, push: Callable[[Leg], None], settle: Callable[[Leg], None], acknowledge: Callable[[], None],
        letter: Callable[[Leg], Delivery],
    ) -> None:  # fmt: skip
        self._loop = loop
        self._push = push
        self._settle = settle
        self._acknowledge = acknowledge
        self._letter = letter
        self.retrying: Retrying | None = None
        # Ask no further while it is empty, which costs nothing.
        self.open: dict[str, Line] = {}
        self._changed: dict[str, Line] = {}
        self._ticking = False
        self._stopping = False

    def holds(self, leg: Leg, key: str) -> bool:
        """Whether an arrival has to wait; then it is taken, and leaves by itself."""
        line = self.open.get(key)
        if line is None:
            retrying = self.retrying
            if retrying is None or not retrying.busy or not retrying.waits(key):
                return False
            line = self.open[key] = Line(key)
        elif leg.entry is None and (line.out or line.stuck):
            return False  # QoS 0: no broker bounds how many of them there are, so they are not kept in memory
        leg.line, leg.error, leg.rested = line, None, True
        line.held.append(leg)
        self._change(line)
        return True

    def failed(
        self, leg: Leg, key: str, error: BaseException | None, arrived: Iterable[Entry], same: Callable[[Leg], bool]
    ) -> None:
        """A leg came back from the pipe, with an error or out of turn (None). It goes in front of all that is newer.

        :param same: whether a leg that has arrived is of this key. Asked only at the first failure of a key.
        """
        line = self.open.get(key)
        if line is None:
            line = self.open[key] = Line(key)
            for entry in arrived:
                for part in entry.parts:
                    if part is not leg and part.entry is not None and part.line is None and same(part):
                        part.line = line
                        line.out.add(part)
        leg.line, leg.error, leg.rested = line, error, error is None
        line.out.discard(leg)
        if line.trying is leg:
            line.trying = None
            line.back.appendleft(leg)
        else:
            line.back.append(leg)
        self._change(line)

    def left(self, leg: Leg) -> None:
        """A leg is done otherwise: handled after all, or set aside."""
        line, leg.line = leg.line, None
        if line is None or self.open.get(line.key) is not line:
            return
        line.out.discard(leg)
        if line.trying is leg:
            line.trying = None
        self._change(line)

    def store(self) -> None:
        """Store what may be stored, of all lines at the price of one commit."""
        changed, self._changed = self._changed, {}
        batch = [(line, leg) for line in changed.values() for leg in line.ready()]
        retrying = self.retrying
        stored = not batch or (
            retrying is not None and retrying.keep([(self._letter(leg), line.key, leg.error) for line, leg in batch])
        )
        if not stored:
            for line in changed.values():
                if line.ready():
                    line.stuck = True
                    self._try(line)
                elif not line.out and line.trying is None:
                    del self.open[line.key]
            return
        for line in changed.values():
            if line.trying is None:
                line.stuck = False
                line.back.clear()
                if not line.out:
                    line.held.clear()
                    del self.open[line.key]
        for _, leg in batch:
            leg.line = None
            self._settle(leg)
        if batch:
            self._acknowledge()

    def give_up(self, line: Line) -> None:
        """The application stops: nothing of this line is acknowledged, so that all of it comes again, in order."""
        self.open.pop(line.key, None)
        self._changed.pop(line.key, None)

    def stopping(self) -> list[Leg]:
        """Nothing is tried from memory any more. The oldest of each line that cannot be stored."""
        self._stopping = True
        stuck = [line for line in self.open.values() if line.stuck and line.trying is None]
        return [first for line in stuck if (first := _first(line)) is not None]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _change(self, line: Line) -> None:
        self._changed[line.key] = line
        self._loop.defer(self.store)

    def _try(self, line: Line) -> None:
        """Nothing can be stored: try the oldest from memory, unacknowledged, when nothing of the key is in the store."""
        first = _first(line)
        if first is None or line.trying is not None or self._stopping:
            return
        retrying = self.retrying
        if first.rested and not (retrying is not None and retrying.waits(line.key)):
            (line.back or line.held).popleft()
            line.trying = first
            self._push(first)
        elif not self._ticking:
            self._ticking = True
            self._loop.call_later(TRY_AGAIN, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        for line in self.open.values():
            if line.stuck:
                self._changed[line.key] = line
                if (first := _first(line)) is not None:
                    first.rested = True
        self.store()


def _first(line: Line) -> Leg | None:
    """The oldest that is not in the pipe, if nothing older is."""
    if line.back:
        return line.back[0]
    return line.held[0] if line.held and not line.out else None
