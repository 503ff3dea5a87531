"""kill -9 of the hub at random moments: every timer, latch and mode as if it had never been killed, and no command lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import hub_kills
from pylib.testing.plugin import MosquittoFactory
from pylib.testing.rabbitmq import Vhost

KILLS = 6

pytestmark = [pytest.mark.timeout(170), pytest.mark.slow]


def test_a_hub_that_is_killed_goes_on_as_if_it_had_never_been(
    tmp_path: Path, mosquitto_factory: MosquittoFactory, rabbitmq: Vhost
) -> None:
    found = hub_kills.run(tmp_path, mosquitto_factory(max_queued_messages=0), rabbitmq.address, kills=KILLS, rate=40, seed=11)
    assert found.wrong == []
    assert found.events > 200
    assert found.steps > found.events
    print(f"{KILLS} kills, {found.events} events, {found.steps} steps, {found.repeated} sent again under the same id")
