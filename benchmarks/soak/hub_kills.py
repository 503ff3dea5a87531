"""kill -9 of the hub at random moments, while rules with latch, count, ``for`` and delays run, on Mosquitto and RabbitMQ.

    python benchmarks/soak/hub_kills.py [--kills 50] [--rate 60] [--seed 1]

Every timer, latch and mode has to be as if the hub had never been killed, no command may be lost, and a repeated one has to
have the id of the first. ``_hub_verdict.py`` says how that is found out.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._hub_verdict import Found, settled, verify
from benchmarks.soak._hub_world import PATIENCE, Receivers, Sensors, configure
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.processes import Program, run_program
from pylib.testing.rabbitmq import RabbitMQ

ROOT = Path(__file__).parents[2]
# A hub takes most of a second to start: some kills meet it there.
FIRST, LAST = 0.2, 3.0


def start_hub(conf: Path, mosquitto: Mosquitto, amqp: str) -> Program:
    env = {
        "APP_CONFIG": str(conf),
        "DEVICE_NAME": "house",
        "STATE_DIRECTORY": str(conf.parent / "state"),
        "MQTT_SERVER_ADDRESS": mosquitto.address,
        "RABBITMQ_SERVER_ADDRESS": amqp,
        "PYTHONPATH": str(ROOT / "src"),
    }
    return run_program([sys.executable, "-m", "event_processor.cli"], env=env, folder=conf.parent)


def run(folder: Path, mosquitto: Mosquitto, amqp: str, *, kills: int, rate: float, seed: int) -> Found:
    """Kill a hub so many times; returns what was found. The brokers have to be empty and to keep what waits."""
    conf = configure(folder)
    store = folder / "state" / "hub.db"
    dice = random.Random(seed)
    receivers = Receivers(mosquitto, amqp)
    hub = start_hub(conf, mosquitto, amqp)
    sensors: Sensors | None = None
    pause = threading.Event()
    try:
        hub.wait_for("The event processor is ready", timeout=PATIENCE)  # from here on the brokers keep what comes for it
        sensors = Sensors(mosquitto, amqp, rate=rate, seed=seed)
        for _ in range(kills):
            pause.wait(dice.uniform(FIRST, LAST))
            _ended_well(hub)
            hub.kill()
            hub = start_hub(conf, mosquitto, amqp)
        pause.wait(1.0)
        sensors.stop()
        deadline = time.monotonic() + PATIENCE
        while not settled(store, sensors.accepted) and time.monotonic() < deadline:
            _ended_well(hub)
            pause.wait(0.25)
        pause.wait(0.5)
        code = hub.stop()
        receivers.stop()
        found = verify(store, conf, sensors.accepted, receivers)
        if code:
            found.wrong.append(f"the hub ended with exit code {code}")
        if found.wrong:
            print(hub.output, file=sys.stderr)
        return found
    finally:
        hub.kill()
        if sensors is not None and sensors.running:
            sensors.stop()
        receivers.stop()


def _ended_well(hub: Program) -> None:
    if not hub.running:
        raise SystemExit(f"The hub ended by itself:\n{hub.output}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("HUB_KILLS", "50")))
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Mosquitto(max_queued_messages=0) as mosquitto, RabbitMQ() as rabbitmq:
        found = run(Path(folder), mosquitto, rabbitmq.address, kills=o.kills, rate=o.rate, seed=o.seed)
    for each in found.wrong[:60]:
        print(each)
    print(
        f"{o.kills} kills, {found.events} events, {found.steps} steps, {found.repeated} sent again under the same id, "
        f"{len(found.wrong)} differences"
    )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
