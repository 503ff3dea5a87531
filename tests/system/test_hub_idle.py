"""A hub with nothing to do: it costs little, and both brokers keep it."""

from __future__ import annotations

import re
import sys

import pytest

from pylib.testing.processes import run_program
from tests.system.hub_kit import ROOT, SOURCE

# Three heartbeats of RabbitMQ (5 s each), and one keep-alive of MQTT.
SECONDS = 16


@pytest.mark.slow
@pytest.mark.alone
def test_an_idle_hub_keeps_both_connections_and_costs_next_to_nothing() -> None:
    benchmark = [sys.executable, str(ROOT / "benchmarks" / "idle_hub.py"), "--seconds", str(SECONDS)]
    with run_program(benchmark, env={"PYTHONPATH": str(SOURCE)}) as idle:
        assert idle.wait(90) == 0, idle.output
        used = re.search(r"idle for [0-9]+ s: ([0-9.]+) %", idle.output)
        assert "connections lost 0" in idle.output
        assert used is not None
        # The figure is taken over 60 s (0.3 %); over so short a time one tick of the clock weighs four times as much.
        assert float(used[1]) <= 1.2
