"""What can be wrong with one rule, each with the field and what to write. Used by the rule file and the dashboard alike."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, TypeAlias

from event_processor.domain.conditions import compile_condition
from event_processor.domain.links import check_topic
from event_processor.domain.mapping import compile_mapping
from event_processor.domain.nearest import did_you_mean
from event_processor.domain.patterns import is_pattern, name_matches
from event_processor.domain.rulebook import HAPPENINGS
from event_processor.domain.rules import (
    ActionOf,
    Delay,
    DeviceCommand,
    ModeSpec,
    Notify,
    Rule,
    SetMode,
    SetOff,
    Trigger,
    UnlessAcknowledged,
)
from event_processor.domain.windows import compile_windows
from pylib.errors import ConfigError

__all__ = ["LONGEST_S", "MOST_ACTIONS", "Found", "check_mode", "check_rule"]

LONGEST_S: Final = 31 * 86_400.0
"""Longest duration, delay or interval of a rule, in seconds."""
MOST_ACTIONS: Final = 50
MOST_TIMES: Final = 1_000
MOST_QUEUED: Final = 1_000
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

Found: TypeAlias = tuple[Literal["error", "warning"], str, str]


def check_rule(
    rule: Rule,
    *,
    devices: Mapping[str, str] | None = None,
    outputs: Collection[str] | None = None,
    modes: Collection[str] | None = None,
    groups: Collection[str] = (),
) -> Iterator[Found]:
    """Give all that is wrong with a rule: severity, field, sentence. What exists is given in lower case (devices with how they
    are written); where it is not, names are not looked up."""
    if not _ID.fullmatch(rule.id):
        yield "error", "id", f"expected up to 64 letters, digits, - and _, got {rule.id!r}"
    if not rule.trigger:
        yield "error", "trigger", 'nothing sets this rule off: add trigger = {device = "Front Door"}'
    if not rule.action:
        yield "error", "action", 'this rule does nothing: add action = {do = "output", output = "siren"}'
    if len(rule.action) > MOST_ACTIONS:
        yield "error", "action", f"a rule has at most {MOST_ACTIONS} actions"
    for number, trigger in enumerate(rule.trigger):
        yield from _trigger(trigger, f"trigger[{number}]")
    yield from _condition(rule, devices)
    for field, seconds, least in _durations(rule):
        if not least <= seconds <= LONGEST_S or not math.isfinite(seconds):
            yield "error", field, f"expected {least:g} to {LONGEST_S:g} seconds, got {seconds:g}"
    for number, window in enumerate(rule.window):
        try:
            compile_windows([window])
        except ConfigError as error:
            field, _, message = str(error).partition(": ")
            yield "error", f"window[{number}].{field}", message
    if rule.count is not None and not 0 <= rule.count.times <= MOST_TIMES:
        yield "error", "count.times", f"expected 0 to {MOST_TIMES}, got {rule.count.times}"
    if not 0 < rule.queue <= MOST_QUEUED:
        yield "error", "queue", f"expected 1 to {MOST_QUEUED}, got {rule.queue}"
    for number, action in enumerate(rule.action):
        yield from _action(action, f"action[{number}]")
    yield from _names(rule, devices, outputs, modes, groups)


def check_mode(mode: ModeSpec) -> Iterator[str]:
    """Give all that is wrong with a mode."""
    if not mode.name.strip():
        yield "name: a mode needs a name"
    for field, seconds in (("exit_delay_s", mode.exit_delay_s), ("entry_delay_s", mode.entry_delay_s)):
        if not 0 <= seconds <= 3600:
            yield f"{field}: expected 0 to 3600 seconds, got {seconds:g}"


def _durations(rule: Rule) -> Iterator[tuple[str, float, float]]:
    yield "for_s", rule.for_s, 0
    yield "max_age_s", rule.max_age_s, 0.001
    if rule.latch is not None:
        yield "latch.seconds", rule.latch.seconds, 0
    if rule.count is not None:
        yield "count.within_s", rule.count.within_s, 0
    for number, action in enumerate(rule.action):
        if isinstance(action, Delay):
            yield f"action[{number}].seconds", action.seconds, 0
        elif isinstance(action, UnlessAcknowledged):
            yield f"action[{number}].within_s", action.within_s, 0.001
        elif isinstance(action, DeviceCommand):
            yield f"action[{number}].confirm_within_s", action.confirm_within_s, 0


def _trigger(trigger: Trigger, field: str) -> Iterator[Found]:
    reports = [name for name in ("device", "group", "type", "topic") if getattr(trigger, name)]
    others = [name for name in HAPPENINGS if getattr(trigger, name)]
    if not reports and not others:
        yield "error", field, "expected one of device, group, type, topic, " + ", ".join(HAPPENINGS)
    if len(others) > 1 or (others and reports):
        yield "error", field, f"{others[0]} stands alone: write a second trigger for {(reports + others[1:])[0]}"
    if trigger.topic:
        try:
            compile_mapping("trigger", topic=trigger.topic, device="any", type="any")
        except ConfigError as error:
            yield "error", f"{field}.topic", str(error).removeprefix("topic: ")


def _condition(rule: Rule, devices: Mapping[str, str] | None) -> Iterator[Found]:
    if not rule.condition.strip():
        return
    try:
        compiled = compile_condition(rule.condition)
    except ConfigError as error:
        yield "error", "condition", str(error)
        return
    for device in compiled.devices:
        if devices is not None and device.lower() not in devices:
            near = did_you_mean(device, devices.values()) or ": what it says is unknown"
            yield "warning", "condition", f"no device {device} has been heard so far{near}"
    if compiled.uses_now and rule.for_s > 0:
        yield "warning", "condition", "time is asked at the start and at the end of for_s only: a window may say it better"


def _action(action: ActionOf, field: str) -> Iterator[Found]:
    if isinstance(action, SetOff) and not re.fullmatch(r"\S(.{0,198}\S)?", action.output):
        yield "error", f"{field}.output", "expected the name of an output, such as siren"
    if isinstance(action, DeviceCommand):
        if bool(action.entity) == bool(action.topic):
            yield "error", field, "a command goes to an entity, or to a topic with its payload: write one of the two"
        if action.topic:
            try:
                check_topic(action.topic)
            except ConfigError as error:
                yield "error", f"{field}.topic", str(error).removeprefix("topic: ")
            if action.confirm_within_s > 0:
                yield "error", f"{field}.confirm_within_s", "only an entity can confirm: name it with entity"
        if action.qos not in (0, 1, 2):
            yield "error", f"{field}.qos", f"expected 0, 1 or 2, got {action.qos}"
        if not 0 <= action.retries <= 20:
            yield "error", f"{field}.retries", f"expected 0 to 20, got {action.retries}"
    if isinstance(action, Notify) and not action.to:
        yield "error", f"{field}.to", 'expected whom to tell, such as to = ["default"]'


def _names(
    rule: Rule,
    devices: Mapping[str, str] | None,
    outputs: Collection[str] | None,
    modes: Collection[str] | None,
    groups: Collection[str],
) -> Iterator[Found]:
    if devices is not None:
        for number, trigger in enumerate(rule.trigger):
            pattern = trigger.device.lower()
            known = any(name_matches(pattern, one) for one in devices) if is_pattern(pattern) else pattern in devices
            if pattern and not known:
                near = did_you_mean(trigger.device, devices.values())
                yield "warning", f"trigger[{number}].device", f"no device {trigger.device} has been heard so far{near}"
    for number, action in enumerate(rule.action):
        if isinstance(action, SetOff) and outputs is not None and action.output.lower() not in outputs:
            message = f"{action.output} is described nowhere: control messages go to event.control.{action.output.lower()}"
            yield "warning", f"action[{number}].output", message
        camera = action.image if isinstance(action, Notify) and isinstance(action.image, str) else ""
        if camera and devices is not None and camera.lower() not in devices:
            yield (
                "warning",
                f"action[{number}].image",
                f"no camera {camera} is known so far{did_you_mean(camera, devices.values())}",
            )
        if isinstance(action, SetMode) and modes is not None and action.mode.lower() not in modes:
            yield "warning", f"action[{number}].mode", _no_mode(action.mode, modes)
        if (
            isinstance(action, DeviceCommand)
            and action.entity
            and devices is not None
            and action.entity.lower() not in devices
        ):
            near = did_you_mean(action.entity, devices.values())
            yield "warning", f"action[{number}].entity", f"no device {action.entity} is known so far{near}"
    if modes is not None:
        for mode in rule.modes:
            if mode.lower() not in modes:
                yield "warning", "modes", _no_mode(mode, modes)


def _no_mode(mode: str, modes: Collection[str]) -> str:
    return f"there is no mode {mode}: there are {', '.join(sorted(modes))}; add it as [[mode]]"
