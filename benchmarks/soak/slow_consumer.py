"""A consumer of ten messages a second behind a source of five thousand; and a subscriber that answers through itself.

    python benchmarks/soak/slow_consumer.py [--soak] [--seconds 15] [--rate 5000] [--only mqtt5|mqtt311|amqp|circle|circle2]

``--soak`` is the whole of it: a minute. While the source is fast, memory has to stay flat and the connection has to live.
Then the consumer hurries, and everything has to arrive, in order. In the circle each event is answered by three commands
through the connection that it came from: pipes full in both directions, and nothing may stand still or be missing. ``circle2``
gives the commands a connection of their own, and only there memory has to stay flat (docs/explanation/delivery.md says why).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.soak._harness import IN_FLIGHT, PublisherProcess, Report, Supervised, World
from benchmarks.soak._tally import Tally, count, wait_until

KINDS = ("mqtt5", "mqtt311", "amqp", "circle", "circle2")
PROGRAM = str(Path(__file__).with_name("_slow.py"))
WARM_UP = 3.0
MOST_GROWTH = 8 * 1024


def run(kind: str, seconds: float = 60, rate: float = 5000) -> Report:
    """One kind of source."""
    report = Report(kind if kind.startswith("circle") else f"slow consumer, {kind}")
    with World(rabbit=kind == "amqp") as world:
        options = "Mosquitto with max_queued_messages 0, max_inflight_messages 20"
        report.say("RabbitMQ with a prefetch of 500" if kind == "amqp" else options)
        port = world.node.port if kind == "amqp" else world.mosquitto.port
        program = world.program(PROGRAM, kind, str(port))
        if kind.startswith("circle"):
            _circle(world, program, report, seconds, rate, flat=kind == "circle2")
        elif kind == "amqp":
            source = AmqpSource(world.node.address, rate)
            _slow(program, report, seconds, rate, source)
        else:
            _slow(program, report, seconds, rate, MqttSource(world.publisher(), rate))
        report.figure("connections", _counts(program)["connections"], at_most=1)
        timeouts = world.mosquitto.log_text().count("exceeded timeout")
        report.figure("keep-alives missed", timeouts, at_most=0)
        if report.broken:
            print(program.log_text()[-5000:], file=sys.stderr)
    return report


class MqttSource:
    """The publisher's process."""

    def __init__(self, publisher: PublisherProcess, rate: float) -> None:
        self._publisher = publisher
        publisher.rate(rate)

    def finish(self) -> int:
        return self._publisher.pause(60)


class AmqpSource:
    """Publishes to the exchange ``bench`` at a rate, from a thread."""

    def __init__(self, url: str, rate: float) -> None:
        self._rate = rate
        self._stop = threading.Event()
        self._published = 0
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> int:
        self._stop.set()
        self._thread.join()
        self._connection.close()
        return self._published

    def _run(self) -> None:
        channel = self._connection.channel()
        properties = pika.BasicProperties(delivery_mode=2)
        begun = time.monotonic()
        while not self._stop.wait(0.005):
            while self._published < (time.monotonic() - begun) * self._rate and not self._stop.is_set():
                device, seq = self._published % 50, self._published // 50
                body = json.dumps({"device": device, "seq": seq, "pad": "x" * 180})
                channel.basic_publish("bench", f"bench.d{device}.state", body.encode(), properties)
                self._published += 1
            self._connection.process_data_events(0)


def _slow(program: Supervised, report: Report, seconds: float, rate: float, source: MqttSource | AmqpSource) -> None:
    time.sleep(WARM_UP)
    first = most = program.rss
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        most = max(most, program.rss)
    accepted = source.finish()
    counts = _counts(program)
    slow_seen = counts["seen"]
    report.figure("accepted", accepted, at_least=0.8 * rate * seconds)
    report.figure("taken while slow", slow_seen, at_most=11 * (seconds + WARM_UP) + 60)
    report.figure("held in the program", counts["held"], at_most=IN_FLIGHT)
    report.figure("our memory grew by", (most - first) / 1024, "MiB", at_most=MOST_GROWTH / 1024)
    os.kill(program.pid, signal.SIGUSR1)
    wait_until(lambda: _counts(program)["seen"] >= accepted, 60 + accepted / 2000, 0.5)
    counts = _counts(program)
    report.figure("dropped", accepted - counts["seen"], at_most=0)
    report.figure("duplicates", counts["duplicates"], at_most=0)
    report.figure("out of order", counts["disorder"], at_most=0)


def _circle(world: World, program: Supervised, report: Report, seconds: float, rate: float, *, flat: bool) -> None:
    """More events than the circle can deal with, three commands each, counted by a client with a session of its own."""
    tally = Tally()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="commands", clean_session=False)
    client.on_message = lambda _client, _data, message: count(tally, message.payload, None)
    client.connect("127.0.0.1", world.mosquitto.port)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe("command/#", qos=1)
    client.loop_start()
    subscribed.wait(10)
    publisher = world.publisher()
    publisher.rate(rate)
    time.sleep(WARM_UP)
    first = most = program.rss
    end = time.monotonic() + seconds
    standing = longest = 0.0
    before = tally.seen
    while time.monotonic() < end:
        time.sleep(0.25)
        most = max(most, program.rss)
        standing = standing + 0.25 if tally.seen == before else 0.0
        longest, before = max(longest, standing), tally.seen
    accepted = publisher.pause(120)
    wait_until(lambda: tally.seen >= 3 * accepted, 60 + accepted / 500, 0.5)
    client.disconnect()
    client.loop_stop()
    report.figure("events", accepted)
    report.figure("commands", tally.seen, at_least=3 * accepted)
    report.figure("dropped", 3 * accepted - tally.seen, at_most=0)
    report.figure("out of order", tally.disorder, at_most=0)
    report.figure("stood still for at the most", longest, "s", at_most=3)
    bound = MOST_GROWTH / 1024 if flat else None
    report.figure("our memory grew by", (most - first) / 1024, "MiB", at_most=bound)


def _counts(program: Supervised) -> dict[str, int]:
    """Ask the program for its counts."""
    lines = program.log_text().count('{"seen"')
    os.kill(program.pid, signal.SIGUSR2)
    wait_until(lambda: program.log_text().count('{"seen"') > lines, 20, 0.05)
    last = [line for line in program.log_text().splitlines() if line.startswith('{"seen"')][-1]
    answer: dict[str, int] = json.loads(last)
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--soak", action="store_true", help="a minute")
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    seconds = 60 if options.soak else options.seconds
    kinds = (options.only,) if options.only else KINDS
    return max([run(kind, seconds, options.rate).end() for kind in kinds])


if __name__ == "__main__":
    sys.exit(main())
