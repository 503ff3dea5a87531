"""A rule that has fired: its entry delay, its run, and the steps of its actions.

A run that has to wait is kept with its next action and a timer, so that it goes on after a restart where it was. The ids of
steps come from the cause, the rule and the action's place: deciding the same again gives the same ids.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from event_processor.domain.actions import Command, control_payload, expires_at
from event_processor.domain.commanding import send_command
from event_processor.domain.events import Event
from event_processor.domain.memos import Entry, Queued, Run, key_of
from event_processor.domain.modes import set_mode
from event_processor.domain.outcome import Check, Step
from event_processor.domain.pictures import TYPE as PICTURE
from event_processor.domain.rulebook import CompiledRule
from event_processor.domain.rules import Delay, DeviceCommand, Notify, SetMode, SetOff, UnlessAcknowledged
from event_processor.domain.turn import Turn, digest
from pylib.errors import ConfigError

__all__ = ["NOTIFY_EXPIRY_S", "acknowledge", "fire", "go_on", "start"]

NOTIFY_EXPIRY_S: Final = 86_400.0
"""A notification may wait so long for quiet hours or a broken connection."""

_PLACES: Final = re.compile(r"\{(device|value|label|type|detail|rule|mode|time)\}")


def fire(turn: Turn, compiled: CompiledRule, event: Event, checks: list[Check], why: str) -> None:
    """All guards let it pass: wait for the entry delay of the mode, or start at once."""
    rule = compiled.rule
    spec = turn.book.modes.get(turn.mode.current.lower())
    if rule.entry and spec is not None and spec.entry_delay_s > 0:
        key = key_of("entry", rule.id)
        if turn.draft.memos.get(key) is not None:
            checks.append(Check("entry", False, "the time to disarm is running already"))
            turn.conclude(compiled, event.device, False, "entry", f"{rule.title} did nothing yet: {checks[-1].why}.", checks)
            return
        turn.draft.memos.put(key, Entry(event=event, cause=turn.cause))
        turn.timer(key, turn.now + spec.entry_delay_s)
        checks.append(Check("entry", True, f"there are {spec.entry_delay_s:g} s to disarm"))
        turn.conclude(compiled, event.device, False, "entry", f"{rule.title}: {why}; {checks[-1].why}.", checks)
        return
    start(turn, compiled, event, checks, why)


def start(turn: Turn, compiled: CompiledRule, event: Event, checks: list[Check], why: str) -> None:
    """Start the rule's actions, or queue them behind those that are under way."""
    rule, key = compiled.rule, key_of("run", compiled.rule.id)
    running = turn.draft.memos.get(key)
    if isinstance(running, Run) and rule.run == "queued":
        waiting = (*running.waiting, Queued(event=event, cause=turn.cause))
        turn.draft.memos.put(key, Run(running.id, running.event, running.index, running.acknowledged,
                                      running.ends_when_acknowledged, waiting))  # fmt: skip
        checks.append(Check("run", True, f"it waits behind {len(waiting)} that came before"))
        turn.conclude(compiled, event.device, True, "queued", f"{rule.title}: {why}; {checks[-1].why}.", checks)
        return
    if isinstance(running, Run):
        checks.append(Check("run", True, "its actions of last time are broken off, and start over"))
    first = len(checks)
    _act(turn, compiled, Run(turn.run_id(turn.cause, rule.id, event.device), event), checks)
    done = "; ".join(check.why for check in checks[first:]) or "it has no actions"
    reason = "maintenance" if turn.maintenance else "triggered"
    turn.conclude(compiled, event.device, True, reason, f"{rule.title}: {why}. Done: {done}.", checks)


def go_on(turn: Turn, compiled: CompiledRule, run: Run) -> None:
    """A wait of a run is over: do what comes after it."""
    checks: list[Check] = []
    _act(turn, compiled, run, checks)
    done = "; ".join(check.why for check in checks) or "it has come to its end"
    turn.conclude(compiled, run.event.device, True, "continued", f"{compiled.rule.title} went on: {done}.", checks)


def _act(turn: Turn, compiled: CompiledRule, run: Run, checks: list[Check]) -> None:
    """Do a run's actions up to the next wait; at the end start what is queued behind it."""
    rule, key = compiled.rule, key_of("run", compiled.rule.id)
    waiting = run.waiting
    while True:
        for index in range(run.index, len(rule.action)):
            action = rule.action[index]
            if isinstance(action, Delay) and action.seconds <= 0:
                continue
            if isinstance(action, UnlessAcknowledged) and run.acknowledged:
                checks.append(Check("acknowledged", True, f"{run.acknowledged} has acknowledged, so it ends here"))
                break
            if isinstance(action, (Delay, UnlessAcknowledged)):
                asks = isinstance(action, UnlessAcknowledged)
                seconds = action.within_s if isinstance(action, UnlessAcknowledged) else action.seconds
                turn.draft.memos.put(key, Run(run.id, run.event, index + 1, run.acknowledged, asks, waiting))
                turn.timer(key, turn.now + seconds)
                checks.append(Check("wait", True, f"it waits {seconds:g} s{' for an acknowledgement' if asks else ''}"))
                return
            _one(turn, compiled, run, index, checks)
        if not waiting:
            break
        following, waiting = waiting[0], waiting[1:]
        run = Run(turn.run_id(following.cause, rule.id, following.event.device), following.event)
        checks.append(Check("run", True, "the next one in the queue starts"))
    if turn.draft.memos.get(key) is not None:
        turn.draft.memos.put(key, None)
        turn.draft.timers.put(key, None)


def _one(turn: Turn, compiled: CompiledRule, run: Run, index: int, checks: list[Check]) -> None:
    action = compiled.rule.action[index]
    if isinstance(action, SetOff):
        _set_off(turn, compiled, run, index, action, checks)
    elif isinstance(action, DeviceCommand):
        send_command(turn, compiled.rule.id, action, run, index, 0, checks)
    elif isinstance(action, Notify):
        _notify(turn, compiled, run, index, action, checks)
    elif isinstance(action, SetMode):
        checks.append(Check("mode", True, set_mode(turn, action.mode, action.at_once)))


def _set_off(turn: Turn, compiled: CompiledRule, run: Run, index: int, action: SetOff, checks: list[Check]) -> None:
    try:
        output = turn.book.output(action.output)
    except ConfigError as error:
        checks.append(Check(f"output {action.output}", False, f"{action.output} is no output ({error})"))
        return
    guard, name = f"output {output.name}", output.name.lower()
    if not (output.enabled and turn.allowed("output", name)):
        checks.append(Check(guard, False, f"{output.name} is switched off"))
        return
    if name in turn.sent:
        checks.append(Check(guard, False, f"{output.name} was set off by {turn.sent[name]} for the same event already"))
        return
    last = turn.draft.outputs.get(name)
    if output.min_interval_s > 0 and last is not None and 0 <= turn.now - last < output.min_interval_s:
        why = f"{output.name} was set off {turn.now - last:.1f} s ago, and rests for {output.min_interval_s:g} s"
        checks.append(Check(guard, False, why))
        return
    turn.sent[name] = compiled.rule.title
    if turn.maintenance:
        checks.append(Check(guard, False, f"{output.name} was left alone: maintenance mode is on"))
        return
    turn.draft.outputs.put(name, turn.now)
    built = output.action(run.event, turn.now, turn.book.control_expiry_s)
    kind: Literal["control", "command"]
    body: object
    if isinstance(built, Command):
        kind, address, body, qos, retain = "command", built.topic, built.payload, built.qos, built.retain
    else:
        kind, address, qos, retain = "control", built.routing_key, 1, False
        body = control_payload(built if action.params is None else msgspec.structs.replace(built, params=action.params))
    turn.steps.append(
        Step(
            id=digest(run.id, index),
            kind=kind,
            rule=compiled.rule.id,
            output=output.name,
            address=address,
            body=body,
            at=turn.now,
            expires_at=expires_at(built),
            qos=qos,
            retain=retain,
        )
    )
    checks.append(Check(guard, True, f"{output.label or output.name} was set off"))


def _notify(turn: Turn, compiled: CompiledRule, run: Run, index: int, action: Notify, checks: list[Check]) -> None:
    if turn.maintenance:
        checks.append(Check("notify", False, f"{', '.join(action.to)} was not told: maintenance mode is on"))
        return
    camera = _camera(turn, run.event.device, action.image)
    for number, target in enumerate(action.to):
        body: dict[str, object] = {
            "title": _filled(turn, compiled, run.event, action.title),
            "text": _filled(turn, compiled, run.event, action.text),
            "device": run.event.device,
            "image": bool(action.image),
        }
        if camera:
            body["camera"] = camera
        if action.urgent:
            body["urgent"] = True
        turn.steps.append(
            Step(
                id=digest(run.id, index, number),
                kind="notify",
                rule=compiled.rule.id,
                output=target,
                address=target,
                body=body,
                at=turn.now,
                expires_at=turn.now + NOTIFY_EXPIRY_S,
            )
        )
    checks.append(Check("notify", True, f"{', '.join(action.to)} was told"))


def _camera(turn: Turn, device: str, image: bool | str) -> str:
    """Whose picture goes along, where it is not the event's own: the camera that is named, or that of the same device, as a
    doorbell has one."""
    if not image:
        return ""
    if isinstance(image, str):
        return turn.book.spelt(image, turn.state.values, turn.registry)
    entity = turn.registry.entity(device)
    if entity is None or entity.type == PICTURE:
        return ""
    return next((mate.key for mate in turn.registry.entities_of(entity.device) if mate.type == PICTURE), "")


def _filled(turn: Turn, compiled: CompiledRule, event: Event, template: str) -> str:
    def place(found: re.Match[str]) -> str:
        name = found[1]
        if name == "rule":
            return compiled.rule.title
        if name == "mode":
            return turn.mode.current
        if name == "time":
            return f"{turn.moment:%H:%M}"
        value = getattr(event, name)
        if name == "value" and value is None and event.active is not None:
            return "active" if event.active else "inactive"
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    return _PLACES.sub(place, template)


def acknowledge(turn: Turn, compiled: CompiledRule, run: Run, who: str) -> None:
    """Somebody has taken notice: a run that waits for that ends, another one will end where it would have waited."""
    known = Run(run.id, run.event, run.index, who, False, run.waiting)
    if not run.ends_when_acknowledged:
        turn.draft.memos.put(key_of("run", compiled.rule.id), known)
        return
    checks = [Check("acknowledged", True, f"{who} has acknowledged, so it ends here")]
    _act(turn, compiled, Run(run.id, run.event, len(compiled.rule.action), who, False, run.waiting), checks)
    text = f"{compiled.rule.title} ended: {checks[0].why}."
    turn.conclude(compiled, run.event.device, False, "acknowledged", text, checks)
