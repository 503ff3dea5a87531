"""``event-processor rules replay``: stored events once more, through other rules. Which decisions differ?"""

from __future__ import annotations

import argparse
import time
from datetime import tzinfo

import msgspec

from event_processor.app import rulebook
from event_processor.commands.list_devices import state_of
from event_processor.commands.opening import moment, reader, rules_of, span
from event_processor.commands.output import clock, print_json, print_table, progress, visible
from event_processor.domain.replay import Done, Report
from event_processor.settings import load, read_rules
from event_processor.store.replaying import replay_from
from pylib.config import app_config

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Replay, and print what differs. Nothing is sent, and nothing is stored."""
    settings = load(app_config)
    zone = settings.house.zone
    since = moment(options.since, zone)
    until = time.time() if options.until is None else moment(options.until, zone)
    file = read_rules(settings)
    tried = file if options.rules is None else rules_of(options.rules)
    old = None if options.rules is None else rulebook(settings, file)
    opened = reader(settings.house)
    begun = time.monotonic()
    try:
        with progress() as tell:
            report = replay_from(
                opened, old, rulebook(settings, tried), state_of(opened)[1], since, until, span(options.warm_up), tell
            )
    finally:
        opened.close()
    seconds = time.monotonic() - begun
    if options.json:
        shown = msgspec.structs.asdict(report) | {"since": since, "until": until, "seconds": seconds}
        print_json(shown)
    else:
        _print(report, zone, options.most, old is None)
        print(f"{report.events:,} events from {clock(since, zone)} to {clock(until, zone)}, in {seconds:.1f} s.")
    return 0


def _print(report: Report, zone: tzinfo, most: int, alone: bool) -> None:
    for difference in report.differing[:most]:
        print(visible(f"{clock(difference.at, zone)}  {difference.rule or 'a request'}, {difference.device}"))
        if not alone:
            print(visible(f"    before: {_said(difference.before)}"))
        print(visible(f"    {'now' if not alone else 'it would be'}: {_said(difference.after)}"))
    left = len(report.differing) - most + report.more if len(report.differing) > most else report.more
    if left > 0:
        print(f"... and {left:,} more: --most shows more of them, --json all.")
    rules = sorted({*report.fired_before, *report.fired_after} - {""})
    if rules:
        rows = [(rule, str(report.fired_before.get(rule, 0)), str(report.fired_after.get(rule, 0))) for rule in rules]
        heads = ("rule", "fired before", "fired now")
        print_table(heads, rows) if not alone else print_table(("rule", "fired"), [(row[0], row[2]) for row in rows])
    if not alone:
        total = len(report.differing) + report.more
        print(f"{total:,} decisions differ." if total else "No decision differs.")


def _said(done: Done | None) -> str:
    """What a rule did with it, in a sentence, and what left."""
    if done is None:
        return "it did not look"
    return done.explanation + (f" [{', '.join(done.steps)}]" if done.steps else "")
