"""A house for hubs that are killed: rules of every kind that remembers something, sensors, receivers, and what must be true.

Sensors report over MQTT (QoS 1) and RabbitMQ (confirmed); every report has a value of its own. Afterwards ``verify`` compares
what the hubs stored and sent with an engine that was never killed and is told the same, at the moments at which they decided.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import select

from event_processor.app import rulebook
from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.outcome import Outcome
from event_processor.settings import load, read_rules
from event_processor.store import tables as t
from event_processor.store.reader import Reader
from event_processor.store.rows import event_of, prompt_of
from pylib.config import AppConfig
from pylib.testing.mosquitto import Mosquitto

LATCH_S, COUNT_WITHIN_S, FOR_S, DELAY_S, QUEUED_S = 1.0, 2.0, 0.7, 0.5, 0.15
PATIENCE = 60.0
# Seconds that a timer may wait: at a start for what the brokers kept, and on a busy machine.
LATE_S = 2.0
# The causes of timers; other rows without an event are of starts and of what is known of devices.
TIMERS = re.compile("[0-9a-f]{24}")

CONF = """
[app]
log_level = INFO

[rabbitmq]
mq_exchange = house

[mqtt]
subscribe = sensor/#
client_id = {client}

[hub]
control_expiry_s = 3600
max_event_age_s = 3600
{more}

[web]
enabled = no

[links]
* Door = all

[output:lamp]
topic = cmnd/lamp/set
payload = {{value}}
"""

RULES = f"""
[[rule]]
id = "every"
trigger = {{device = "*", on = "report"}}
action = {{do = "output", output = "every"}}

[[rule]]
id = "lamp"
trigger = {{device = "Hall Switch", on = "report"}}
action = {{do = "output", output = "lamp"}}

[[rule]]
id = "latched"
trigger = {{device = "Hall Door", on = "level"}}
latch = {{seconds = {LATCH_S}}}
action = {{do = "output", output = "latched"}}

[[rule]]
id = "counted"
trigger = {{device = "Hall Door", on = "level"}}
count = {{times = 3, within_s = {COUNT_WITHIN_S}}}
action = {{do = "output", output = "counted"}}

[[rule]]
id = "held"
trigger = {{device = "Yard Gate", on = "level"}}
for_s = {FOR_S}
action = {{do = "output", output = "held"}}

[[rule]]
id = "later"
trigger = {{device = "Back Door", on = "activation"}}
run = "queued"
queue = 1000
action = [{{do = "delay", seconds = {QUEUED_S}}}, {{do = "output", output = "later"}}]

[[rule]]
id = "restarted"
trigger = {{device = "Side Window", on = "level"}}
run = "restart"
action = [{{do = "delay", seconds = {DELAY_S}}}, {{do = "output", output = "restarted"}}]

[[rule]]
id = "leave"
trigger = {{device = "House Key", on = "activation"}}
action = {{do = "mode", mode = "away"}}

[[rule]]
id = "come"
trigger = {{device = "House Key", on = "deactivation"}}
action = {{do = "mode", mode = "home"}}

[[rule]]
id = "armed"
trigger = {{mode = "away"}}
action = {{do = "output", output = "armed"}}

[[rule]]
id = "alarm"
trigger = {{device = "Hall Door", on = "level"}}
modes = ["away"]
action = {{do = "output", output = "alarm"}}

[[mode]]
name = "home"

[[mode]]
name = "away"
exit_delay_s = 0.6
"""
OUTPUTS = ("all", "every", "latched", "counted", "held", "later", "restarted", "armed", "alarm")
# Location, label, reports a second. The last ones report over RabbitMQ.
MQTT_DEVICES = (("Hall", "Door"), ("Hall", "Switch"), ("Yard", "Gate"), ("Back", "Door"), ("Side", "Window"), ("House", "Key"))
RABBIT_DEVICES = (("Hall", "Door"), ("Attic", "Hatch"), ("Yard", "Gate"))


def key_of(place: tuple[str, str]) -> str:
    return " ".join(part for part in place if part)


def configure(folder: Path, *, client: str = "house", more: str = "") -> Path:
    """Write the settings and the rules; returns the settings file."""
    file = folder / "app.conf"
    file.write_text(CONF.format(client=client, more=more))
    (folder / "rules.toml").write_text(RULES)
    return file


class Sensors:
    """Report at random, over both brokers, until stopped. ``accepted`` is what the brokers have taken over."""

    def __init__(self, mosquitto: Mosquitto, amqp: str, *, rate: float, seed: int) -> None:
        self.accepted: set[tuple[str, int]] = set()
        self._amqp = amqp
        self.running = True
        self._ending = threading.Event()
        self._dice = random.Random(seed)
        self._pause = 1 / rate
        self._waiting: dict[int, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "house-sensors", protocol=paho.MQTTv5)
        self._client.on_publish = self._published
        self._client.connect(mosquitto.host, mosquitto.port)
        self._client.loop_start()
        self._number = 0
        self._active: dict[str, bool] = {}
        self._threads = [threading.Thread(target=self._over_mqtt), threading.Thread(target=self._over_rabbitmq)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Report nothing more, and wait until everything was accepted."""
        self.running = False
        self._ending.set()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + PATIENCE
        while self._waiting and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        self._client.disconnect()
        self._client.loop_stop()
        if self._waiting:
            raise SystemExit(f"{len(self._waiting)} reports were not accepted by the MQTT broker.")

    def _next(self, places: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], int, bool]:
        with self._lock:
            place = self._dice.choice(places)
            self._number += 1
            active = self._active[key_of(place)] = self._dice.random() < (0.9 if self._active.get(key_of(place)) else 0.7)
            return place, self._number, active

    def _over_mqtt(self) -> None:
        while not self._ending.wait(self._pause):
            place, number, active = self._next(MQTT_DEVICES)
            body = {"input_location": place[0], "input_1": {"input_label": place[1], "sample_value": number, "active": active}}
            properties = None
            if number % 3 == 0:  # some name their messages, as the library does
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [("message-id", uuid.uuid4().hex)]
            with self._lock:
                info = self._client.publish(f"sensor/{number % 7}", json.dumps(body), qos=1, properties=properties)
                self._waiting[info.mid] = (key_of(place), number)

    def _published(self, client: paho.Client, userdata: object, mid: int, reason: object, properties: object) -> None:
        with self._lock:
            self.accepted.add(self._waiting.pop(mid))

    def _over_rabbitmq(self) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self._amqp))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("house", "topic", durable=True)
        while not self._ending.wait(self._pause * 4):
            place, number, active = self._next(RABBIT_DEVICES)
            device = {"device_key": key_of(place), "device_label": place[1], "sample_value": number, "active": active}
            body = msgspec.msgpack.encode({"data": {"device_info": {"inputs": [device]}, "active_devices": [device] * active}})
            named = uuid.uuid4().hex if number % 2 else None
            properties = pika.BasicProperties(message_id=named, content_type="application/msgpack", delivery_mode=2)
            channel.basic_publish("house", "event.notify.house.app", body, properties, mandatory=True)
            with self._lock:
                self.accepted.add((key_of(place), number))
        connection.close()


class Receivers(threading.Thread):
    """Takes every control message and command, with its id."""

    def __init__(self, mosquitto: Mosquitto, amqp: str) -> None:
        super().__init__(daemon=True)
        self.control: list[tuple[str, bytes]] = []
        self.commands: list[tuple[str, bytes]] = []
        self._ending = threading.Event()
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp))
        channel = self._channel = self._connection.channel()
        # What the hub would declare, so that nothing is unroutable before it has.
        channel.exchange_declare("house", "topic", durable=True)
        channel.queue_declare("house-control", durable=True)
        channel.exchange_declare("house_control", "direct", durable=True)
        for output in OUTPUTS:
            channel.queue_bind("house-control", "house_control", f"event.control.{output}")
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "house-lamp", protocol=paho.MQTTv5)
        self._client.on_message = self._command
        self._client.connect(mosquitto.host, mosquitto.port)
        self._client.subscribe("cmnd/#", qos=1)
        self._client.loop_start()
        self.start()

    def run(self) -> None:
        for _, properties, body in self._channel.consume("house-control", auto_ack=True, inactivity_timeout=0.1):
            if properties is not None and body is not None:
                self.control.append((str(properties.message_id), bytes(body)))
            elif self._ending.is_set():
                self._connection.close()
                return

    def _command(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        named = dict(getattr(message.properties, "UserProperty", None) or ())
        self.commands.append((named.get("message-id", ""), bytes(message.payload)))

    def stop(self) -> None:
        """Twice is harmless."""
        self._ending.set()
        self.join()
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Found:
    """What ``verify`` found. Everything but the counts has to be empty."""

    events: int = 0
    steps: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)


def settled(url: str | Path, accepted: set[tuple[str, int]]) -> bool:
    """Whether everything was decided, every step is done, and no timer is under way."""
    reader = Reader(url)
    try:
        with reader.connect() as connection:
            known = connection.execute(select(t.events.c.cause).where(t.events.c.body.is_not(None))).all()
            pending = connection.execute(select(t.steps.c.id).where(t.steps.c.status == t.PENDING)).first()
            timers = connection.execute(select(t.state.c.key).where(t.state.c.scope == "timer")).first()
        return len(known) >= len(accepted) and pending is None and timers is None
    finally:
        reader.close()


def verify(url: str | Path, conf: Path, accepted: set[tuple[str, int]], receivers: Receivers) -> Found:
    """Compare what is stored with what was reported and received, and with an engine that was never killed."""
    found = Found()
    settings = load(AppConfig(conf, environ={"DEVICE_NAME": "reference", "MQTT_SERVER_ADDRESS": "localhost",
                                             "RABBITMQ_SERVER_ADDRESS": "localhost"}))  # fmt: skip
    engine = Engine(rulebook(settings, read_rules(settings)))
    reader = Reader(url)
    with reader.connect() as connection:
        rows = connection.execute(select(t.events).order_by(t.events.c.id)).all()
        steps = connection.execute(select(t.steps)).all()
        state = {(r.scope, r.key): msgspec.json.decode(r.value) for r in connection.execute(select(t.state))}
    reader.close()
    found.events, found.steps = len(accepted), len(steps)
    decided = Counter((row.device, msgspec.json.decode(row.body)["value"]) for row in rows if row.kind == "input")
    found.wrong += [f"not decided: {each}" for each in accepted - decided.keys()]
    found.wrong += [f"decided {count} times: {each}" for each, count in decided.items() if count > 1]
    stored: dict[str, set[str]] = {}
    for step in steps:
        stored.setdefault(step.event_id, set()).add(step.id)
        if step.status != t.DONE:
            found.wrong.append(f"step {step.id} for {step.output} is {step.status}")
    _replay(engine, rows, stored, found)
    _compare_state(engine, state, found)
    _by_hand(rows, steps, found)
    _received(steps, "control", receivers.control, found)
    _received(steps, "command", receivers.commands, found)
    return found


def _replay(engine: Engine, rows: Sequence[Any], stored: Mapping[str, set[str]], found: Found) -> None:
    """The never-killed engine decides on the same, at the same moments."""
    rung: dict[str, Outcome] = {}
    for row in rows:
        event, prompt = event_of(row.kind, row.body), prompt_of(row.kind, row.body)
        if TIMERS.fullmatch(row.cause):
            rung |= {outcome.cause: outcome for outcome in engine.due(row.at)}
        elif (event or prompt) and (due := engine.next_due()) is not None and row.at - due > LATE_S:
            found.wrong.append(f"a timer of {due} had not rung when {row.device} was decided on at {row.at}")
        if event is not None:
            outcome = engine.take(event, row.cause, row.at)
        elif isinstance(prompt, Availability):
            outcome = engine.take(prompt, row.cause, row.at)
        elif row.cause in rung:
            outcome = rung.pop(row.cause)
        elif stored.get(row.id):
            found.wrong.append(f"{row.cause} of {row.kind} sent something, and the other engine knows nothing of it")
            continue
        else:
            # What is known of devices, and the start: nothing to decide, but from then on it is no earlier than that.
            engine.learn((), row.cause, row.at)
            continue
        ids = {step.id for step in outcome.steps}
        if ids != stored.get(row.id, set()):
            found.wrong.append(f"{row.cause} {row.device} at {row.at}: sent {stored.get(row.id)}, should have sent {ids}")
    found.wrong += [f"timer {cause} did not ring: {outcome.evaluations}" for cause, outcome in rung.items()]


def _compare_state(engine: Engine, state: Mapping[tuple[str, str], object], found: Found) -> None:
    ours: dict[tuple[str, str], object] = {
        (scope, key): msgspec.json.decode(value) for scope, key, value in engine.state.rows()
    }
    theirs = {place: value for place, value in state.items() if place[0] in ("rule", "timer", "mode", "output", "value")}
    for place in ours.keys() | theirs.keys():
        if ours.get(place) != theirs.get(place):
            found.wrong.append(f"{place}: {theirs.get(place)}, should be {ours.get(place)}")


def _by_hand(rows: Sequence[Any], steps: Sequence[Any], found: Found) -> None:
    """Latch, count and ``for`` once more, in a few lines that share nothing with the engine."""
    fired: Counter[str] = Counter()
    latched, times, late = -1e9, list[float](), 0
    since: float | None = None
    for row in rows:
        if row.kind != "input":
            continue
        if row.device == "Hall Door" and row.active:
            if row.at - latched >= LATCH_S:
                latched = row.at
                fired["latched"] += 1
            times = [at for at in times if row.at - at < COUNT_WITHIN_S] + [row.at]
            fired["counted"] += len(times) >= 3
        if row.device == "Yard Gate":
            if row.active and since is None:
                since = row.at
            elif not row.active and since is not None:
                fired["held"] += row.at - since >= FOR_S
                # It came before the time was up, and was decided on after that: at a start a timer waits for such.
                late += row.at - since >= FOR_S > msgspec.json.decode(row.body)["created_at"] - since
                since = None
    fired["held"] += since is not None
    sent = Counter(step.output for step in steps)
    for output, count in fired.items():
        if not count - (late if output == "held" else 0) <= sent[output] <= count:
            found.wrong.append(f"{output} was set off {sent[output]} times, should have been {count} times")


def _received(steps: Sequence[Any], kind: str, received: list[tuple[str, bytes]], found: Found) -> None:
    wanted = {step.id for step in steps if step.kind == kind}
    bodies: dict[str, bytes] = {}
    for ident, body in received:
        if ident in bodies:
            found.repeated += 1
            if _said(kind, bodies[ident]) != _said(kind, body):
                found.wrong.append(f"{kind} {ident} was repeated with another body")
        bodies[ident] = body
    found.wrong += [f"{kind} {ident} was lost" for ident in wanted - bodies.keys()]
    found.wrong += [f"{kind} {ident} is not among the stored ones" for ident in bodies.keys() - wanted]


def _said(kind: str, body: bytes) -> object:
    """What a message says, but for when this copy of it left."""
    return msgspec.msgpack.decode(body)["data"] if kind == "control" else body
