"""The retry store: what a handler failed on waits here, on the disk, for its next try.

From the moment ``put`` returns the broker may be told that the message is taken care of, so that its window moves on
and only messages of the same key wait. What is due is given out by ``due``; the outcome comes back by ``succeeded``,
``failed`` or ``park``.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from pylib.delivery.letter_table import COLUMNS, LetterTable, failure, letter_of, trim
from pylib.delivery.letters import DEFAULT_LIMITS, Letter, Limits
from pylib.delivery.sqlite import StoreBroken
from pylib.runtime.clock import SYSTEM_CLOCK, Clock

__all__ = ["RetryStore"]

log: Final = logging.getLogger("pylib.store")

_JUMP: Final = 1.0
"""Seconds by which wall clock and monotonic clock have to part before the wall clock was set rather than trimmed."""

_MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of bodies after which ``due`` returns what it has."""

_HEAD: Final = (
    "SELECT ident, place, due_at FROM letters WHERE origin = ? AND key = ? AND parked_at IS NULL ORDER BY place LIMIT 1"
)


class _Head:
    """The oldest letter of a key: the only one of it that may be tried."""

    __slots__ = ("due_at", "ident", "key", "out", "place")

    def __init__(self, key: str, ident: int, place: int, due_at: float) -> None:
        self.key = key
        self.ident = ident
        self.place = place
        self.due_at = due_at
        self.out = False
        """Given to the owner, who has not said yet what became of it."""

    def __lt__(self, other: _Head) -> bool:
        return (self.due_at, self.place) < (other.due_at, other.place)


class RetryStore:
    """The letters of one origin. One thread owns it; times are seconds since the epoch.

    Memory grows with the number of keys that wait, not with the number of letters. Letters of one origin in one file
    have one owner: two would both try them.

    :param path: the file, made at the first failure; ``None`` means the application's own, see ``store_path``.
    :param origin: the name of the listener or subscriber, the same after a restart.
    :param clock: what tells the time.
    :param limits: how much is kept.
    :param on_open: called once, when the file is first opened: the moment to make a ``Doorbell`` beside it.
    """

    def __init__(
        self,
        path: Path | None,
        origin: str,
        clock: Clock = SYSTEM_CLOCK,
        *,
        limits: Limits = DEFAULT_LIMITS,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self._table = LetterTable(path, limits)
        self._origin = origin
        self._clock = clock
        self._limits = limits
        self._on_open = on_open
        self._loaded = False
        self._opened = False
        self._heads: dict[str, _Head] = {}
        self._queue: list[_Head] = []
        self._offset = clock.time() - clock.monotonic()
        self.expired = 0
        """How many letters of this object outlived their time and became dead letters instead of being tried."""

    @property
    def path(self) -> Path:
        """The file, whether it is there or not."""
        return self._table.path

    # -- in

    def put(self, letter: Letter) -> int:
        """Store a message that failed, or that has to wait behind one. On the disk when it returns.

        :returns: its number in the store.
        :raises StoreBroken: it could not be stored: do not acknowledge it. ``StoreFull`` where too many wait.
        """
        return self.put_many((letter,))[0]

    def put_many(self, letters: Sequence[Letter]) -> list[int]:
        """As ``put``, for several at the price of one commit; all of them or none."""
        self._load(create=True)
        with self._guard(), self._table.transaction() as connection:
            idents = self._table.insert(connection, [self._ours(letter) for letter in letters], None)
        for letter, ident in zip(letters, idents, strict=True):
            if letter.key not in self._heads:
                self._set_head(_Head(letter.key, ident, ident, letter.due_at))
        return idents

    def bury(self, letter: Letter) -> int:
        """Store a message as a dead letter at once: one that cannot be decoded, for example.

        :raises StoreBroken: it could not be stored: do not acknowledge it.
        """
        self._load(create=True)
        with self._guard(), self._table.transaction() as connection:
            [ident] = self._table.insert(connection, [self._ours(letter)], self._clock.time())
            dropped = trim(connection, self._limits)
        self._table.report_dropped(dropped)
        return ident

    # -- out

    def waiting_keys(self) -> Set[str]:
        """The keys that wait: messages of these have to be put behind what is there. A live view; no disk is read after
        the first call.

        :raises StoreBroken: the file is there and cannot be read.
        """
        self._load()
        return self._heads.keys()

    def due(self, now: float, most: int = 100) -> list[Letter]:
        """The letters to try now, longest due first, of each key only the oldest.

        What is returned is not returned again before ``succeeded``, ``failed``, ``park`` or ``put_back``. What has
        outlived its time is never returned: it becomes a dead letter here.

        :param now: the time, as the clock tells it.
        :raises StoreBroken: the file cannot be read.
        """
        if not self._load():
            return []
        self._follow_clock()
        letters: list[Letter] = []
        expired: list[Letter] = []
        size = 0
        # The first error is kept until those that were read are handed over: nobody else would give them out again.
        try:
            while len(letters) < most and size < _MOST_BYTES and (head := self._pop_due(now)) is not None:
                letter = self._read(head)
                if letter is None:
                    continue
                if letter.expired(now):
                    expired.append(letter)
                    continue
                head.out = True
                letters.append(letter)
                size += len(letter.body)
            self._expire(expired, now)
        except StoreBroken:
            if not letters:
                raise
        return letters

    def next_due(self) -> float | None:
        """When the next letter is due, of those that are not given out; ``None`` when there is none."""
        if not self._load():
            return None
        self._follow_clock()
        while self._queue and not self._is_current(self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0].due_at if self._queue else None

    # -- what became of it

    def succeeded(self, ident: int) -> None:
        """It was handled: it is removed. Calling it twice does nothing."""
        self.succeeded_many((ident,))

    def succeeded_many(self, idents: Iterable[int]) -> None:
        """As ``succeeded``, for several at the price of one commit."""
        self._load()
        heads: dict[str, _Head | None] = {}
        with self._guard(), self._table.transaction() as connection:
            for ident in idents:
                for (key,) in connection.execute(
                    "DELETE FROM letters WHERE ident = ? AND parked_at IS NULL RETURNING key", (ident,)
                ).fetchall():
                    heads[key] = None
            for key in heads:
                heads[key] = _head(key, connection.execute(_HEAD, (self._origin, key)).fetchall())
        self._renew(heads)

    def failed(self, ident: int, error: str, traceback: str, next_due: float) -> None:
        """It failed again: its tries are counted up, and it is due again at ``next_due``."""
        self._load()
        error, traceback = failure(error, traceback)
        with self._guard(), self._table.transaction() as connection:
            row = connection.execute(
                "UPDATE letters SET tries = tries + 1, due_at = ?, error = ?, traceback = ?, "
                "size = length(body) + length(headers) + length(address) + ? "
                "WHERE ident = ? AND parked_at IS NULL RETURNING key, place",
                (next_due, error, traceback, len(error) + len(traceback), ident),
            ).fetchall()
        for key, place in row:
            self._set_head(_Head(key, ident, place, next_due))

    def park(self, ident: int, error: str, traceback: str) -> bool:
        """Give up: it becomes a dead letter, in one transaction. Returns False where it was not waiting any more."""
        self._load()
        return self._park([(ident, error, traceback)]) == 1

    def put_back(self, ident: int) -> None:
        """It was given out and not tried: ``due`` may return it again."""
        for head in self._heads.values():
            if head.ident == ident and head.out:
                head.out = False
                heapq.heappush(self._queue, head)
                return

    def refresh(self) -> None:
        """Look at the file again: after the doorbell has rung, since a replay has put something into it."""
        self._loaded = False
        self._load()

    def close(self) -> None:
        """Close the file. What was given out is waiting again for the next owner."""
        self._table.close()
        self._loaded = False
        self._heads.clear()
        self._queue.clear()

    # -- inside

    def _ours(self, letter: Letter) -> Letter:
        return letter if letter.origin == self._origin else msgspec.structs.replace(letter, origin=self._origin)

    def _load(self, *, create: bool = False) -> bool:
        """Read which keys wait. False where there is no file, and none is made."""
        if self._loaded:
            return True
        if not create and not self._table.exists():
            return False
        out = {head.ident for head in self._heads.values() if head.out}
        # The lowest place of each key, with the other columns of the same row (SQLite, "Bare columns in an aggregate").
        rows = self._table.query(
            "SELECT key, ident, min(place), due_at FROM letters WHERE origin = ? AND parked_at IS NULL GROUP BY key",
            self._origin,
        )
        first, self._loaded = not self._opened, True
        self._heads.clear()
        self._queue.clear()
        self._offset = self._clock.time() - self._clock.monotonic()
        for key, ident, place, due_at in rows:
            assert isinstance(key, str)
            assert isinstance(ident, int)
            assert isinstance(place, int)
            assert isinstance(due_at, float)
            head = _Head(key, ident, place, due_at)
            head.out = ident in out
            self._set_head(head)
        if first:
            self._opened = True
            if self._on_open is not None:
                self._on_open()
        return True

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """After an error nobody knows for sure what is on the disk, so it is read again before it is used."""
        try:
            yield
        except StoreBroken:
            self._loaded = False
            raise

    def _set_head(self, head: _Head) -> None:
        head.due_at = min(head.due_at, self._clock.time() + self._limits.longest_wait)
        self._heads[head.key] = head
        if not head.out:
            heapq.heappush(self._queue, head)

    def _renew(self, heads: Mapping[str, _Head | None]) -> None:
        for key, head in heads.items():
            old = self._heads.get(key)
            if head is None:
                self._heads.pop(key, None)
            elif old is None or old.ident != head.ident:
                self._set_head(head)

    def _is_current(self, head: _Head) -> bool:
        return self._heads.get(head.key) is head and not head.out

    def _pop_due(self, now: float) -> _Head | None:
        while self._queue and (self._queue[0].due_at <= now or not self._is_current(self._queue[0])):
            head = heapq.heappop(self._queue)
            if self._is_current(head):
                return head
        return None

    def _read(self, head: _Head) -> Letter | None:
        try:
            with self._guard():
                rows = self._table.query(f"SELECT {COLUMNS} FROM letters WHERE ident = ? AND parked_at IS NULL", head.ident)
        except StoreBroken:
            heapq.heappush(self._queue, head)
            raise
        if rows:
            return letter_of(rows[0])
        with self._guard():
            self._renew({head.key: self._next_of(head.key)})
        return None

    def _next_of(self, key: str) -> _Head | None:
        rows = self._table.query(_HEAD, self._origin, key)
        return _head(key, rows)

    def _expire(self, letters: Sequence[Letter], now: float) -> None:
        if not letters:
            return
        self.expired += self._park(
            [(letter.ident, f"Expired: its time was over {now - (letter.expires_at or now):.1f} s before this try", "")
             for letter in letters]
        )  # fmt: skip
        log.warning(
            "%d messages for %s had expired before they could be tried again; they are dead letters now.",
            len(letters),
            self._origin,
        )

    def _park(self, given_up: Sequence[tuple[int, str, str]]) -> int:
        heads: dict[str, _Head | None] = {}
        parked = 0
        with self._guard(), self._table.transaction() as connection:
            for ident, error, traceback in given_up:
                error, traceback = failure(error, traceback)
                for (key,) in connection.execute(
                    "UPDATE letters SET parked_at = ?, error = ?, traceback = CASE ? WHEN '' THEN traceback ELSE ? END, "
                    "size = length(body) + length(headers) + length(address) + ? "
                    "WHERE ident = ? AND parked_at IS NULL RETURNING key",
                    (self._clock.time(), error, traceback, traceback, len(error) + len(traceback), ident),
                ).fetchall():
                    parked += 1
                    heads[key] = None
            for key in heads:
                heads[key] = _head(key, connection.execute(_HEAD, (self._origin, key)).fetchall())
            dropped = trim(connection, self._limits)
        self._renew(heads)
        self._table.report_dropped(dropped)
        return parked

    def _follow_clock(self) -> None:
        """A clock that is set must neither hold up the retries nor fire all of them at once."""
        offset = self._clock.time() - self._clock.monotonic()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > _JUMP:
            for head in self._heads.values():
                head.due_at += jump
            self._queue = [head for head in self._heads.values() if not head.out]
            heapq.heapify(self._queue)


def _head(key: str, rows: Sequence[Sequence[object]]) -> _Head | None:
    if not rows:
        return None
    ident, place, due_at = rows[0]
    assert isinstance(ident, int)
    assert isinstance(place, int)
    assert isinstance(due_at, float)
    return _Head(key, ident, place, due_at)
