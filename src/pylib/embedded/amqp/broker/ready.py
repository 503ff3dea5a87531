"""The messages of a queue that wait for a consumer, in order; with priorities, the higher ones first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from pylib.embedded.amqp.broker.message import Entry

__all__ = ["Ready"]


class Ready:
    """Entries in order of their sequence numbers, one row for each priority."""

    __slots__ = ("_highest", "_rows", "bytes", "count")

    def __init__(self, max_priority: int | None) -> None:
        self._highest = max_priority or 0
        self._rows: list[deque[Entry]] = [deque() for _ in range(self._highest + 1)]
        self.count = 0
        self.bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        for row in reversed(self._rows):
            yield from row

    def heads(self) -> Iterator[Entry]:
        """The first entry of each priority, the highest first."""
        for row in reversed(self._rows):
            if row:
                yield row[0]

    def push(self, entry: Entry) -> None:
        self._row(entry).append(entry)
        self.count += 1
        self.bytes += len(entry.message.body)

    def head(self) -> Entry | None:
        """The entry that ``pop`` would take."""
        if self.count:
            for row in reversed(self._rows):
                if row:
                    return row[0]
        return None

    def pop(self) -> Entry | None:
        """Take the first entry of the highest priority."""
        if self.count:
            for row in reversed(self._rows):
                if row:
                    return self._took(row.popleft())
        return None

    def pop_expired(self, now: float) -> Entry | None:
        """Take an entry at the head of its priority that has expired. Behind the head nothing expires, as in RabbitMQ."""
        for row in self._rows:
            if row:
                expires = row[0].expires
                if expires is not None and expires <= now:
                    return self._took(row.popleft())
        return None

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Entries that come back, to where they were."""
        for entry in sorted(entries, key=lambda entry: entry.sequence, reverse=True):
            row = self._row(entry)
            if not row or entry.sequence < row[0].sequence:
                row.appendleft(entry)
            else:
                row.insert(_place(row, entry.sequence), entry)
            self.count += 1
            self.bytes += len(entry.message.body)

    def clear(self) -> list[Entry]:
        """Take all."""
        taken = list(self)
        for row in self._rows:
            row.clear()
        self.count = self.bytes = 0
        return taken

    def _row(self, entry: Entry) -> deque[Entry]:
        if not self._highest:
            return self._rows[0]
        return self._rows[min(entry.message.priority, self._highest)]

    def _took(self, entry: Entry) -> Entry:
        self.count -= 1
        self.bytes -= len(entry.message.body)
        return entry


def _place(row: deque[Entry], sequence: int) -> int:
    low, high = 0, len(row)
    while low < high:
        middle = (low + high) // 2
        if row[middle].sequence < sequence:
            low = middle + 1
        else:
            high = middle
    return low
