"""Nothing is lost when our own process is killed, or a handler fails: short forms of the long runs, on embedded brokers.

The brokers live in the test's process and the bridge in one of its own, so that it can be killed. Kills of a broker are left
out: an embedded one keeps nothing on disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import _harness, failing_handler, random_kills
from pylib.embedded.amqp import AmqpBroker
from pylib.embedded.mqtt import MqttBroker
from pylib.runtime.runtime import Runtime
from tests.embedded.conftest import Place

pytestmark = pytest.mark.slow


class StandIn:
    """An embedded broker that is made with a private one's options, which it has no use for, and started by its user."""

    def __init__(self, broker: MqttBroker | AmqpBroker) -> None:
        self._broker = broker

    def start(self) -> None:
        self._broker.start()

    def close(self) -> None:
        self._broker.close()

    @property
    def host(self) -> str:
        return self._broker.host

    @property
    def port(self) -> int:
        return self._broker.port

    @property
    def address(self) -> str:
        return self._broker.url


def test_a_bridge_that_is_killed_again_and_again_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_harness, "Mosquitto", lambda **_: StandIn(MqttBroker()))
    monkeypatch.setattr(_harness, "RabbitMQ", lambda: StandIn(AmqpBroker()))
    report = random_kills.run(0.1, 3, flood=500, round_seconds=6, victims=("bridge",))
    assert not report.broken
    assert report.figures["kills"] >= 1
    assert report.figures["accepted"] > 1000


def test_a_failing_handler_costs_exactly_the_poisoned_messages(
    runtime: Runtime, mosquitto: Any, rabbitmq: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "STATE_DIRECTORY", str(tmp_path))
    assert failing_handler.run(2100, 1.0, mosquitto, rabbitmq) == 0  # type: ignore[arg-type]  # what it uses of them
