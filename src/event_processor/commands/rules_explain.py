"""``event-processor rules explain``: why was the siren set off, or why was it not?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

import msgspec

from event_processor.app import rulebook
from event_processor.commands.list_devices import state_of
from event_processor.commands.opening import house, moment, reader
from event_processor.commands.output import clock, print_json, visible
from event_processor.domain.explain import explain, rules_about
from event_processor.domain.nearest import did_you_mean
from event_processor.domain.outcome import Evaluation
from event_processor.domain.patterns import is_pattern
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.rules import Trigger
from event_processor.domain.state import HubState
from event_processor.settings import load, read_rules
from event_processor.store.reader import Reader, StoredStep
from pylib.config import app_config
from pylib.errors import ConfigError

__all__ = ["run"]

MOST_LOOKED_AT: Final = 10_000
"""Evaluations of one rule that are looked through, the latest ones."""


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for programs. ``could`` says in words what would have set it off, where nothing did."""

    about: str
    did: bool
    summary: str
    could: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    steps: tuple[StoredStep, ...] = ()


def run(options: argparse.Namespace) -> int:
    """Explain it."""
    settings = load(app_config)
    home = settings.house
    book = rulebook(settings, read_rules(settings))
    since = moment(options.since, home.zone)
    opened = reader(house())
    try:
        answer = _answer(opened, book, options.about, since, options.most, home.zone)
    finally:
        opened.close()
    if options.json:
        print_json(answer)
        return 0
    print(visible(answer.summary))
    for line in answer.could:
        print(visible(f"    {line}"))
    for evaluation in answer.evaluations:
        print(visible(f"{clock(evaluation.at, home.zone)}  {evaluation.explanation}"))
        for check in evaluation.checks:
            print(visible(f"    {'yes' if check.passed else 'no '}  {check.guard}: {check.why}"))
    for step in answer.steps:
        print(visible(f"{clock(step.step.at, home.zone)}  {_went(step)}"))
    return 0


def _answer(opened: Reader, book: Rulebook, about: str, since: float, most: int, zone: tzinfo) -> Explained:
    if not about:
        return _everything(opened, since, most)
    rules = rules_about(about, book)
    state, registry = state_of(opened)
    if rules:
        looked = [one for rule in rules for one in _evaluations(opened, since, MOST_LOOKED_AT, rule=rule)]
        answer = explain(about, since, looked, book, most=most)
        steps = opened.steps(output=_spelt(about, book), since=since, limit=most)
        could = () if answer.evaluations else tuple(_could(rules, book, state, zone))
        summary = answer.summary
        if could:
            summary = f"Nothing that could have set off {about} was heard since {clock(since, zone)}. What could have:"
        return Explained(
            about=about, did=answer.did, summary=summary, could=could, evaluations=answer.evaluations, steps=steps
        )
    known = {key.lower(): key for key in (*registry.entities, *state.values)}.get(about.lower())
    if known is None:
        names = [output.name for output in book.outputs.values()]
        outputs = ", ".join(names) or "none"
        near = did_you_mean(about, (*names, *book.rules, *registry.entities, *state.values)) or "."
        raise ConfigError(
            f"No rule is called {about} or sets it off, and no device has that name{near} Rules: "
            f"{', '.join(book.rules) or 'none'}. Outputs: {outputs}. `event-processor devices` lists the devices."
        )
    found = tuple(_evaluations(opened, since, most, device=known))
    fired = sum(one.fired for one in found)
    seen = state.values.get(known)
    heard = "It was never heard." if seen is None else f"It was heard last at {clock(seen.at, zone)}."
    summary = f"{len(found)} looks of rules at {known}, {fired} of which set something off. {heard}"
    return Explained(about=known, did=fired > 0, summary=summary, evaluations=found)


def _everything(opened: Reader, since: float, most: int) -> Explained:
    found = tuple(_evaluations(opened, since, most))
    fired = sum(one.fired for one in found)
    more = " (there may be more)" if len(found) == most else ""
    return Explained(
        about="", did=fired > 0, summary=f"{len(found)} looks of rules{more}, {fired} of which set something off.",
        evaluations=found,
    )  # fmt: skip


def _evaluations(
    opened: Reader, since: float, most: int, *, rule: str | None = None, device: str | None = None
) -> Iterator[Evaluation]:
    """The latest ones."""
    after = None
    while most > 0:
        page = opened.evaluations(rule=rule, device=device, since=since, after=after, limit=most)
        yield from (one.evaluation for one in page.rows)
        most, after = most - len(page.rows), page.next
        if after is None:
            return


def _could(rules: list[str], book: Rulebook, state: HubState, zone: tzinfo) -> Iterator[str]:
    """What each rule waits for, and when that was heard last."""
    now = time.time()
    for rule_id in rules:
        rule = book.rules[rule_id].rule
        off = not rule.enabled or state.settings.get(f"enabled:rule:{rule_id.lower()}") is False
        for trigger in rule.trigger:
            seen = next((one for key, one in state.values.items() if key.lower() == trigger.device.lower()), None)
            last = "" if seen is None else f"; heard last at {clock(seen.at, zone)}, {_ago(now - seen.at)} ago"
            never = ""
            if seen is None and trigger.device and not is_pattern(trigger.device):
                never = f"; it was never heard{did_you_mean(trigger.device, state.values)}"
            yield f"{rule.title}: {_waits_for(trigger)}{last}{never}{', but it is switched off' if off else ''}"


def _waits_for(trigger: Trigger) -> str:
    words = {
        name: value for name in ("device", "group", "type", "topic", "mode", "schedule", "offline", "online", "signal",
                                 "unconfirmed") if (value := getattr(trigger, name))
    }  # fmt: skip
    what = ", ".join(f"{name} {value}" for name, value in words.items())
    return f"{what} ({trigger.on})" if {"device", "group", "type", "topic"} & words.keys() else what


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _spelt(about: str, book: Rulebook) -> str:
    """An output's name as it is written in the settings."""
    return next((output.name for output in book.outputs.values() if output.name.lower() == about.lower()), about)


def _went(step: StoredStep) -> str:
    """What became of a command."""
    words = {"pending": "was not accepted yet", "done": "was accepted", "failed": "failed", "expired": "came too late"}
    why = f": {step.reason}" if step.reason else ""
    return f"What {step.step.rule or 'a request'} sent to {step.step.output or step.step.address} {words[step.status]}{why}."
