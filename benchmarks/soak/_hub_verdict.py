"""What must be true of hubs that were killed: everything decided once, nothing lost, and all as if nobody had been killed.

``verify`` compares what was stored and sent with an engine that was never killed and is told the same, at the moments at which
the hubs decided; and with a few lines that share nothing with the engine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from benchmarks.soak._hub_world import COUNT_WITHIN_S, FOR_S, LATCH_S, Receivers
from event_processor.app import rulebook
from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.outcome import Outcome
from event_processor.settings import load, read_rules
from event_processor.store import tables as t
from event_processor.store.reader import Reader
from event_processor.store.rows import event_of, prompt_of
from pylib.config import AppConfig

# Seconds that a timer may wait: at a start for what the brokers kept, and on a busy machine.
LATE_S = 2.0
# The causes of timers; other rows without an event are of starts and of what is known of devices.
TIMERS = re.compile("[0-9a-f]{24}")


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
