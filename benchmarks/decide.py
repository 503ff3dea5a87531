"""What deciding costs: per event with 10 and 10,000 devices, with 1 and 1,000 rules that do not concern it; memory per device;
and replay. No broker and no store: this is the engine alone.

    python benchmarks/decide.py [--events 10000]
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
import tracemalloc
from collections.abc import Sequence

from event_processor.domain.engine import Engine
from event_processor.domain.entities import CommandForm, DeviceInfo, Entity
from event_processor.domain.events import Event
from event_processor.domain.links import make_output
from event_processor.domain.memos import Seen
from event_processor.domain.registry import Registry
from event_processor.domain.replay import replay
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.domain.rules import Count, Latch, Notify, Rule, SetOff, Trigger, Window
from event_processor.domain.state import HubState

START = 1_700_000_000.0
ROOMS = ("Kitchen", "Hall", "Porch", "Cellar", "Garage", "Attic", "Bath", "Garden")


def registry(devices: int) -> Registry:
    """Devices of three entities each, one of which takes commands."""
    known = Registry()
    for number in range(devices):
        device = f"zigbee2mqtt_0x00158d{number:010x}"
        room = ROOMS[number % len(ROOMS)]
        known.put_device(DeviceInfo(id=device, name=f"{room} {number}", convention="homeassistant", room=room))
        for kind in ("motion", "temperature", "switch"):
            command = CommandForm(topic=f"zigbee2mqtt/{number}/set", payloads=PAYLOADS) if kind == "switch" else None
            key = f"{room} {number} {kind}"
            known.put_entity(Entity(key=key, device=device, name=kind, type=kind, room=room, command=command))
    return known


PAYLOADS = {"on": "ON", "off": "OFF"}


def rules(unrelated: int) -> list[Rule]:
    """One rule that concerns every motion, and others that concern none of the devices: half by name, half by pattern."""
    concerned = Rule(
        id="motion",
        trigger=(Trigger(type="motion", on="level"),),
        condition='event.active and (device("Hall 1 temperature").value ?? 20) < 60',
        window=(Window(start="00:00", end="24:00"),),
        count=Count(times=2, within_s=600),
        latch=Latch(seconds=30),
        action=(SetOff(output="siren"), Notify(text="{device} moved")),
    )
    others = [
        Rule(
            id=f"other-{number}",
            trigger=(Trigger(device=f"Elsewhere {number}" if number % 2 else f"Elsewhere {number} *"),),
            condition="event.active",
            action=(SetOff(output="lamp"),),
        )
        for number in range(unrelated)
    ]
    return [concerned, *others]


def engine(devices: int, unrelated: int) -> Engine:
    """An engine that knows so many devices and rules."""
    return Engine(Rulebook(compile_rules(rules(unrelated)), outputs=[make_output("siren")]), registry(devices))


def stream(devices: int, count: int) -> list[Event]:
    """Reports of motion sensors and thermometers, each device in its turn by chance."""
    chance = random.Random(7)
    events: list[Event] = []
    for number in range(count):
        device = chance.randrange(devices)
        kind = "motion" if number % 2 else "temperature"
        events.append(
            Event(
                device=f"{ROOMS[device % len(ROOMS)]} {device} {kind}",
                kind="input",
                type=kind,
                active=chance.random() < 0.5 if kind == "motion" else None,
                value=None if kind == "motion" else round(chance.uniform(15, 25), 1),
                created_at=START + number * 0.01,
                source="mqtt",
                topic=f"zigbee2mqtt/{device}",
            )
        )
    return events


def once(subject: Engine, events: Sequence[Event]) -> float:
    """Seconds per event."""
    begun = time.perf_counter()
    for number, event in enumerate(events):
        subject.take(event, f"e{number}", event.created_at)
        subject.due(event.created_at)
    return (time.perf_counter() - begun) / len(events)


def cost(variants: dict[str, tuple[int, int]], count: int, rounds: int = 15) -> dict[str, float]:
    """Microseconds per event of each variant (devices, unrelated rules): the best of several rounds, taken in turn, so that a
    busy machine slows all of them alike. Every entity was heard before, as in a house that runs."""
    ready = {name: (engine(*sizes), stream(sizes[0], count)) for name, sizes in variants.items()}
    for name, (subject, events) in ready.items():
        for number in range(variants[name][0]):
            for kind in ("motion", "temperature"):
                key = f"{ROOMS[number % len(ROOMS)]} {number} {kind}"
                known = Event(device=key, kind="input", type=kind, created_at=START - 9, source="mqtt", topic="x")
                subject.take(known, "warm", START - 9)
        once(subject, events)
    taken: dict[str, list[float]] = {name: [] for name in ready}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, (subject, events) in ready.items():
            taken[name].append(once(subject, events) * 1e6)
    gc.enable()
    return {name: min(times) for name, times in taken.items()}


def memory(devices: int) -> tuple[float, float]:
    """Bytes per device of three entities: of the state as the rules see it, and of that and the registry together."""
    gc.collect()
    tracemalloc.start()
    known = registry(devices)
    described = tracemalloc.get_traced_memory()[0]
    state = HubState()
    subject = Engine(Rulebook(compile_rules(rules(10))), known, state)
    for number in range(devices):
        for kind in ("motion", "temperature", "switch"):
            key = f"{ROOMS[number % len(ROOMS)]} {number} {kind}"
            # As it comes from a broker: every text a new object, as decoding makes them.
            thermometer = kind == "temperature"
            event = Event(
                device=str(key.encode(), "utf-8"),
                kind="input",
                type=str(kind.encode(), "utf-8"),
                active=None if thermometer else True,
                value=20.0 + number if thermometer else str(b"ON", "utf-8"),
                created_at=START + number,
                source="mqtt",
                topic=f"t/{number}",
            )
            subject.take(event, f"{number}{kind}", START + number)
    gc.collect()
    total = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert isinstance(next(iter(state.values.values())), Seen)
    return (total - described) / devices, total / devices


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=10_000)
    count = arguments.parse_args().events
    found = cost({"few": (10, 1), "devices": (10_000, 1), "rules": (10, 1_000), "both": (10_000, 1_000)}, count)
    print(f"per event: {found['few']:.1f} us with 10 devices and 1 unrelated rule")
    print(f"           {found['devices']:.1f} us with 10,000 devices: ratio of devices {found['devices'] / found['few']:.2f}")
    print(f"           {found['rules']:.1f} us with 1,000 unrelated rules: ratio of rules {found['rules'] / found['few']:.2f}")
    print(f"           {found['both']:.1f} us with both: ratio of both {found['both'] / found['few']:.2f}")
    print(f"decided: {1e6 / found['both']:.0f} events/s with 10,000 devices and 1,000 rules")
    state, total = memory(10_000)
    print(f"memory: {state:.0f} bytes per device in the rules' state, {total:.0f} with its description")
    events = [(f"e{number}", event.created_at, event) for number, event in enumerate(stream(1_000, 100_000))]
    rates: list[float] = []
    for _ in range(3):
        begun = time.perf_counter()
        report = replay(events, engine(1_000, 100), engine(1_000, 100))
        rates.append(len(events) / (time.perf_counter() - begun))
        assert not report.differing
    print(f"replay: {statistics.median(rates):.0f} events/s through the old rules and the new, {report.events} events")


if __name__ == "__main__":
    main()
