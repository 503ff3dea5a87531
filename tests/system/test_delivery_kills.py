"""Nothing is lost, whatever is killed: short forms of tests/soak/test_delivery_kills.py, less than half a minute each."""

from __future__ import annotations

import pytest

from benchmarks.soak import kill_schedule, rabbit_away, random_kills
from benchmarks.soak._tally import Tally

pytestmark = pytest.mark.slow


def test_bridge_rabbitmq_and_mosquitto_killed_in_turn_lose_nothing() -> None:
    report = kill_schedule.run(300, 14, away=1)
    assert not report.broken
    assert report.figures["accepted"] > 300 * 10


def test_random_kills_of_a_flooded_path_lose_nothing() -> None:
    report = random_kills.run(0.2, 4, flood=1500, round_seconds=12)
    assert not report.broken
    assert report.figures["kills"] >= 1


def test_rabbitmq_away_fills_the_spool_and_not_the_memory() -> None:
    # Too short for a rate: connecting again is a good part of it. The full run measures that.
    report = rabbit_away.run(5 / 60, 600, least_drain=0.3)
    assert not report.broken
    assert report.figures["backlog at the return"] > 600 * 4


def test_the_tally_sees_what_is_missing_repeated_and_late() -> None:
    tally = Tally()
    for device, seq, ident in ((0, 0, "a"), (1, 0, "b"), (0, 2, "c"), (0, 1, "d"), (0, 2, "c"), (1, 0, "other")):
        tally.add(device, seq, ident)
    assert (tally.disorder, tally.duplicates, tally.same_id) == (1, 2, 1)
    # Dealt out in turn: (0,0) (1,0) (0,1) (1,1) (0,2) (1,2), of which two never came.
    assert tally.lost(6, devices=2) == 2
