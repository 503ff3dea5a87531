"""What waits in memory while the store cannot be written, and how it is made up for once it can."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final

from event_processor.domain.outcome import Scope
from event_processor.domain.records import MeterRecord, Record
from event_processor.store.batch import BatchWriter, Settled
from event_processor.store.errors import AT_FAULT, cut_off, say
from event_processor.store.rows import OutcomeRows

__all__ = ["Backlog"]

log = logging.getLogger("event_processor.store")

MOST_UNSTORED: Final = 5000
"""Outcomes kept in memory while the store cannot be written. Of older ones the state is kept, and their history is lost."""

SLICE: Final = 500
"""Outcomes written in one transaction when a store that failed can be written again."""


class Backlog:
    """Outcomes, records and changes of the state, in their order. Belongs to the writer's thread.

    ``stored`` outcomes were made up for, and ``lost`` ones were not: they were too many, or the database does not take them.
    """

    def __init__(self) -> None:
        self._outcomes: deque[OutcomeRows] = deque()
        self._records: deque[Record] = deque(maxlen=MOST_UNSTORED)
        self._changes: dict[tuple[Scope, str], str | None] = {}
        self.stored = self.lost = 0

    def __len__(self) -> int:
        """How many outcomes wait."""
        return len(self._outcomes)

    def add(self, rows: Sequence[OutcomeRows], records: Sequence[Record]) -> None:
        """Keep these for later. Where they are too many, the oldest outcomes leave nothing but what they changed."""
        self._records.extend(records)
        self._outcomes.extend(rows)
        while len(self._outcomes) > MOST_UNSTORED:
            self._changes.update(self._outcomes.popleft().changes)
            self.lost += 1

    def write(self, batches: BatchWriter, settled: list[Settled], now: Callable[[], float]) -> None:
        """Write all that waits. What the database does not take is said and left out: it must not hold up the rest for ever.

        :param settled: what became of steps; emptied once it is noted, which needs all of their outcomes.
        :raises sqlalchemy.exc.SQLAlchemyError: the store failed once more; what is not written goes on waiting.
        """
        while self._outcomes or self._changes or self._records:
            some = list(islice(self._outcomes, SLICE))
            notes = settled if len(some) == len(self._outcomes) else []
            try:
                batches.write(some, settled=notes, changes=self._changes, records=list(self._records), now=now())
            except AT_FAULT as error:
                if cut_off(error):
                    raise
                self._one_by_one(batches, len(some), now)
                continue
            notes.clear()
            self._changes.clear()
            self._records.clear()
            for _ in some:
                self._outcomes.popleft()
            self.stored += len(some)

    def _one_by_one(self, batches: BatchWriter, count: int, now: Callable[[], float]) -> None:
        """Write the changes, so many outcomes, and the records, each in a transaction of its own."""
        self._write_changes(batches, now)
        for _ in range(count):
            rows = self._outcomes[0]
            # What a meter's reading adds is stored together with its outcome, or not at all.
            mine = [each for each in self._records if isinstance(each, MeterRecord) and each.cause == rows.outcome.cause]
            written = _taken(repr(rows.outcome.cause), partial(batches.write, [rows], records=mine, now=now()))
            self._outcomes.popleft()
            for each in mine:
                self._records.remove(each)
            self.stored += written
            self.lost += not written
            if not written:
                self._changes.update(rows.changes)
                self._write_changes(batches, now)
        waiting = {rows.outcome.cause for rows in self._outcomes}
        for record in [each for each in self._records if not isinstance(each, MeterRecord) or each.cause not in waiting]:
            _taken(type(record).__name__, partial(batches.write, [], records=[record], now=now()))
            self._records.remove(record)

    def _write_changes(self, batches: BatchWriter, now: Callable[[], float]) -> None:
        for key, value in list(self._changes.items()):
            change: Mapping[tuple[Scope, str], str | None] = {key: value}
            _taken(f"the state of {key[1]!r}", partial(batches.write, [], changes=change, now=now()))
            del self._changes[key]


def _taken(what: str, write: Callable[[], object]) -> bool:
    """Whether the database took it. Raises what is not the values' fault."""
    try:
        write()
    except AT_FAULT as error:
        if cut_off(error):
            raise
        log.error("%s was kept in memory and cannot be stored: %s", what, say(error))
        return False
    return True
