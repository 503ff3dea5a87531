"""How fast stored events are decided on once more: 100,000 of them through the hub's rules and through changed ones.

They are decided on and stored first as the hub does it, in a SQLite file; then ``event-processor rules replay`` runs on that
file, and its figures are compared with what was stored.

    python benchmarks/replay.py [--events 100000]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from event_processor.domain.engine import Engine
from event_processor.domain.events import Event
from event_processor.domain.outcome import Outcome
from event_processor.domain.rule_file import load
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.store.batch import BatchWriter
from event_processor.store.database import Database
from event_processor.store.rows import rows_of

SETTINGS = """
[rabbitmq]
server_address = localhost
mq_exchange = home

[mqtt]
server_address = localhost

[app]
state_dir = {folder}

[output:siren]
type = siren
"""
RULES = """
[[rule]]
id = "alarm"
trigger = {device = "* door"}
condition = 'mode == "home" and (device("hall 1 thermometer").value ?? 20) < 60'
latch = {seconds = 30}
action = {do = "output", output = "siren"}

[[rule]]
id = "open"
trigger = {type = "door"}
for_s = 20
action = {do = "notify", text = "{device} is open"}

[[rule]]
id = "restless"
trigger = {type = "motion", on = "level"}
count = {times = 3, within_s = 60}
window = [{start = "22:00", end = "06:00"}]
action = {do = "output", output = "lamp"}

[[rule]]
id = "hot"
trigger = {type = "thermometer", on = "change"}
condition = "event.value > 29"
latch = {seconds = 600}
action = {do = "notify", text = "{device} reads {value}"}
"""
ROOMS = ("hall", "kitchen", "porch", "cellar", "garage", "attic", "bath", "garden")


def stream(count: int, start: float) -> list[Event]:
    """Doors, motion sensors and thermometers of eight rooms, by chance."""
    chance, events, at = random.Random(11), [], start
    for _ in range(count):
        at += chance.uniform(0.2, 2.0)
        kind = chance.choice(("door", "motion", "thermometer", "thermometer"))
        device = f"{chance.choice(ROOMS)} {chance.randrange(12)} {kind}"
        value = round(chance.uniform(15, 30), 1) if kind == "thermometer" else None
        active = None if kind == "thermometer" else chance.random() < 0.5
        events.append(
            Event(
                device=device, kind="input", created_at=at, source="mqtt", topic=f"sensor/{device}", type=kind,
                value=active if value is None else value, active=active,
            )
        )  # fmt: skip
    return events


def store(events: list[Event], path: Path) -> int:
    """Decide on the events and store what comes of it. Gives the number of firings."""
    engine = Engine(Rulebook(compile_rules(load(RULES).rule)))
    database = Database(path)
    database.open()
    writer, waiting, fired = BatchWriter(database.connection), [], 0
    for number, event in enumerate(events):
        decided: list[Outcome] = [*engine.due(event.created_at), engine.take(event, f"m~{number}.0", event.created_at)]
        fired += sum(evaluation.fired for outcome in decided for evaluation in outcome.evaluations)
        waiting += [rows_of(outcome) for outcome in decided]
        if len(waiting) >= 500:
            writer.write(waiting, now=event.created_at)
            waiting = []
    writer.write(waiting, now=events[-1].created_at)
    database.close()
    return fired


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory(prefix="replay-") as name:
        folder = Path(name)
        (folder / "app.conf").write_text(SETTINGS.format(folder=folder))
        (folder / "rules.toml").write_text(RULES)
        (folder / "new.toml").write_text(RULES.replace("times = 3", "times = 2"))
        start = time.time() - count * 1.2
        events = stream(count, start)
        live = store(events, folder / "hub.db")
        last = events[-1].created_at
        for file in ("rules.toml", "new.toml"):
            command = [
                sys.executable, "-m", "event_processor.cli", "--config", str(folder / "app.conf"), "rules", "replay", "--json",
                "--since", f"{time.time() - start + 1:.0f}s",
                "--with", str(folder / file),
            ]  # fmt: skip
            begun = time.monotonic()
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
            whole = time.monotonic() - begun
            report = json.loads(done.stdout)
            before = sum(report["fired_before"].values())
            different = len(report["differing"]) + report["more"]
            print(
                f"{file}: {report['events']} events, {report['events'] / whole:.0f} events/s for the whole command; "
                f"{different} decisions differ, fired {before} before, {live} live"
            )
            # The clock runs on to now: a wait of the last seconds may end after the last event.
            if report["events"] != count or before < live or before > live + 20 or last > time.time():
                print("the replay is not what was live", file=sys.stderr)
                return 1
            if (different == 0) != (file == "rules.toml"):
                print("only changed rules may make a difference", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
