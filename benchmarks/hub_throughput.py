"""What the whole hub does: MQTT in, rules, storage, receipts, commands out over RabbitMQ.

    python benchmarks/hub_throughput.py [--devices 10000] [--rules 1000] [--events 40000]      events/s, and CPU per event
    python benchmarks/hub_throughput.py --latency [--rate 50] [--events 2000]                  publish to command received
    python benchmarks/hub_throughput.py --compare [--events 20000]         a small home against a large one, CPU per event

Private Mosquitto and RabbitMQ; the hub runs in a process of its own, with its store on disk. Every event is an active door
that sets off one output; of the rules each names one device. Publisher and receiver are a process too. The comparison runs a
hub with 10 devices and 1 rule, and one with 10,000 and 1,000, in turn; each has heard of all its devices before it counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pika
import psutil
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.processes import run_program
from pylib.testing.rabbitmq import RabbitMQ

ROOT = Path(__file__).parents[1]
CONF = """
[app]
name = event-processor
log_level = WARNING

[rabbitmq]
mq_exchange = bench

[mqtt]
subscribe = sensor/#

[type_links]
sensor = siren
"""
QUEUE = "bench-siren"


def rules(count: int, devices: int) -> str:
    """So many rules, each about a device of its own: the first ones exist, and they notify nobody."""
    one = '[[rule]]\nid = "r{0}"\ntrigger = {{device = "Room {1} Door"}}\naction = {{do = "mode", mode = "home"}}\n'
    return "\n".join(one.format(number, number if number < devices else f"none-{number}") for number in range(count))


class Commands(threading.Thread):
    """Takes the control messages, and notes when each came."""

    def __init__(self, url: str, devices: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.exchange_declare("bench_control", "direct", durable=True)
        self._channel.queue_declare(QUEUE)
        self._channel.queue_bind(QUEUE, "bench_control", "event.control.siren")
        self.changed = threading.Condition()
        self.arrived: list[tuple[int, float]] = []
        self.ids: set[str] = set()

    def forget(self) -> None:
        """Count anew."""
        with self.changed:
            self.arrived.clear()
            self.ids.clear()

    def close(self) -> None:
        """End the thread, and the connection with it."""
        self._connection.add_callback_threadsafe(self._end)
        self.join(10)
        self._connection.close()

    def _end(self) -> None:
        self._channel.cancel()

    def run(self) -> None:
        decode = msgspec.msgpack.decode
        for _, properties, body in self._channel.consume(QUEUE, auto_ack=True):
            now = time.perf_counter()
            assert body is not None
            number = int(decode(body)["data"]["active_input"]["sample_value"])
            with self.changed:
                self.arrived.append((number, now))
                self.ids.add(str(properties.message_id))
                self.changed.notify_all()


def main() -> None:
    arguments = argparse.ArgumentParser(description="The hub, whole.")
    arguments.add_argument("--devices", type=int, default=10_000)
    arguments.add_argument("--rules", type=int, default=1_000)
    arguments.add_argument("--events", type=int, default=None)
    arguments.add_argument("--latency", action="store_true")
    arguments.add_argument("--compare", action="store_true")
    arguments.add_argument("--rate", type=float, default=50.0, help="events a second with --latency (default 50)")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, Mosquitto(max_queued_messages=0) as mosquitto, RabbitMQ() as rabbitmq:
        if options.compare:
            compare(options, Path(folder), mosquitto, rabbitmq)
        else:
            measure(options, Path(folder), mosquitto, rabbitmq)


def compare(options: argparse.Namespace, folder: Path, mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> None:
    """Three rounds, in turn, so that a busy machine slows both alike; what counts is the median of the pairs."""
    ratios = []
    for number in range(3):
        spent = {}
        for devices, rules_ in ((10, 1), (10_000, 1_000)):
            options.devices, options.rules, options.events = devices, rules_, options.events or 20_000
            place = folder / f"{number}-{devices}"
            place.mkdir()
            spent[devices] = measure(options, place, mosquitto, rabbitmq)
        ratios.append(spent[10_000] / spent[10])
    print(f"10,000 devices and 1,000 rules against 10 and 1: {statistics.median(ratios):.2f} times the CPU per event")


def measure(options: argparse.Namespace, folder: Path, mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> float:
    """Seconds of CPU per event; none for the latency."""
    folder.joinpath("app.conf").write_text(CONF)
    folder.joinpath("rules.toml").write_text(rules(options.rules, options.devices))
    env = {
        "APP_CONFIG": str(folder / "app.conf"),
        "DEVICE_NAME": "bench",
        "STATE_DIRECTORY": str(folder / "state"),
        "MQTT_SERVER_ADDRESS": mosquitto.address,
        "RABBITMQ_SERVER_ADDRESS": rabbitmq.address,
        "PYTHONPATH": str(ROOT / "src"),
        "LOG_LEVEL": "WARNING",
    }
    commands = Commands(f"{rabbitmq.address}", [])
    commands.start()
    client = paho.Client(CallbackAPIVersion.VERSION2, "bench-publisher")
    there = threading.Event()
    client.on_message = lambda _, __, message: there.set() if message.payload == b"online" else None
    client.max_inflight_messages_set(1000)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    client.subscribe("event_processor/bench/status", 1)
    with run_program([sys.executable, "-m", "event_processor.cli"], env=env, folder=folder) as hub:
        if not there.wait(20):
            raise SystemExit(f"The hub did not come up:\n{hub.output}")
        process = psutil.Process(hub.pid)
        events = options.events or (2000 if options.latency else 40_000)
        cpu = 0.0
        if options.latency:
            latency(client, commands, events, options.rate)
        else:
            if options.compare:
                commands.forget()
                throughput(mosquitto, commands, process, options.devices, options.devices, told=False)
                commands.forget()
            cpu = throughput(mosquitto, commands, process, events, options.devices)
        print(f"hub: RSS {process.memory_info().rss / 2**20:.1f} MiB")
        hub.stop()
    client.disconnect()
    client.loop_stop()
    commands.close()
    return cpu


def body(device: int, number: int) -> bytes:
    return json.dumps(
        {"input_location": f"Room {device}", "input_1": {"input_label": "Door", "sample_value": number, "active": True}}
    ).encode()


def publish(host: str, port: int, events: int, devices: int) -> None:
    """The sensors: a process of its own."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "bench-sensors")
    client.max_inflight_messages_set(1000)
    client.connect(host, port)
    client.loop_start()
    for number in range(events):
        last = client.publish(f"sensor/room/{number % devices}", body(number % devices, number), qos=1)
    last.wait_for_publish(120)
    client.disconnect()
    client.loop_stop()


def throughput(
    mosquitto: Mosquitto, commands: Commands, process: psutil.Process, events: int, devices: int, *, told: bool = True
) -> float:
    """Seconds of CPU per event."""
    sensors = multiprocessing.get_context("spawn").Process(
        target=publish, args=(mosquitto.host, mosquitto.port, events, devices)
    )
    spent = sum(process.cpu_times()[:2])
    sensors.start()
    with commands.changed:
        commands.changed.wait_for(lambda: bool(commands.arrived), 30)
        began = commands.arrived[0][1]
        complete = commands.changed.wait_for(lambda: len(commands.ids) >= events, 120)
    seconds = commands.arrived[-1][1] - began
    cpu = sum(process.cpu_times()[:2]) - spent
    sensors.join()
    if told:
        print(f"{len(commands.ids)} of {events} decided and delivered, {len(commands.ids) / seconds:.0f} events/s, "
          f"{cpu / events * 1e6:.0f} us of CPU per event")  # fmt: skip
    if not complete:
        raise SystemExit("Not every event was delivered.")
    return cpu / events


def latency(client: paho.Client, commands: Commands, events: int, rate: float) -> None:
    """Two hundred devices in turn, each heard once before it counts."""
    sent: dict[int, float] = {}
    devices = 200
    began = time.perf_counter()
    for number in range(devices + events):
        pause = began + number / rate - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        sent[number] = time.perf_counter()
        client.publish(f"sensor/room/{number % devices}", body(number % devices, number), qos=1)
    with commands.changed:
        complete = commands.changed.wait_for(lambda: len(commands.arrived) >= devices + events, 30)
    took = sorted(at - sent[number] for number, at in commands.arrived if number >= devices)
    print(f"{len(took)} commands, p50 {took[len(took) // 2] * 1000:.2f} ms, p99 {took[int(len(took) * 0.99)] * 1000:.2f} ms, "
          f"most {took[-1] * 1000:.2f} ms")  # fmt: skip
    if not complete:
        raise SystemExit("Not every event was delivered.")


if __name__ == "__main__":
    main()
