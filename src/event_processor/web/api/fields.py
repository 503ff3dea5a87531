"""Parameters and small answers that several parts of the API share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec

from event_processor.domain.outcome import Evaluation
from event_processor.store.reader import Cursor
from event_processor.web.problems import ProblemError

__all__ = ["After", "Done", "Limit", "Listed", "Name", "Time", "cursor", "done", "sliced"]

T = TypeVar("T")

LATEST: Final = 32_503_680_000
"""The year 3000, in seconds since the epoch: later is a mistake."""

MOST_LISTED: Final = 1000
"""Entries of one page of a list, at most."""

Time: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=LATEST, description="Seconds since the epoch.")]
Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MOST_LISTED, description="Entries of a page, at most.")]
After: TypeAlias = Annotated[str, msgspec.Meta(max_length=400, description="The `next` of the page before.")]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]


class Listed(msgspec.Struct, frozen=True):
    """Which part of a list."""

    after: After | None = None
    limit: Limit = 100


class Done(msgspec.Struct, frozen=True):
    """What became of a request, in a sentence."""

    text: str


def done(evaluation: Evaluation) -> Done:
    """What the hub said."""
    return Done(evaluation.explanation)


def cursor(after: str | None) -> Cursor | None:
    """Where a page begins. Raises ``ProblemError`` 400."""
    if after is None:
        return None
    try:
        found = Cursor.parse(after)
        if 0 <= found.at <= LATEST and 0 <= found.id < 2**63:
            return found
    except ValueError:
        pass
    raise ProblemError(400, "after: this is not the `next` of a page.")


def sliced(keyed: Iterable[tuple[str, T]], after: str | None, limit: int) -> tuple[tuple[T, ...], str | None]:
    """A page of what is sorted by its key, and the key after which the next one begins."""
    rows = sorted(((key, value) for key, value in keyed if after is None or key > after), key=lambda pair: pair[0])
    page = rows[:limit]
    return tuple(value for _, value in page), page[-1][0] if len(rows) > limit else None
