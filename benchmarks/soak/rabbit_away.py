"""RabbitMQ away while events keep coming, into the bridge's spool; then it comes back while they still come.

    python benchmarks/soak/rabbit_away.py [--soak] [--minutes 1] [--rate 1000]

``--soak`` is the whole of it: 10 minutes. Shows that nothing is lost or out of order, that the bridge's memory stays flat,
that it goes on taking events in (what Mosquitto holds for it stays small), and how fast the backlog leaves while new events
arrive.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._harness import CONFIRM_WINDOW, IN_FLIGHT, PublisherProcess, Report, Supervised, World
from benchmarks.soak._tally import Reader, Tally

WARM_UP = 4.0
MOST_GROWTH = 64 * 1024


class Held:
    """How many messages Mosquitto holds, by its own count (``$SYS``), beyond what it held at first."""

    def __init__(self, port: int) -> None:
        self._first: int | None = None
        self.now = self.most = 0
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = self._on_message
        client.connect("127.0.0.1", port)
        client.subscribe("$SYS/broker/store/messages/count")
        client.loop_start()

    def start(self) -> None:
        self._first, self.most = None, 0

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        count = int(message.payload)
        if self._first is None:
            self._first = count
        self.now = count - self._first
        self.most = max(self.most, self.now)


def run(minutes: float = 10, rate: float = 1000, least_drain: float = 3) -> Report:
    """One absence. ``least_drain``: how much faster than events arrive the backlog has to leave."""
    report = Report("RabbitMQ away")
    with World() as world:
        world.describe(report)
        reader = world.reader()
        bridge = world.bridge("--spool", str(world.folder / "spool.db"))
        publisher = world.publisher()
        held = Held(world.mosquitto.port)
        try:
            publisher.rate(rate)
            time.sleep(WARM_UP)
            rss = most_rss = bridge.rss
            held.start()
            world.node.kill()
            gone = time.monotonic()
            at_first = publisher.status()["accepted"]
            while time.monotonic() - gone < minutes * 60:
                time.sleep(0.5)
                most_rss = max(most_rss, bridge.rss)
            backlog = publisher.status()["accepted"] - at_first
            away = time.monotonic() - gone
            report.figure("away for", away, "s")
            report.figure("arrival rate", backlog / away, "/s", at_least=0.9 * rate)
            world.node.start()
            there = time.monotonic()
            first = reader.depth()
            most_rss = _drained(reader, publisher, bridge, most_rss)
            end = time.monotonic()
            left = reader.depth() - first
            accepted = publisher.pause()
            drain = left / (end - there)
            report.figure("backlog at the return", backlog)
            report.figure("drained and caught up after", end - there, "s")
            report.figure("drain rate", drain, "/s")
            report.figure("drain rate over arrival rate", drain / rate, at_least=least_drain)
            report.figure("held by Mosquitto at the most", held.most, at_most=IN_FLIGHT)
            report.figure("our memory grew by", (most_rss - rss) / 1024, "MiB", at_most=MOST_GROWTH / 1024)
            tally = Tally()
            reader.collect(tally, accepted)
            report.tally(tally, accepted, publisher.devices, most_duplicates=CONFIRM_WINDOW)
            if report.broken:
                print(bridge.log_text()[-5000:], file=sys.stderr)
        finally:
            held.close()
    return report


def _drained(reader: Reader, publisher: PublisherProcess, bridge: Supervised, most_rss: int) -> int:
    """Wait until the queue has caught up with what was accepted; returns the highest memory seen."""
    end = time.monotonic() + 1800
    while time.monotonic() < end:
        accepted = publisher.status()["accepted"]
        most_rss = max(most_rss, bridge.rss)
        if reader.depth() >= accepted - 50:
            return most_rss
        time.sleep(0.2)
    raise SystemExit("The backlog did not drain within half an hour.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--soak", action="store_true", help="10 minutes")
    parser.add_argument("--rate", type=float, default=1000)
    options = parser.parse_args()
    return run(10 if options.soak else options.minutes, options.rate).end()


if __name__ == "__main__":
    sys.exit(main())
