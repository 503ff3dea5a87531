"""Makes of what the first hub left what this one understands: rules, outputs, schedules, meters, and its history.

    found = convert(read_original(database, app_conf))
    found.rules_toml      the rules, as rules.toml
    found.app_conf        outputs, schedules and settings, as sections of app.conf
    found.notes           what was not carried over, or not as it was, in sentences
    store_history(...)    its event log and registers, into the store

How its columns are understood is in ``docs/how-to/back-up-and-restore.md``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from sqlalchemy import URL

from event_processor.domain.events import Event
from event_processor.domain.meters import Reading
from event_processor.domain.outcome import Check, Evaluation, Outcome
from event_processor.domain.records import MeterRecord
from event_processor.domain.rule_file import RuleFile, export
from event_processor.domain.rules import ActionOf, Count, Latch, Notify, Rule, SetOff, Trigger, Window
from event_processor.store.batch import BatchWriter
from event_processor.store.database import Database
from event_processor.store.original import Original, Row, flag, number, word
from event_processor.store.original_sections import sections_of, slug
from event_processor.store.rows import rows_of
from pylib.errors import Rejected

__all__ = ["Imported", "convert", "store_history"]

OLD_LATCH: Final = 60.0
"""Seconds for which the hub of 2023 held still after an activation where nobody had said otherwise."""

OLD_COUNT: Final = Count(times=2, within_s=10.0)
SLICE: Final = 500
_UNSPOKEN: Final = ("bluetooth", "tts")


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the first hub's files. ``notes`` are sentences for a person, each naming what it is about."""

    rules: RuleFile
    sections: dict[str, dict[str, str]]
    history: int
    notes: tuple[str, ...]

    @property
    def rules_toml(self) -> str:
        """The rules, as a file."""
        return export(self.rules)

    @property
    def app_conf(self) -> str:
        """The sections, as a file. Parameters of outputs may hold addresses with passwords: keep it to its owner."""
        parts = []
        for section, options in self.sections.items():
            lines = "".join(f"{name} = {value.replace(chr(10), chr(10) + '    ')}\n" for name, value in options.items())
            parts.append(f"[{section}]\n{lines}")
        return "\n".join(parts)


def convert(original: Original) -> Imported:
    """Make rules and settings. Pure, and never raises: what cannot be understood is in the notes."""
    notes = list(original.notes)
    inputs = {row.get("id"): row for row in original.rows("input_config") if word(row, "device_key")}
    outputs = {row.get("id"): row for row in original.rows("output_config") if word(row, "device_key")}
    linked: dict[object, list[Row]] = {}
    for link in original.rows("output_link"):
        source, target = inputs.get(link.get("input_device_id")), outputs.get(link.get("output_device_id"))
        if source is None or target is None:
            notes.append(f"output_link {link.get('id')}: it links devices that are not there; left out.")
        else:
            linked.setdefault(link.get("input_device_id"), []).append(target)
    meters = {row.get("input_device_id"): row for row in original.rows("meter_config")}
    rules: list[Rule] = []
    groups: dict[str, list[str]] = {}
    ids: dict[object, str] = {}
    for ident, row in inputs.items():
        key = word(row, "device_key")
        if group := word(row, "group_name"):
            groups.setdefault(group, []).append(key)
        if not linked.get(ident) and not number(row, "activation_escalation"):
            notes.append(f"{key}: nothing was linked to it, so there is no rule for it. It is known as soon as it is heard.")
            continue
        ids[ident] = _free(slug(key), {rule.id for rule in rules})
        rules += _rules(row, ids[ident], linked.get(ident, []), meters.get(ident), original, notes)
    for link in original.rows("input_link"):
        names = [
            word(inputs.get(link.get(column), {}), "device_key") or "?" for column in ("input_device_id", "linked_device_id")
        ]
        notes.append(
            f"{names[0]} and {names[1]} were linked, which the first hub showed and never did anything with; left out."
        )
    notes += [
        f"general_config {word(row, 'config_key', 'key')!r}: a setting of the first hub's own; left out."
        for row in original.rows("general_config")
    ]
    for row in original.rows("meter_config"):
        notes += _meter_notes(word(inputs.get(row.get("input_device_id"), {}), "device_key") or "a meter", row)
    if original.rows("heartbeat"):
        notes.append("heartbeat: when the first hub was last alive is of no use here; left out.")
    sections = sections_of(original, inputs, outputs, ids, notes)
    return Imported(
        rules=RuleFile(rule=tuple(rules), group={name: tuple(keys) for name, keys in groups.items()}),
        sections=sections,
        history=len(original.rows("event_log")),
        notes=tuple(notes),
    )


def _rules(
    row: Row, ident: str, outputs: list[Row], meter: Row | None, original: Original, notes: list[str]
) -> Iterator[Rule]:
    """One input's rules: for what is linked to it, and for its escalation."""
    key, label = word(row, "device_key"), word(row, "device_label", "device_key")
    is_meter = meter is not None or word(row, "device_type").lower() == "meter"
    trigger = (Trigger(device=key, on="report" if is_meter else "level"),)
    enabled = bool(flag(row, "device_enabled"))
    actions: list[ActionOf] = []
    for output in outputs:
        kind = word(output, "device_type").lower()
        if kind == "sms":
            actions.append(Notify(title=label, image=True))
        else:
            actions.append(SetOff(output=word(output, "device_key")))
            if kind in _UNSPOKEN:
                notes.append(
                    f"{word(output, 'device_key')}: the first hub never sent anything to a {kind} output; now it does."
                )
    if actions:
        yield Rule(
            id=ident,
            name=label,
            enabled=enabled,
            trigger=trigger,
            condition=_limits(key, meter, notes) if is_meter else "",
            window=_window(row, key, original, notes),
            count=_count(row),
            latch=_latch(row),
            max_age_s=_seconds(original.option("app", "max_message_validity_seconds"), 120.0),
            action=tuple(actions),
        )
    lasts = number(row, "activation_escalation")
    if lasts:
        yield Rule(
            id=f"{ident[:52]}-escalation",
            name=f"{label}: still active",
            enabled=enabled,
            trigger=(Trigger(device=key),),
            for_s=lasts,
            action=(Notify(title=label, text=f"{{device}} has been active for {lasts:g} s"),),
        )
        notes.append(
            f"{key}: its escalation went to an incident service; now it is a notification, after {lasts:g} s without a break."
        )


def _limits(key: str, meter: Row | None, notes: list[str]) -> str:
    low, high = (number(meter or {}, column) for column in ("meter_low_limit", "meter_high_limit"))
    if 0 in (low, high):
        notes.append(f"{key}: a limit of 0 meant none, and is left out. Write it into the rule's condition if it was meant.")
    parts = [f"event.value {sign} {limit:g}" for sign, limit in (("<", low), (">", high)) if limit]
    if not parts:
        notes.append(f"{key}: it had no limits, so its readings set nothing off: its rule waits for a condition.")
        return "false"
    return " or ".join(parts)


def _meter_notes(key: str, row: Row) -> Iterator[str]:
    for column, option in (
        ("meter_reading_unit", "unit"),
        ("meter_reading_unit_factor", "factor"),
        ("meter_reading_unit_precision", "precision"),
        ("meter_iot_topic", "control_topic"),
    ):
        if value := word(row, column):
            yield f"{key}: its {column} was {value!r}; the same is {option} in [meter:{key}]."
    if word(row, "meter_reset_value"):
        yield f"{key}: it was reset to {word(row, 'meter_reset_value')} by a button; left out."


def _latch(row: Row) -> Latch | None:
    column = "trigger_latch_duration" if "trigger_latch_duration" in row else "activation_interval"
    seconds = number(row, column)
    if seconds is None and column == "activation_interval" and column in row:
        seconds = OLD_LATCH
    return Latch(seconds=seconds) if seconds and seconds > 0 else None


def _count(row: Row) -> Count | None:
    times, within = number(row, "multi_trigger_rate"), number(row, "multi_trigger_interval")
    if times and within and times > 1 and within > 0:
        return Count(times=int(times), within_s=within)
    return OLD_COUNT if flag(row, "multi_trigger") else None


def _window(row: Row, key: str, original: Original, notes: list[str]) -> tuple[Window, ...]:
    """The first hub dropped what came at night from inputs of information; so does the rule's window."""
    if not flag(row, "info_notify"):
        return ()
    start = _clock(original.option("info_notify", "not_before_time"), "07:00")
    end = _clock(original.option("info_notify", "not_after_time"), "21:00")
    notes.append(
        f"{key}: outside {start} to {end} it set nothing off, and does so still; quiet hours of notifications would defer."
    )
    return (Window(start=start, end=end),)


def _clock(written: str, default: str) -> str:
    """A time such as ``9:00 PM`` or ``21:00``."""
    found = re.fullmatch(r"(\d{1,2}):(\d{2})(?::\d{2})?\s*([AaPp][Mm])?", written.strip())
    if found is None:
        return default
    hour, minute = int(found[1]), int(found[2])
    if found[3]:
        hour = hour % 12 + (12 if found[3].lower() == "pm" else 0)
    return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else default


def _seconds(written: str, default: float) -> float:
    try:
        seconds = float(written)
    except ValueError:
        return default
    return seconds if 0 < seconds < 1e7 else default


def _free(wanted: str, taken: set[str]) -> str:
    ident, count = wanted, 1
    while ident in taken:
        count += 1
        ident = f"{wanted[:58]}-{count}"
    return ident


def store_history(original: Original, url: str | os.PathLike[str] | URL) -> int:
    """Put the event log and the registers into a store, which is made where there is none; returns how many events.

    Times without a zone are taken as of ``[app] user_tz``. Doing it again adds nothing twice. Blocks.
    Raises what ``Database.open`` raises.
    """
    zone = _zone(original.option("app", "user_tz"))
    inputs = {row.get("id"): row for row in original.rows("input_config")}
    database = Database(url)
    database.open()
    try:
        writer = BatchWriter(database.connection)
        slice_: list[Outcome] = []
        count = 0
        for outcome in (made for row in original.rows("event_log") if (made := _logged(row, zone)) is not None):
            slice_.append(outcome)
            if len(slice_) == SLICE:
                count += _store(writer, slice_)
                slice_ = []
        count += _store(writer, slice_)
        registers = [
            MeterRecord(cause="", reading=reading)
            for row in original.rows("meter_config")
            if (reading := _register(row, inputs, original.modified_at)) is not None
        ]
        for record in registers:
            writer.write((), records=[record], now=0.0)
        return count
    finally:
        database.close()


def _store(writer: BatchWriter, outcomes: list[Outcome]) -> int:
    rows = []
    for outcome in outcomes:
        try:
            rows.append(rows_of(outcome))
        except Rejected:  # a name that is no text: it was read with replacements already
            continue
    return len(rows) - len(writer.write(rows, now=0.0).repeated)


def _logged(row: Row, zone: ZoneInfo) -> Outcome | None:
    """A line of the event log: this input set off that output."""
    device, output, at = word(row, "input_device"), word(row, "output_device"), _moment(row.get("timestamp"), zone)
    if not device or at is None:
        return None
    # By what it says and not by its number: that may be another one's in a second file.
    digest = hashlib.sha256(f"{row.get('id')}|{device}|{output}|{at!r}".encode()).hexdigest()[:24]
    looked = Evaluation(
        rule="imported",
        device=device,
        at=at,
        fired=True,
        reason="imported",
        explanation=f"{device} set off {output or 'nothing'}, by the event log of the first hub",
        checks=(Check("imported", True, "it is in the event log"),),
    )
    event = Event(
        device=device, kind="input", created_at=at, source="hub", topic="imported", active=True, detail=output or None
    )
    return Outcome(cause=f"imported:{digest}", at=at, event=event, evaluations=(looked,))


def _register(row: Row, inputs: dict[object, Row], at: float) -> Reading | None:
    """Where a register stood. The first hub noted for none when that was: at the latest when its file was written last."""
    key = word(inputs.get(row.get("input_device_id"), {}), "device_key")
    register = number(row, "register_value")
    if not key or register is None:
        return None
    return Reading(entity=key, at=at, register=register, delta=0.0, minute=0.0)


def _moment(value: object, zone: ZoneInfo) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).astimezone(UTC).timestamp()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
