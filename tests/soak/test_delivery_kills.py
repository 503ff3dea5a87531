"""Nothing is lost, whatever is killed: the full runs. Short forms are in tests/system/test_delivery_kills.py."""

from __future__ import annotations

import pytest

from benchmarks.soak import cluster, kill_schedule, rabbit_away, random_kills

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("spool", [False, True])
@pytest.mark.parametrize("rate", [200, 2000])
def test_each_program_on_the_way_killed_once_loses_nothing(rate: float, spool: bool) -> None:
    assert not kill_schedule.run(rate, 55, spool=spool).broken


def test_a_publishers_own_message_id_survives_every_kill() -> None:
    assert not kill_schedule.run(200, 55, ids=True).broken


def test_a_hundred_random_kills_in_ten_minutes_lose_nothing() -> None:
    assert not random_kills.run(10, 100).broken


def test_rabbitmq_away_for_ten_minutes_costs_neither_events_nor_memory() -> None:
    assert not rabbit_away.run(10, 1000).broken


def test_each_node_of_a_cluster_may_die() -> None:
    assert not cluster.run(200, 15).broken
