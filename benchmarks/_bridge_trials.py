"""Trials for ``bridge_comparison.py``: the bridges to compare, and one run of one of them between two private brokers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pika
import psutil
from pika.adapters.blocking_connection import BlockingChannel

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import RabbitMQ

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
EXAMPLE = ROOT / "examples" / "bridge.py"
QUEUE = "bench.sink"
# Seconds without another event in the queue after which a trial is over, complete or not.
PATIENCE = 8.0
# What a bridge may still have to acknowledge when the last event is in the queue: part of what the events cost.
SETTLING = 0.3
MOSQUITTO_SETTINGS = "persistence false, max_queued_messages 0, max_inflight_messages 20 (its default), no logging of packets"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program under test. An argument ``SPOOL`` becomes the path of a new file. No ``argv``: RabbitMQ's own plugin."""

    key: str
    name: str
    promise: str
    argv: tuple[str, ...] = ()


LEAST_ONCE = "at least once"
CANDIDATES = (
    Candidate("ours", "this library", LEAST_ONCE, (str(EXAMPLE),)),
    Candidate("spool", "this library, with a spool", LEAST_ONCE, (str(EXAMPLE), "--spool", "SPOOL")),
    Candidate("four", "this library, four threads", LEAST_ONCE, (str(EXAMPLE), "--through", "2")),
    Candidate("aio", "aiomqtt, aio-pika", "at most once", (str(PEERS / "aio.py"),)),
    Candidate("uvloop", "aiomqtt, aio-pika, uvloop", "at most once", (str(PEERS / "aio.py"), "--uvloop")),
    Candidate("hand", "paho, queue, pika", "nothing", (str(PEERS / "by_hand.py"),)),
    Candidate("confirm", "paho, queue, pika, confirm each", "at most once", (str(PEERS / "by_hand.py"), "--confirm")),
    Candidate("faststream", "FastStream", LEAST_ONCE, (str(PEERS / "faststream_app.py"),)),
    Candidate("workers", "FastStream, 100 workers", "at most once", (str(PEERS / "faststream_app.py"), "--workers", "100")),
    Candidate("plugin", "RabbitMQ's MQTT plugin", LEAST_ONCE),
)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one run has shown. CPU is user and system time of the bridge's process, in microseconds; None for the plugin."""

    events_per_s: float
    cpu_us: float | None
    rss_mib: float | None
    lost: int
    duplicates: int


class Node(RabbitMQ):
    """A RabbitMQ node as it comes, with a scheduler for each core; the tests' nodes make do with one."""

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"}


def quiet_mosquitto() -> Mosquitto:
    """A fresh Mosquitto: a session that an earlier run has left must not be delivered to this one."""
    return Mosquitto(max_queued_messages=0, extra=("log_type none", "log_type error"))


@contextmanager
def running(candidate: Candidate, mqtt: int, amqp: int) -> Iterator[psutil.Process]:
    """The candidate's process, subscribed. Raises SystemExit when it does not come so far."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        program, *rest = candidate.argv
        arguments = [os.path.join(folder, "spool") if each == "SPOOL" else each for each in rest]
        process = subprocess.Popen(
            [sys.executable, program, str(mqtt), str(amqp), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
        late = threading.Timer(30, process.kill)
        late.start()
        try:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise SystemExit(f"{candidate.name} did not become ready; run its program by hand: {program}")
            late.cancel()
            yield psutil.Process(process.pid)
        finally:
            late.cancel()
            process.kill()
            process.wait()


def events(count: int) -> bytes:
    """Lines of about 250 bytes, as 50 devices would send them."""
    padding = "x" * 180
    return b"".join(
        json.dumps({"device": f"d{n % 50}", "seq": n, "temperature": 20 + n % 10, "pad": padding}).encode() + b"\n"
        for n in range(count)
    )


def throughput(candidate: Candidate, node: Node, lines: bytes) -> Throughput:
    """One run: publish every line over MQTT at QoS 1, wait until they are in the durable queue, and look at each."""
    count = lines.count(b"\n")
    with queue_on(node) as channel:
        if not candidate.argv:
            return _measure(None, channel, node.mqtt_port or 0, lines, count)
        with quiet_mosquitto() as broker, running(candidate, broker.port, node.port) as process:
            return _measure(process, channel, broker.port, lines, count)


def spooled(candidate: Candidate, node: Node, lines: bytes) -> Throughput:
    """One run with RabbitMQ away while all events arrive: each goes to disk, and from there when the node is back."""
    count = lines.count(b"\n")
    with quiet_mosquitto() as broker, running(candidate, broker.port, node.port) as process:
        with queue_on(node):
            pass  # durable, so it is there again after the restart
        before = cpu_seconds(process)
        node.kill()
        publish(broker.port, lines).wait()
        _wait_until_idle(process)
        node.start()
        started = time.perf_counter()
        with pika.BlockingConnection(pika.URLParameters(node.address)) as connection:
            channel = connection.channel()
            ended = _wait_for(channel, count)
            time.sleep(SETTLING)
            cpu, rss = cpu_seconds(process) - before, process.memory_info().rss
            return _result(channel, count, ended - started, cpu, rss)


@contextmanager
def queue_on(node: Node) -> Iterator[BlockingChannel]:
    """An empty durable queue that gets everything, whichever way it comes."""
    with pika.BlockingConnection(pika.URLParameters(node.address)) as connection:
        channel = connection.channel()
        channel.exchange_declare("bench", "topic", durable=True)
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE, durable=True)
        channel.queue_bind(QUEUE, "bench", "bench.#")
        channel.queue_bind(QUEUE, "amq.topic", "bench.#")  # the plugin's exchange
        yield channel


def publish(port: int, lines: bytes) -> subprocess.Popen[bytes]:
    """Mosquitto's own publisher, at QoS 1, as fast as the broker takes it."""
    command = ["mosquitto_pub", "-p", str(port), "-t", "bench/dev/state", "-q", "1", "-l"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(lines)
    process.stdin.close()
    return process


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time so far, of the process and whatever it has started."""
    every: Sequence[psutil.Process] = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (each.cpu_times() for each in every))


def _measure(process: psutil.Process | None, channel: BlockingChannel, port: int, lines: bytes, count: int) -> Throughput:
    time.sleep(0.5)  # what starting up has left to do is no part of it
    before = cpu_seconds(process) if process is not None else 0.0
    started = time.perf_counter()
    publisher = publish(port, lines)
    ended = _wait_for(channel, count)
    time.sleep(SETTLING)
    cpu = cpu_seconds(process) - before if process is not None else None
    rss = process.memory_info().rss if process is not None else None
    publisher.kill()
    publisher.wait()
    return _result(channel, count, ended - started, cpu, rss)


def _result(channel: BlockingChannel, count: int, seconds: float, cpu: float | None, rss: int | None) -> Throughput:
    seen = [json.loads(body)["seq"] for body in _all(channel)]
    different = len(set(seen))
    per_event = cpu / max(1, different) * 1e6 if cpu is not None else None
    mib = rss / 2**20 if rss is not None else None
    return Throughput(different / seconds, per_event, mib, count - different, len(seen) - different)


def _wait_for(channel: BlockingChannel, count: int) -> float:
    """Wait until so many messages are in the queue, or no more come; returns when the last one came."""
    most, last = 0, time.perf_counter()
    while True:
        here = channel.queue_declare(QUEUE, passive=True).method.message_count
        now = time.perf_counter()
        if here > most:
            most, last = here, now
        if most >= count or now - last > PATIENCE:
            return last
        time.sleep(0.02)


def _all(channel: BlockingChannel) -> Iterator[bytes]:
    for _, _, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=1.0):
        if body is None:
            break
        yield body
    channel.cancel()


def _wait_until_idle(process: psutil.Process) -> None:
    """Wait until the process has done nothing worth mentioning for a second."""
    end = time.perf_counter() + 120
    while time.perf_counter() < end:
        before = cpu_seconds(process)
        time.sleep(1.0)
        if cpu_seconds(process) - before < 0.02:
            return
