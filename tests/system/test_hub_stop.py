"""SIGTERM at any moment: from the announcement of the handlers on, exit code 0 within a second, and nothing left behind.

``STOP_TRIALS`` sets how many random moments are tried (20 unless told otherwise; ``make figures`` tries 200).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.ports import free_port
from pylib.testing.processes import Program
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import ANNOUNCED, DOOR, Home, publish

TRIALS = int(os.environ.get("STOP_TRIALS", "20"))
SECONDS = 1.0
# Late enough for some trials to meet a hub at work.
LATEST = 1.5
PROGRAMS = ("hub", "siren.py", "door_sensor.py", "thermometer.py")

pytestmark = [pytest.mark.timeout(60 + 10 * TRIALS), pytest.mark.alone]


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    return Home.of(tmp_path, mosquitto, rabbitmq)


def start(home: Home, name: str, env: dict[str, str]) -> Program:
    return home.hub(env=env) if name == "hub" else home.example(name, env=env)


def moments(seed: int) -> Iterator[float]:
    """So many moments after the announcement, in seconds, spread over start-up and work; the same for the same seed."""
    rng = random.Random(seed)
    for trial in range(TRIALS):
        yield LATEST * (trial + rng.random()) / TRIALS


def stopped_within(program: Program) -> float:
    """Send SIGTERM, demand exit code 0 and no child left, and return the seconds until the process was gone."""
    children = psutil.Process(program.pid).children(recursive=True)
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    code = program.wait(10)
    took = time.monotonic() - began
    assert code == 0, program.output
    assert "Traceback" not in program.output, program.output
    assert "Did not stop" not in program.output, program.output
    assert not any(child.is_running() for child in children)
    if took > SECONDS / 2:
        print(f"slow, {took * 1000:.0f} ms: {' '.join(program.argv)}\n{program.output}")
    return took


def report(what: str, times: list[float]) -> None:
    print(f"{what}: {len(times)} stops, slowest {max(times) * 1000:.0f} ms, all with exit code 0")
    assert max(times) <= SECONDS


def test_a_stop_at_any_moment_ends_every_program_with_exit_code_0_within_a_second(home: Home, mosquitto: Mosquitto) -> None:
    times = []
    for trial, moment in enumerate(moments(seed=4)):
        with start(home, PROGRAMS[trial % len(PROGRAMS)], {}) as program:
            program.wait_for(ANNOUNCED)
            pause(moment)
            if trial % 3 == 0:
                publish(mosquitto, "sensor/front/door", DOOR)  # and with something to do
            times.append(stopped_within(program))
    report("both brokers there", times)


@pytest.mark.parametrize("away", ["MQTT", "RABBITMQ"])
def test_a_stop_while_a_broker_is_away_is_as_quick(home: Home, away: str) -> None:
    times = []
    env = {f"{away}_SERVER_ADDRESS": f"127.0.0.1:{free_port()}"}
    for trial, moment in enumerate(moments(seed=5)):
        with start(home, PROGRAMS[trial % len(PROGRAMS)], env) as program:
            program.wait_for(ANNOUNCED)
            pause(moment)
            times.append(stopped_within(program))
    report(f"{away} away", times)


def test_a_stop_while_a_broker_is_frozen_is_as_quick(home: Home, mosquitto: Mosquitto) -> None:
    with home.running_hub() as hub:
        mosquitto.pause()
        try:
            report("MQTT frozen", [stopped_within(hub)])
        finally:
            mosquitto.resume()


def test_a_stop_before_the_handlers_are_installed_leaves_nothing_behind(home: Home) -> None:
    rng = random.Random(6)
    for _ in range(TRIALS):
        # Not the kit's program: the interpreter itself is what is interrupted here.
        process = subprocess.Popen(
            [sys.executable, "-m", "event_processor.cli"],
            env=os.environ | home.env, cwd=home.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pause(rng.random() * 0.05)
        process.terminate()
        assert process.wait(5) in (0, -signal.SIGTERM)
    assert sorted(path.name for path in home.folder.iterdir()) == ["app.conf"]


def test_the_handlers_are_installed_soon_after_the_start(home: Home) -> None:
    times = []
    for _ in range(10):
        began = time.monotonic()
        with home.hub() as hub:
            hub.wait_for(ANNOUNCED)
            times.append(time.monotonic() - began)
            stopped_within(hub)
    times.sort()
    print(f"handlers installed after {times[len(times) // 2] * 1000:.0f} ms (median), {times[-1] * 1000:.0f} ms (slowest)")
    # The aim is 50 ms on a machine at rest, which the figures show; a busy one may take its time.
    assert times[0] < 0.2


def pause(seconds: float) -> None:
    """Let a program run on for so long: the one wait here that is for time to pass and not for an event."""
    signal.sigtimedwait([], seconds)
