"""What the hub weighs: its threads, the store, the web and the clients of both brokers, under a simulated home.

    python -m benchmarks.soak.home_memory [--minutes 3] [--speed 60] [--most-mib 120]

Private Mosquitto and RabbitMQ, the hub and the home as processes of their own. The home lives ``speed`` times faster than the
clock, so that three minutes hold three hours of its events. Somebody looks at the hub's health, metrics and login page once a
second. The weight is the resident memory (RSS) of the hub's processes. "Flat" is how much the last third weighs more than the
middle one; the first third is the start.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.ports import free_port
from pylib.testing.processes import Program, run_program
from pylib.testing.rabbitmq import RabbitMQ

ROOT = Path(__file__).resolve().parents[2]
MOST_MIB = 120.0
MOST_GROWTH_MIB = 3.0
CONF = """
[app]
name = event-processor
log_level = WARNING

[rabbitmq]
mq_exchange = home_automation

[mqtt]
subscribe = sensor/#, meter/#

[hub]
latitude = 52.5
longitude = 13.4
timezone = Europe/Berlin

[links]
* Door = siren
"""


def main() -> int:
    arguments = argparse.ArgumentParser(description="What the hub weighs under a simulated home.")
    arguments.add_argument("--minutes", type=float, default=3.0)
    arguments.add_argument("--speed", type=float, default=60.0, help="how much faster than the clock the home lives (60)")
    arguments.add_argument("--most-mib", type=float, default=MOST_MIB)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, Mosquitto(max_queued_messages=0) as mosquitto, RabbitMQ() as rabbitmq:
        return measure(options, Path(name), mosquitto, rabbitmq)


def measure(options: argparse.Namespace, folder: Path, mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> int:
    folder.joinpath("app.conf").write_text(CONF)
    web, metrics = free_port(), free_port()
    env = {
        "APP_CONFIG": str(folder / "app.conf"), "DEVICE_NAME": "bench", "STATE_DIRECTORY": str(folder / "state"),
        "MQTT_SERVER_ADDRESS": mosquitto.address, "RABBITMQ_SERVER_ADDRESS": rabbitmq.address, "PYTHONPATH": str(ROOT / "src"),
        "WEB_ENABLED": "yes", "WEB_PORT": str(web), "OBSERVE_METRICS_PORT": str(metrics),
    }  # fmt: skip
    pages = (
        f"http://127.0.0.1:{metrics}/health/ready",
        f"http://127.0.0.1:{metrics}/metrics",
        f"http://127.0.0.1:{web}/login",
    )
    home = [sys.executable, "-m", "event_processor.simulator", "--speed", str(options.speed), "--seed", "1", "--from", "06:15"]
    with run_program([sys.executable, "-m", "event_processor.cli"], env=env, folder=folder) as hub:
        until_ready(hub, pages[0])
        start = weight(hub)
        with run_program(home, env=env, folder=folder):
            weights = watch(hub, options.minutes * 60.0, pages)
        stored = figure(pages[1], "event_processor_store_outcomes_total")
        hub.stop()
    third = len(weights) // 3
    middle, last = statistics.median(weights[third : 2 * third]), statistics.median(weights[2 * third :])
    print(f"hub: RSS {start:.1f} MiB after the start, {max(weights):.1f} MiB at most, {weights[-1]:.1f} MiB in the end")
    print(f"hub: growth {last - middle:.1f} MiB from the middle third to the last one, in {options.minutes:g} minutes")
    print(f"hub: {stored:.0f} outcomes stored")
    heavy = max(weights) > options.most_mib or last - middle > MOST_GROWTH_MIB
    return 1 if heavy or not stored else 0


def until_ready(hub: Program, url: str, timeout: float = 30.0) -> None:
    end = time.monotonic() + timeout
    while look(url) != 200:
        if time.monotonic() > end or not hub.running:
            raise SystemExit(f"The hub did not come up:\n{hub.output}")
        pause(0.1)


def watch(hub: Program, seconds: float, pages: tuple[str, ...]) -> list[float]:
    """The weight, once a second, while somebody looks at the pages."""
    weights, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for page in pages:
            look(page)
        weights.append(weight(hub))
        if len(weights) % 30 == 0:
            print(f"{len(weights):5d} s  {weights[-1]:.1f} MiB", flush=True)
        pause(1.0)
    return weights


def weight(hub: Program) -> float:
    """MiB of resident memory, of the hub and of every process that it started."""
    process = psutil.Process(hub.pid)
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total / 2**20


def look(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def figure(url: str, name: str) -> float:
    with urllib.request.urlopen(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


if __name__ == "__main__":
    raise SystemExit(main())
