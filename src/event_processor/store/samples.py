"""What the store counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from event_processor.store.keeper import StoreHealth
from pylib.observe.metrics import Sample

__all__ = ["samples_of_store"]

_ROWS: Final[tuple[tuple[str, str, Literal["counter", "gauge"], str], ...]] = (
    ("event_processor_store_ok", "ok", "gauge", "1 while outcomes can be stored"),
    ("event_processor_store_outcomes_total", "stored", "counter", "Outcomes stored since the start"),
    ("event_processor_store_lost_total", "lost", "counter", "Outcomes whose history could not be kept"),
    ("event_processor_store_waiting", "waiting", "gauge", "Outcomes in memory until the store can be written"),
    ("event_processor_steps_in_flight", "in_flight", "gauge", "Steps sent and not accepted yet"),
    ("event_processor_steps_behind", "behind", "gauge", "1 while steps wait in the table for room"),
    ("event_processor_steps_accepted_total", "accepted", "counter", "Steps that their receiver accepted"),
    ("event_processor_steps_expired_total", "expired", "counter", "Steps whose time was up"),
    ("event_processor_steps_refused_total", "refused", "counter", "Steps that were refused"),
)


def samples_of_store(health: StoreHealth) -> Iterator[Sample]:
    """The store's figures, from what it says of itself. Any thread."""
    for name, field, kind, words in _ROWS:
        yield Sample(name, kind, words, float(getattr(health, field)))
