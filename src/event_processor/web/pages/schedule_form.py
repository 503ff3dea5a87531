"""The form of a schedule: what stands in it for one that is there, and the schedule that it makes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

import msgspec
from starlette.datastructures import FormData

from event_processor.domain.schedule_file import Problem, ScheduleSpec
from event_processor.domain.schedule_times import EVERY_DAY, Cron, Daily
from event_processor.domain.schedule_words import clock_text
from event_processor.domain.toml_text import place
from event_processor.web.context import HubContext
from event_processor.web.schedulefile import Shown

__all__ = ["DAYS", "MOST_FORM", "as_sent", "form_of", "new_form", "spec_of_form", "suggestions"]

MOST_FORM: Final = 100_000
"""Bytes of one field of the form."""

MOST_SUGGESTED: Final = 200
"""Things to do that the form offers; others are written by hand."""

DAYS: Final = (
    ("mon", "Mon"), ("tue", "Tue"), ("wed", "Wed"), ("thu", "Thu"), ("fri", "Fri"), ("sat", "Sat"), ("sun", "Sun"),
)  # fmt: skip
_WHEN: Final = {"at": "07:30", "cron": "30 7 * * mon-fri"}
_EVERY: Final = [name for name, _ in DAYS]


def new_form() -> dict[str, object]:
    """What stands in the form for a new schedule."""
    return {
        "id": "", "version": "", "name": "", "kind": "at", "at": "", "cron": "", "event": "sunset", "side": "at",
        "by": "00:30", "day": _EVERY, "do": "", "missed": "skip", "zone": "", "enabled": "yes",
    }  # fmt: skip


def form_of(shown: Shown) -> dict[str, object]:
    """What stands in the form for a schedule that is there."""
    spec, when = shown.written, shown.schedule.when
    form = new_form() | {
        "id": spec.id, "version": shown.version, "name": spec.title, "at": spec.at, "cron": spec.cron,
        "do": "\n".join(spec.do), "missed": spec.missed, "zone": spec.zone, "enabled": "yes" if spec.enabled else "no",
    }  # fmt: skip
    if isinstance(when, Cron):
        return form | {"kind": "cron"}
    form["day"] = [DAYS[day][0] for day in sorted(when.days)]
    if isinstance(when, Daily):
        return form
    side = "at" if not when.offset_s else "after" if when.offset_s > 0 else "before"
    by = clock_text(abs(when.offset_s)) if when.offset_s else "00:30"
    return form | {"kind": "sun", "event": when.event, "side": side, "by": by}


def as_sent(form: FormData) -> dict[str, object]:
    """What stood in the form that was sent, to be shown once more."""
    given = {name: value for name, value in form.items() if isinstance(value, str)}
    return new_form() | given | {"day": form.getlist("day")}


def spec_of_form(form: FormData) -> tuple[ScheduleSpec | None, list[Problem]]:
    """The schedule that a form makes, if any, and what is missing in the form."""

    def said(name: str) -> str:
        value = form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    kind, name = said("kind"), said("name")
    ident = said("id") or _ident(name)
    days = "" if kind == "cron" else ", ".join(day for day in _EVERY if day in form.getlist("day"))
    offset = {"before": f"-{said('by')}", "after": f"+{said('by')}"}.get(said("side"), "")
    written = {
        "id": ident,
        "name": "" if name == ident else name,
        "at": said("at") if kind == "at" else "",
        "sun": said("event") + offset if kind == "sun" else "",
        "cron": said("cron") if kind == "cron" else "",
        "days": "" if len(days.split()) == len(EVERY_DAY) else days,
        "do": [line.strip() for line in said("do").splitlines() if line.strip()],
        "missed": said("missed") or "skip",
        "zone": said("zone"),
        "enabled": said("enabled") != "no",
    }
    missing = [] if name else [Problem(schedule="", field="name", message="give it a name, such as Evening")]
    if kind in _WHEN and not written[kind]:
        missing.append(Problem(schedule=ident, field=kind, message=f"say when, such as {_WHEN[kind]}"))
    try:
        return msgspec.convert(written, ScheduleSpec), missing
    except msgspec.ValidationError as error:
        field, message = place(str(error), "docs/reference/schedules.md")
        wrong = Problem(schedule=ident, field=re.sub(r"\W.*", "", field), message=message[:1].lower() + message[1:])
        return None, [*missing, wrong]


def suggestions(context: HubContext) -> list[tuple[str, list[str]]]:
    """Things that a schedule could do in this house, by what they are about."""
    book = context.rules.book
    commands = [
        f"command {entity.key} = {word}"
        for entity in sorted(context.mirror.entities().values(), key=lambda entity: entity.key.casefold())
        if entity.command is not None
        for word in (*entity.command.payloads, *entity.command.options)[:4]
    ]
    rules = [compiled.rule.id for compiled in book.rules.values() if not compiled.rule.name.startswith("[")]
    others = [each.schedule.id for each in context.schedules.shown()]
    outputs = [output.name for output in book.outputs.values()]
    found = [
        ("The mode becomes", [f"mode {mode.name}" for mode in book.modes.values()]),
        ("A device is told", commands),
        ("What a rule does is done", [f"run {rule}" for rule in rules]),
        ("A rule is switched", [f"{do} rule {rule}" for rule in rules for do in ("enable", "disable")]),
        ("An output is switched", [f"{do} output {output}" for output in outputs for do in ("enable", "disable")]),
        ("A schedule is switched", [f"{do} schedule {other}" for other in others for do in ("enable", "disable")]),
    ]
    room = MOST_SUGGESTED // len(found)
    return [(title, lines[:room]) for title, lines in found if lines]


def _ident(name: str) -> str:
    """An id out of a name: plain letters and digits, and where it has none of these, one that it has to itself."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    ident = re.sub(r"[^a-z0-9_]+", "-", plain).strip("-")[:64]
    return ident or f"schedule-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
