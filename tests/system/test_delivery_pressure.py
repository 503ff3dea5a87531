"""Pressure that reaches the source, and stops with everything full: short forms of tests/soak/test_delivery_pressure.py."""

from __future__ import annotations

import pytest

from benchmarks.soak import slow_consumer, stop_loaded

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", slow_consumer.KINDS)
def test_a_slow_consumer_holds_its_source_back(kind: str) -> None:
    report = slow_consumer.run(kind, 3, 2000)
    assert not report.broken


@pytest.mark.parametrize(("state", "through", "spool"), [("frozen", 3, False), ("alarm", 0, True), ("working", 0, False)])
def test_a_stop_with_every_window_full_is_in_time_and_loses_nothing(state: str, through: int, spool: bool) -> None:
    # On a busy machine leaving takes the interpreter longer than the stop itself; the full run is for a quiet one.
    report = stop_loaded.run(state, through, spool, 8000, deadline=4)
    assert not report.broken
    assert report.figures["accepted"] >= 8000
