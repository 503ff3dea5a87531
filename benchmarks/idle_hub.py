"""What the hub costs while nothing happens: CPU time of a hub with both brokers connected, and whether they kept it.

    python benchmarks/idle_hub.py [--seconds 60]

Starts private brokers. Prints the share of one core, the wake-ups, and how often a connection was lost; RabbitMQ's
heartbeat is 5 s and MQTT's keep-alive 15 s, so 60 s are twelve and four of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.processes import run_program
from pylib.testing.rabbitmq import RabbitMQ

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description="What the hub costs while nothing happens.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch it (default: 60)")
    seconds = parser.parse_args().seconds
    with Mosquitto() as mosquitto, RabbitMQ() as rabbitmq, tempfile.TemporaryDirectory() as folder:
        env = {
            "APP_CONFIG": str(ROOT / "examples" / "app.conf"),
            "MQTT_SERVER_ADDRESS": mosquitto.address,
            "RABBITMQ_SERVER_ADDRESS": rabbitmq.address,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        }
        with run_program([sys.executable, "-m", "event_processor.cli"], env=env, folder=Path(folder)) as hub:
            hub.wait_for("The event processor is ready", timeout=60)
            time.sleep(1)  # what follows a connection is not idling
            process = psutil.Process(hub.pid)
            before, switches, threads = process.cpu_times(), process.num_ctx_switches(), process.num_threads()
            time.sleep(seconds)
            after, later = process.cpu_times(), process.num_ctx_switches()
            used = after.user + after.system - before.user - before.system
            lost = sum("trying again" in line for line in hub.output.splitlines())
            woken = later.voluntary - switches.voluntary
            memory = process.memory_info().rss / 2**20
            code = hub.stop()
    print(f"{threads} threads, {memory:.0f} MiB, {woken / seconds:.1f} wake-ups a second")
    print(f"exit code {code}, connections lost {lost}")
    print(f"idle for {seconds:g} s: {100 * used / seconds:.2f} % of one core")
    return 0 if code == 0 and lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
