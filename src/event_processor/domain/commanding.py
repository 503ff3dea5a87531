"""Commands to devices over MQTT, and the confirmation that the device did it.

What is waited for is the state that the entity reports (``CommandForm.confirmed_by``). Only one command to an entity is waited
for at a time: the newest.
"""

from __future__ import annotations

from typing import Final

from event_processor.domain.entities import CommandForm
from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar, truth
from event_processor.domain.memos import Awaited, Run, Seen, key_of
from event_processor.domain.outcome import Check, Step
from event_processor.domain.rules import DeviceCommand
from event_processor.domain.turn import Turn, digest

__all__ = ["COMMAND_EXPIRY_S", "confirms", "payload_for", "send_command"]

COMMAND_EXPIRY_S: Final = 90.0
"""After so long a command must not reach its device any more, where the hub's own expiry is not shorter."""


def send_command(
    turn: Turn, rule: str, action: DeviceCommand, run: Run, index: int, attempt: int, checks: list[Check]
) -> None:
    """Send a command, and wait for its confirmation where that is asked for and possible."""
    name = action.entity or action.topic
    guard = f"command {name}"
    topic, payload, qos, retain = action.topic, action.payload, action.qos, action.retain
    form: CommandForm | None = None
    key = action.entity
    if action.entity:
        key = turn.book.spelt(action.entity, turn.state.values, turn.registry)
        entity = turn.registry.entity(key)
        form = entity.command if entity is not None else None
        if form is None:
            why = f"{name} takes no commands" if entity is not None else f"there is no device {name}"
            checks.append(Check(guard, False, why))
            return
        written = payload_for(turn, form, action.what)
        if written is None:
            checks.append(Check(guard, False, f"{name} does not understand {action.what!r}"))
            return
        topic, payload, qos, retain = form.topic, written, form.qos, form.retain
    if not turn.allowed("output", name):
        checks.append(Check(guard, False, f"{name} is switched off"))
        return
    if turn.maintenance:
        checks.append(Check(guard, False, f"{name} was left alone: maintenance mode is on"))
        return
    turn.steps.append(
        Step(
            id=digest(run.id, index, "command", attempt),
            kind="command",
            rule=rule,
            output=name,
            address=topic,
            body=payload,
            at=turn.now,
            expires_at=turn.now + min(COMMAND_EXPIRY_S, turn.book.control_expiry_s),
            qos=qos,
            retain=retain,
        )
    )
    checks.append(Check(guard, True, f"{name} was told {action.what if action.entity else 'what was written'}"))
    if form is not None and action.confirm_within_s > 0:
        _wait(turn, rule, action, run, index, attempt, form, key, checks)


def _wait(
    turn: Turn, rule: str, action: DeviceCommand, run: Run, index: int, attempt: int, form: CommandForm, key: str,
    checks: list[Check],
) -> None:  # fmt: skip
    memo = key_of("confirm", "", key)
    if not _reports(form, action.what):
        checks.append(Check("confirm", True, f"{action.entity} does not report back"))
        return
    if _is_so(form, action.what, turn.draft.values.get(key)):
        checks.append(Check("confirm", True, f"{action.entity} is so already"))
        turn.draft.memos.put(memo, None)
        turn.draft.timers.put(memo, None)
        return
    turn.draft.memos.put(memo, Awaited(rule, run.id, index, action, run.event, attempt))
    turn.timer(memo, turn.now + action.confirm_within_s)


def payload_for(turn: Turn, form: CommandForm, what: str) -> str | None:
    """The payload that tells a device ``what``; ``None`` where it has no word for that."""
    for word, payload in form.payloads.items():
        if word.lower() == what.lower():
            return payload
    if not form.template or (form.options and what not in form.options):
        return None
    if form.limits is not None:
        number = _as_number(what)
        if number is None or not form.limits[0] <= number <= form.limits[1]:
            return None
    if "{{" not in form.template and "{%" not in form.template:
        return form.template.replace("{value}", what)
    return turn.book.render(form, what) if turn.book.render is not None else None


def confirms(form: CommandForm, what: str, event: Event) -> bool:
    """Whether a report shows that the device did what it was told."""
    return _matches(form, what, event.value, event.active)


def _is_so(form: CommandForm, what: str, seen: Seen | None) -> bool:
    return seen is not None and seen.known and _matches(form, what, seen.value, seen.active)


def _reports(form: CommandForm, what: str) -> bool:
    return _wanted(form, what) is not None or (bool(form.confirmed_by) and _as_number(what) is not None)


def _wanted(form: CommandForm, what: str) -> str | None:
    return next((state for word, state in form.confirmed_by.items() if word.lower() == what.lower()), None)


def _matches(form: CommandForm, what: str, value: Scalar, active: bool | None) -> bool:
    wanted = _wanted(form, what)
    if wanted is None:
        number = _as_number(what)
        return number is not None and isinstance(value, (int, float)) and not isinstance(value, bool) and value == number
    if value is not None and str(value).strip().lower() == wanted.strip().lower():
        return True
    meant = truth(wanted)
    return meant is not None and active is meant


def _as_number(what: str) -> float | None:
    try:
        return float(what)
    except ValueError:
        return None
