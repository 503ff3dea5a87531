"""What of the first hub's files becomes a section of ``app.conf``: brokers, outputs, schedules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from event_processor.domain.links import make_output
from event_processor.domain.schedules import make_schedule
from event_processor.store.original import Original, Row, flag, number, word
from pylib.errors import ConfigError

__all__ = ["sections_of", "slug"]

# Options that mean the same here, by section: theirs, ours.
_SAME: Final = {
    ("rabbitmq", "server_address"): ("rabbitmq", "server_address"),
    ("rabbitmq", "mq_exchange"): ("rabbitmq", "mq_exchange"),
    ("mqtt", "server_address"): ("mqtt", "server_address"),
    ("app", "max_message_validity_seconds"): ("hub", "max_event_age_s"),
    ("app", "max_heartbeat_delay_seconds"): ("hub", "stale_after_s"),
    ("app", "user_tz"): ("hub", "timezone"),
}
_USED: Final = {("info_notify", "not_before_time"), ("info_notify", "not_after_time"), ("mqtt", "subscription_sources")}
_TOPICS: Final = ("mqtt", "subscription_sources")


def slug(name: str) -> str:
    """A rule's or schedule's id of a device's name: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60].lower() or "device"


def sections_of(
    original: Original,
    inputs: Mapping[object, Row],
    outputs: Mapping[object, Row],
    rules: Mapping[object, str],
    notes: list[str],
) -> dict[str, dict[str, str]]:
    """Sections by name, each with its options; what has no place in them is added to the notes."""
    found: dict[str, dict[str, str]] = {}
    for section, options in original.conf.items():
        for option in options:
            value = original.option(section, option)
            if (section, option) == _TOPICS and value:
                topics = [topic.strip() for topic in value.split(",") if topic.strip()]
                found.setdefault("mqtt", {})["subscribe"] = ", ".join(t if "#" in t or "+" in t else f"{t}/#" for t in topics)
            elif (section, option) in _SAME:
                ours, name = _SAME[section, option]
                if value:
                    found.setdefault(ours, {})[name] = value
                else:
                    notes.append(f"app.conf [{section}] {option}: it was filled in from outside; set {name} in [{ours}].")
            elif (section, option) not in _USED and section != "output_types":
                notes.append(f"app.conf [{section}] {option}: there is nothing like it here; left out.")
    for row in outputs.values():
        _output(row, original, found, notes)
    for ident, row in inputs.items():
        _schedules(row, rules.get(ident), found, notes)
    return found


def _output(row: Row, original: Original, found: dict[str, dict[str, str]], notes: list[str]) -> None:
    key, kind = word(row, "device_key"), word(row, "device_type")
    if kind.lower() == "sms":
        return  # a notification in the rule that had it
    mapped = original.option("output_types", kind.lower()) or kind
    options = {"type": re.sub(r"[^\w-]", "_", mapped, flags=re.ASCII).lower()}
    if label := word(row, "device_label"):
        options["label"] = " ".join(label.split())
    if params := word(row, "device_params"):
        options["params"] = params
    if flag(row, "device_enabled") is False:
        options["enabled"] = "no"
    if topic := word(row, "trigger_topic"):
        notes.append(f"{key}: it had the routing key {topic}; outputs are reached by event.control.{options['type']} here.")
    if number(row, "trigger_interval"):
        notes.append(f"{key}: at most once in {number(row, 'trigger_interval'):g} s; set min_interval_s for it.")
    if word(row, "schedule"):
        notes.append(f"{key}: its own schedule {word(row, 'schedule')!r} is left out; write a [schedule:...] for it.")
    try:
        make_output(key, type=options["type"], label=options.get("label", ""), params=options.get("params"))
    except ConfigError as error:
        notes.append(f"{key}: it cannot be an output here ({error}); left out.")
        return
    if re.search(r"[\]\n]", key):
        notes.append(f"{key!r}: a name with ] or a line's end cannot head a section; left out.")
        return
    found[f"output:{key}"] = options


def _schedules(row: Row, rule: str | None, found: dict[str, dict[str, str]], notes: list[str]) -> None:
    """The daily times at which an input was armed and disarmed: now its rule is switched on and off."""
    key = word(row, "device_key")
    times = {verb: word(row, f"auto_schedule_{verb}") for verb in ("enable", "disable")}
    if not any(times.values()):
        return
    if rule is None:
        notes.append(f"{key}: it was armed by the clock, and has no rule that could be; left out.")
        return
    on = flag(row, "auto_schedule") is not False
    for verb, at in times.items():
        if not at:
            continue
        ident, task = f"{rule}-{verb}", f"{verb} rule {rule}"
        try:
            make_schedule(ident, at=at, do=[task], enabled=on)
        except ConfigError as error:
            notes.append(f"{key}: its time to {verb}, {at!r}, is not understood ({error}); left out.")
            continue
        found[f"schedule:{ident}"] = {"at": at, "do": task} | ({} if on else {"enabled": "no"})
