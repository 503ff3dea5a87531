"""The file in which schedules are kept that were not written into ``app.conf``: TOML, one ``[[schedule]]`` per schedule.

    [[schedule]]
    id = "evening"
    at = "22:30"
    days = "mon-fri"
    do = ["mode night", "command Hall Light = off"]

Reading and writing again gives an equal file. What is wrong with one is a ``Problem`` that names the schedule and the field,
and says what to write. ``docs/reference/schedules.md`` explains everything that can stand here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from datetime import time
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from event_processor.domain.schedule_times import Place, next_after, read_cron, read_daily, read_days, read_sun, zone_of
from event_processor.domain.schedules import Missed, Schedule, make_schedule, read_task
from event_processor.domain.toml_text import lines_of, place
from pylib.errors import ConfigError, PylibError

__all__ = [
    "MOST_SCHEDULES", "MOST_TASKS", "Problem", "ScheduleFile", "ScheduleSpec", "check", "check_spec", "compile_schedules",
    "edited", "export", "load", "make", "place_problems",
]  # fmt: skip

MOST_FILE: Final = 1_000_000
"""Bytes of a file of schedules."""

MOST_SCHEDULES: Final = 1000
"""Schedules in a file."""

MOST_LINE: Final = 400
"""Characters of a field of a schedule."""

MOST_TASKS: Final = 50
"""Things that one schedule does."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HEAD: Final = re.compile(r"^[ \t]*\[\[[ \t]*schedule[ \t]*\]\]", re.MULTILINE)
_REFERENCE: Final = "docs/reference/schedules.md"

Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=MOST_LINE)]


class ScheduleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A schedule as it is written: one of ``at``, ``cron`` and ``sun``, and what to do, a line each."""

    id: Annotated[str, msgspec.Meta(max_length=64)]
    name: Line = ""
    at: Line = ""
    cron: Line = ""
    sun: Line = ""
    days: Line = ""
    do: Annotated[tuple[Line, ...], msgspec.Meta(max_length=MOST_TASKS)] = ()
    missed: Missed = "skip"
    zone: Line = ""
    enabled: bool = True

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.id


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong (``error``: the schedule cannot be used) or looks wrong (``warning``)."""

    schedule: str
    field: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = ": ".join(part for part in (f"schedule {self.schedule}" if self.schedule else "", self.field) if part)
        return f"{self.severity}: {where}: {self.message}" if where else f"{self.severity}: {self.message}"


class ScheduleFile(msgspec.Struct, frozen=True):
    """All that a file says."""

    schedule: tuple[ScheduleSpec, ...] = ()


# ---------------------------------------------------------------------------------------------------------- one schedule


def make(spec: ScheduleSpec) -> Schedule:
    """The schedule that was written. Raises ``ConfigError``."""
    return make_schedule(
        spec.id, at=spec.at, cron=spec.cron, sun=spec.sun, days=spec.days, do=spec.do, name=spec.name,
        enabled=spec.enabled, missed=spec.missed, zone=spec.zone,
    )  # fmt: skip


def check_spec(spec: ScheduleSpec) -> list[Problem]:
    """Everything that is wrong with a schedule, whatever else there is."""
    found: list[Problem] = []

    def attempt(field: str, read: Callable[[], object]) -> None:
        try:
            read()
        except PylibError as error:
            option, colon, rest = str(error).partition(": ")
            known = bool(colon) and option in ScheduleSpec.__struct_fields__
            found.append(_error(spec.id, option if known else field, rest if known else str(error)))

    if not _ID.fullmatch(spec.id):
        found.append(_error(spec.id, "id", f"expected up to 64 letters, digits, - and _, got {spec.id!r}"))
    found += [
        _error(spec.id, field, "it has a character that cannot be printed")
        for field in ("name", "at", "cron", "sun", "days", "zone")
        if not str(getattr(spec, field)).isprintable()
    ]
    given = [field for field in ("at", "cron", "sun") if getattr(spec, field).strip()]
    if len(given) != 1:
        more = f", not {' and '.join(given)}" if given else ""
        found.append(_error(spec.id, given[-1] if given else "at", f"a schedule has one of at, cron and sun{more}"))
    if spec.at.strip():
        attempt("at", lambda: read_daily(spec.at))
    if spec.cron.strip():
        attempt("cron", lambda: read_cron(spec.cron))
    if spec.sun.strip():
        attempt("sun", lambda: read_sun(spec.sun))
    attempt("days", lambda: read_days(spec.days))
    if spec.cron.strip() and spec.days.strip():
        found.append(_error(spec.id, "days", "a cron expression has its days in its last field; leave days out"))
    if spec.zone:
        attempt("zone", lambda: zone_of(spec.zone))
    if not spec.do:
        found.append(_error(spec.id, "do", "the schedule does nothing; write for example mode night"))
    for line in spec.do:
        if not line.isprintable():
            found.append(_error(spec.id, "do", "it has a character that cannot be printed"))
        attempt("do", lambda line=line: read_task(line))  # type: ignore[misc]  # bound in the loop
    if not found:
        attempt("at", lambda: make(spec))
    return found


def place_problems(schedule: Schedule, house: Place, now: float) -> list[Problem]:
    """What is wrong with a schedule at this house: the sun is asked for, and nobody knows where the house is."""
    try:
        next_after(schedule.when, now, schedule.place(house))
    except PylibError as error:
        field, colon, text = str(error).partition(": ")
        return [_error(schedule.id, field if colon and field in ("sun", "zone") else "", text if colon else str(error))]
    return []


# -------------------------------------------------------------------------------------------------------------- the file


def load(text: str, where: str = "schedules.toml") -> ScheduleFile:
    """Read a file. Raises ``ConfigError`` with every error in it, one a line, each with ``where`` in front of it."""
    file, problems = _read(text)
    if problems:
        raise ConfigError("\n".join(f"{where}: {str(problem).removeprefix('error: ')}" for problem in problems))
    return file


def check(text: str) -> list[Problem]:
    """Say all that is wrong with a file, on its own."""
    return _read(text)[1]


def compile_schedules(
    known: Iterable[Schedule], file: ScheduleFile, house: Place, now: float, where: str = "schedules.toml"
) -> tuple[Schedule, ...]:
    """All schedules of a hub: those of ``app.conf`` and then those of the file.

    :raises ConfigError: an id is there twice, or a schedule cannot be used at this house; one line for each.
    """
    conf = tuple(known)
    own = tuple(map(make, file.schedule))
    taken = {schedule.id.lower(): schedule for schedule in conf}
    problems = [
        _error(schedule.id, "id", f"app.conf has [schedule:{taken[schedule.id.lower()].title}] too: give one another id")
        for schedule in own
        if schedule.id.lower() in taken
    ]
    wrong = [f"{where}: {str(each).removeprefix('error: ')}" for each in problems]
    for place_of, some in (("app.conf", conf), (where, own)):
        found = [problem for schedule in some for problem in place_problems(schedule, house, now)]
        wrong += [f"{place_of}: {str(each).removeprefix('error: ')}" for each in found]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return (*conf, *own)


def export(file: ScheduleFile) -> str:
    """Write a file that ``load`` reads as the same. Values that are as they would be anyway are left out."""
    return "\n".join(_block(spec) for spec in file.schedule)


def edited(text: str, ident: str, spec: ScheduleSpec | None) -> str:
    """The file with another schedule of this id: replaced where it stands, added at the end, or without it.

    What else stands there, comments too, stays as it was written, unless the text is laid out in a way in which that cannot
    be done safely: then all of it is written anew. Raises ``ConfigError`` for a text that has errors.
    """
    before = load(text).schedule
    number = next((at for at, each in enumerate(before) if each.id == ident), len(before))
    after = ScheduleFile((*before[:number], *((spec,) if spec is not None else ()), *before[number + 1 :]))
    heads = [found.start() for found in _HEAD.finditer(text)]
    if len(heads) == len(before):
        new = _spliced(text, [*heads, len(text)], number, "" if spec is None else _block(spec))
        if check(new) == [] and load(new) == after:
            return new
    return export(after)


def _spliced(text: str, heads: list[int], number: int, block: str) -> str:
    start = heads[number]
    if number == len(heads) - 1:
        return f"{text.rstrip()}\n\n{block}" if text.strip() else block
    lines = text[start : heads[number + 1]].splitlines(keepends=True)
    # What stands below the last of its lines belongs to the schedule that follows.
    last = max((at for at, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), default=0)
    return text[:start] + block + "".join(lines[last + 1 :]) + text[heads[number + 1] :]


def _block(spec: ScheduleSpec) -> str:
    return "[[schedule]]\n" + lines_of(msgspec.to_builtins(spec))


def _read(text: str) -> tuple[ScheduleFile, list[Problem]]:
    """Read what can be read, and note the rest."""
    if len(text.encode("utf-8", "replace")) > MOST_FILE:
        return ScheduleFile(), [_error("", "", f"the file is larger than {MOST_FILE} bytes")]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return ScheduleFile(), [_error("", "", f"this is no TOML: {error}")]
    problems = [_error("", name, "expected [[schedule]], and nothing else") for name in sorted(document.keys() - {"schedule"})]
    written = document.get("schedule", [])
    if not isinstance(written, list) or not all(isinstance(one, dict) for one in written):
        text = "write each schedule under a line [[schedule]], in two brackets"
        return ScheduleFile(), [*problems, _error("", "schedule", text)]
    if len(written) > MOST_SCHEDULES:
        text = f"there are {len(written)} schedules, and {MOST_SCHEDULES} is the limit"
        return ScheduleFile(), [*problems, _error("", "schedule", text)]
    found: dict[str, ScheduleSpec] = {}
    for number, one in enumerate(written, 1):
        spec = _spec(one, number, problems)
        if spec is not None and spec.id.lower() in found:
            problems.append(_error(spec.id, "id", "two schedules have this id: give one of them another"))
        elif spec is not None:
            found[spec.id.lower()] = spec
    return ScheduleFile(tuple(found.values())), problems


def _spec(written: dict[str, object], number: int, problems: list[Problem]) -> ScheduleSpec | None:
    name = written.get("id")
    ident = name if isinstance(name, str) and name else f"number {number} of the file"
    plain = {field: value.isoformat() if isinstance(value, time) else value for field, value in written.items()}
    if isinstance(plain.get("do"), str):  # one thing need not be written as a list of one
        plain["do"] = [plain["do"]]
    try:
        spec = msgspec.convert(plain, ScheduleSpec)
    except msgspec.ValidationError as error:
        field, message = place(str(error), _REFERENCE)
        problems.append(_error(ident, field, message[:1].lower() + message[1:]))
        return None
    wrong = check_spec(spec)
    problems.extend(wrong)
    return None if wrong else spec


def _error(schedule: str, field: str, message: str) -> Problem:
    return Problem(schedule=schedule, field=field, message=message)
