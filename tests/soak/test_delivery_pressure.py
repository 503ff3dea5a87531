"""Pressure that reaches the source, and stops with everything full: the full runs.

Short forms are in tests/system/test_delivery_pressure.py.
"""

from __future__ import annotations

import pytest

from benchmarks.soak import slow_consumer, stop_loaded

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("kind", slow_consumer.KINDS)
def test_a_slow_consumer_holds_its_source_back_for_a_minute(kind: str) -> None:
    assert not slow_consumer.run(kind, 60, 5000).broken


@pytest.mark.parametrize(("state", "through", "spool"), stop_loaded.CASES)
def test_a_stop_with_fifty_thousand_events_waiting_is_in_time_and_loses_nothing(state: str, through: int, spool: bool) -> None:
    assert not stop_loaded.run(state, through, spool, 50_000).broken
