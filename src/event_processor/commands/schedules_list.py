"""``event-processor schedules list``: which schedules there are, when each is due next, and whether it is on."""

from __future__ import annotations

import argparse
import time

import msgspec

from event_processor.commands.opening import reader
from event_processor.commands.output import clock, print_json, print_table
from event_processor.domain.schedule_file import ScheduleSpec
from event_processor.domain.schedule_times import next_after
from event_processor.domain.schedule_words import spec_of
from event_processor.domain.schedules import Schedule, ScheduleState
from event_processor.settings import HubSettings, all_schedules, load, read_schedules
from pylib.config import app_config
from pylib.errors import ConfigError, PylibError

__all__ = ["Listed", "run"]


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, as it is listed. ``next`` is in seconds since the epoch; ``file`` where it is written."""

    id: str
    name: str
    on: bool
    next: float | None
    file: str
    schedule: ScheduleSpec


def run(options: argparse.Namespace) -> int:
    """List them, one a line."""
    settings, now = load(app_config), time.time()
    states, file = _states(settings), read_schedules(settings)
    own = {spec.id for spec in file.schedule}
    found = [
        _listed(schedule, states.get(schedule.id), settings, now, schedule.id in own)
        for schedule in all_schedules(settings, file, now)
    ]
    if options.json:
        print_json(found)
        return 0
    zone = settings.house.zone
    print_table(
        ("schedule", "when", "on", "next", "in"),
        [
            (each.name or each.id, _when(each.schedule), "yes" if each.on else "no",
             clock(each.next, zone) if each.next is not None else "", each.file)
            for each in found
        ],
    )  # fmt: skip
    return 0


def _listed(schedule: Schedule, state: ScheduleState | None, settings: HubSettings, now: float, own: bool) -> Listed:
    on = schedule.is_on(state)
    return Listed(
        id=schedule.id,
        name=schedule.name,
        on=on,
        next=next_after(schedule.when, now, schedule.place(settings.house.place)) if on else None,
        file=(settings.schedules_path if own else app_config.path).name,
        schedule=spec_of(schedule),
    )


def _when(spec: ScheduleSpec) -> str:
    when = spec.at or spec.sun or f"cron {spec.cron}"
    return " ".join(part for part in (when, spec.days, spec.zone) if part)


def _states(settings: HubSettings) -> dict[str, ScheduleState]:
    """What a hub has stored of them; nothing where none has run yet."""
    try:
        opened = reader(settings.house)
    except ConfigError:
        return {}
    try:
        return {key: msgspec.json.decode(value, type=ScheduleState) for key, value in opened.state("schedule").items()}
    except (PylibError, msgspec.DecodeError):
        return {}
    finally:
        opened.close()
