"""Two hubs of one group: the one that stands by goes on where the active one was killed, within seconds."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchmarks.soak import hub_takeover
from benchmarks.soak._hub_world import configure
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import Home

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


def test_the_other_hub_decides_within_five_seconds_and_nothing_is_lost_or_done_twice(
    tmp_path: Path, mosquitto_factory: MosquittoFactory, rabbitmq: Vhost, postgresql: str
) -> None:  # fmt: skip
    mosquitto = mosquitto_factory(max_queued_messages=0)
    found, took, _ = hub_takeover.run(tmp_path, mosquitto, [rabbitmq.address], postgresql, kills=3, freezes=0, rate=40, seed=3)
    assert found.wrong == []
    assert found.events > 100
    assert max(took) <= 5
    print(f"3 takeovers, slowest {max(took):.2f} s, {found.events} events, {found.steps} steps")


@pytest.mark.soak
def test_a_hub_that_was_frozen_and_wakes_up_ends_by_itself_and_nothing_is_lost_or_done_twice(
    tmp_path: Path, mosquitto_factory: MosquittoFactory, rabbitmq: Vhost, postgresql: str
) -> None:  # fmt: skip
    mosquitto = mosquitto_factory(max_queued_messages=0)
    found, _, _ = hub_takeover.run(tmp_path, mosquitto, [rabbitmq.address], postgresql, kills=0, freezes=1, rate=40, seed=3)
    assert found.wrong == []
    assert found.events > 100


def test_a_hub_that_is_stopped_hands_over_and_one_that_stands_by_ends_at_once(
    tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost, postgresql: str
) -> None:  # fmt: skip
    conf = configure(tmp_path, more=f"group = main\ndatabase = {postgresql}")
    pair = hub_takeover.Pair(conf, mosquitto, [rabbitmq.address])
    try:
        assert hub_takeover.ACTIVE not in pair.waiting.output
        assert "connected to MQTT" not in pair.waiting.output
        assert pair.active.stop(signal.SIGTERM) == 0
        pair.waiting.wait_for("The event processor is ready", timeout=10)
        late = pair.start()
        try:
            late.wait_for(hub_takeover.WAITS, timeout=20)
            assert late.stop(signal.SIGTERM, timeout=3) == 0
        finally:
            late.kill()
        assert pair.waiting.stop(signal.SIGTERM) == 0
        assert "WARNING" not in pair.waiting.output, pair.waiting.output
    finally:
        pair.close()


def test_a_group_without_a_database_that_can_be_shared_is_refused(
    tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    home = Home.of(tmp_path, mosquitto, rabbitmq)
    with home.hub(env={"HUB_GROUP": "main"}) as hub:
        assert hub.wait(20) == 1
        assert "[hub] database" in hub.output
        assert "PostgreSQL" in hub.output
        assert "Traceback" not in hub.output
