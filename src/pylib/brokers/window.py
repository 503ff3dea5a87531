"""What has been published and not answered: the window of a port, and what waits to be published again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from pylib.brokers.port import Outgoing

__all__ = ["NOBODY", "InFlight", "Quarantine", "Window"]

#: The token of a message whose outcome nobody waits for.
NOBODY: Final = object()


class InFlight:
    """A published message without its outcome."""

    __slots__ = ("attempts", "message", "token")

    def __init__(self, message: Outgoing, token: object) -> None:
        self.message = message
        self.token = token
        # How often the broker closed our channel while this was under way.
        self.attempts = 0


class Window:
    """Messages under way by their tag, in order of publishing, and those whose connection went away. For one thread.

    The order of publishing survives a lost connection: ``requeue`` puts what was under way ahead of what waits already.
    """

    __slots__ = ("_again", "_size", "_under_way")

    def __init__(self, size: int) -> None:
        self._size = size
        self._under_way: dict[int, InFlight] = {}
        self._again: deque[InFlight] = deque()

    def __len__(self) -> int:
        return len(self._under_way) + len(self._again)

    @property
    def room(self) -> int:
        """How many more may be published; 0 while older ones wait to be published again."""
        return 0 if self._again else self._size - len(self._under_way)

    @property
    def waiting(self) -> bool:
        """Whether messages wait to be published again."""
        return bool(self._again)

    def wait(self, entry: InFlight) -> None:
        """It cannot be published now: keep it for later, behind the others."""
        self._again.append(entry)

    def sent(self, tag: int, entry: InFlight) -> None:
        """It was published with this tag."""
        self._under_way[tag] = entry

    def answered(self, tag: int) -> InFlight | None:
        """The one with this tag has its outcome. None for a tag that is not under way."""
        return self._under_way.pop(tag, None)

    def answered_through(self, tag: int) -> list[InFlight]:
        """All up to this tag have their outcome, oldest first."""
        under_way = self._under_way
        tags = []
        for each in under_way:  # insertion order is the order of publishing
            if each > tag:
                break
            tags.append(each)
        return [under_way.pop(each) for each in tags]

    def suspect(self) -> None:
        """The broker closed the channel: everything under way may have been the reason."""
        for entry in self._under_way.values():
            entry.attempts += 1

    def requeue(self) -> None:
        """The connection is gone: everything under way is to be published again, first."""
        self._again.extendleft(reversed(self._under_way.values()))
        self._under_way.clear()

    @property
    def under_way(self) -> int:
        """How many are published and not answered."""
        return len(self._under_way)

    def put_back(self, entries: Iterable[InFlight]) -> None:
        """These were taken and cannot be published yet: they wait again, ahead of all others."""
        self._again.extendleft(reversed(list(entries)))

    def put_first(self, messages: Iterable[Outgoing]) -> None:
        """Have messages published again ahead of everything; nobody waits for their outcome."""
        self._again.extendleft(reversed([InFlight(message, NOBODY) for message in messages]))

    def take_waiting(self) -> deque[InFlight]:
        """Everything that waits to be published again, oldest first; the caller publishes it."""
        again, self._again = self._again, deque()
        return again

    def take_all(self) -> list[InFlight]:
        """Everything without an outcome, oldest first. The window is empty afterwards."""
        self.requeue()
        return list(self.take_waiting())


class Quarantine:
    """Keeps what an MQTT broker has acknowledged for a few seconds more, to publish it again after an unclean disconnect.

    Mosquitto's PUBACK is not durability: killed, it forgets what it acknowledged since its last autosave. For one thread.
    """

    __slots__ = ("_kept", "_monotonic", "_most", "_seconds")

    def __init__(self, seconds: float, most: int, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._most = most
        self._monotonic = monotonic
        self._kept: deque[tuple[float, Outgoing]] = deque()

    def keep(self, message: Outgoing) -> None:
        """It was acknowledged just now."""
        if self._seconds <= 0:
            return
        now = self._monotonic()
        kept = self._kept
        kept.append((now, message))
        oldest = now - self._seconds
        while kept[0][0] < oldest or len(kept) > self._most:
            kept.popleft()

    def release(self) -> list[Outgoing]:
        """The connection was lost: what is to be published again, oldest first."""
        oldest = self._monotonic() - self._seconds
        kept, self._kept = self._kept, deque()
        return [message for at, message in kept if at >= oldest]
