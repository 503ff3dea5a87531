"""What follows from an event, from a device that goes or comes, from anything else that rules wait for.

Nothing here changes the state: all goes into the turn's draft.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from event_processor.domain import guards
from event_processor.domain.acting import fire
from event_processor.domain.commanding import confirms
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.guards import Looked
from event_processor.domain.memos import Alive, Awaited, Entry, Hold, Seen, key_of
from event_processor.domain.outcome import Check, Evaluation
from event_processor.domain.rulebook import CompiledRule
from event_processor.domain.rules import Trigger
from event_processor.domain.state import SHARED
from event_processor.domain.turn import MOST_CHAINED, Turn

__all__ = ["MOST_KNOWN", "drain", "forget_entity", "happen", "hold_is_over", "take_availability", "take_event"]

MOST_KNOWN = 100_000
"""Entities whose values are kept. Names come from outside, so there has to be an end to it."""


def take_event(turn: Turn, event: Event) -> None:
    """Take what an entity reports: keep it, and ask the rules that it concerns."""
    turn.event = event
    before = turn.draft.values.get(event.device)
    if event.kind in ("heartbeat", "output"):
        if before is not None:
            turn.draft.values.put(
                event.device,
                Seen(before.value, before.active, max(turn.now, before.at), before.since, before.type, before.known),
            )
        return
    if before is None and len(turn.state.values) >= MOST_KNOWN:
        why = f"{event.device} was not looked at: {MOST_KNOWN} devices are known already, which is the limit"
        turn.evaluations.append(
            Evaluation(
                rule="", device=event.device, at=turn.now, fired=False, reason="too_many_devices", explanation=f"{why}."
            )
        )
        return
    same = before is not None and before.known and (before.value, before.active) == (event.value, event.active)
    key, kind, value = event.device, event.type, event.value
    if before is None:
        # This is kept for every entity there is, so what is equal to something kept already should be the same object.
        entity = turn.registry.entity(key)
        key, kind = (key, sys.intern(kind)) if entity is None else (entity.key, sys.intern(kind or entity.type))
    elif not kind or kind == before.type:
        kind = before.type
    if same and before is not None:
        value = before.value
    elif isinstance(value, str) and len(value) <= SHARED:
        value = sys.intern(value)
    turn.draft.values.put(
        key,
        Seen(
            value,
            event.active,
            turn.now if before is None else max(turn.now, before.at),
            before.since if before is not None and same else turn.now,
            kind,
        ),
    )
    _confirmed(turn, event)
    for compiled, triggers in turn.book.concerned(event, turn.registry):
        consider(turn, compiled, triggers, event, before)
    if not same:
        _read_again(turn, event.device)
    drain(turn)


def consider(turn: Turn, compiled: CompiledRule, triggers: Sequence[Trigger], event: Event, before: Seen | None) -> None:
    """Ask one rule about an event that concerns it."""
    what = f"{event.device} {guards.said(event, before)}"
    if compiled.rule.for_s > 0 and _goes_on(turn, compiled, triggers, event, what):
        return
    looked = guards.look(turn, compiled, triggers, event, before)
    _judge(turn, compiled, event, looked, what)


def _judge(turn: Turn, compiled: CompiledRule, event: Event, looked: Looked, what: str) -> None:
    """Ask the guards from the condition on, and act."""
    rule = compiled.rule
    if looked.reason or not guards.condition(turn, compiled, event, looked):
        _no(turn, compiled, event.device, looked, what)
        return
    if rule.for_s > 0:
        key = key_of("hold", rule.id, event.device)
        turn.draft.memos.put(key, Hold(turn.now, event, turn.cause))
        turn.timer(key, turn.now + rule.for_s)
        looked.passes("for", False, f"it has to last {rule.for_s:g} s from now on", "waiting")
        turn.conclude(compiled, event.device, False, "waiting", f"{rule.title} waits: {what}; {looked.why}.", looked.checks)
    elif guards.last_guards(turn, compiled, event, looked):
        fire(turn, compiled, event, looked.checks, what)
    else:
        _no(turn, compiled, event.device, looked, what)


def _no(turn: Turn, compiled: CompiledRule, device: str, looked: Looked, what: str) -> None:
    text = f"{compiled.rule.title} did nothing: {what}, but {looked.why}."
    turn.conclude(compiled, device, False, looked.reason, text, looked.checks)


def _goes_on(turn: Turn, compiled: CompiledRule, triggers: Sequence[Trigger], event: Event, what: str) -> bool:
    """Look after a wait that is under way for this device. Returns whether there is one."""
    rule, key = compiled.rule, key_of("hold", compiled.rule.id, event.device)
    hold = turn.draft.memos.get(key)
    if not isinstance(hold, Hold):
        return False
    looked = Looked()
    lasts = looked.passes("for", guards.lasting(triggers, event), f"it lasted {turn.now - hold.since:.1f} s", "ended")
    if not (lasts and guards.condition(turn, compiled, event, looked)):
        _end_hold(turn, compiled, key, hold, looked, what)
    else:
        turn.draft.memos.put(key, Hold(hold.since, event, hold.cause, hold.fired))
        left = hold.since + rule.for_s - turn.now
        why = (
            "it has fired for this already"
            if hold.fired
            else f"it lasts since {turn.now - hold.since:.1f} s, {left:.1f} s to go"
        )
        looked.passes("for", False, why, "lasting")
        turn.conclude(compiled, event.device, False, "lasting", f"{rule.title}: {what}; {why}.", looked.checks)
    return True


def _end_hold(turn: Turn, compiled: CompiledRule, key: str, hold: Hold, looked: Looked, what: str) -> None:
    turn.draft.memos.put(key, None)
    turn.draft.timers.put(key, None)
    lasted = f"after {turn.now - hold.since:.1f} s of {compiled.rule.for_s:g} s"
    text = f"{compiled.rule.title} {'may fire again' if hold.fired else f'waits no longer, {lasted}'}: {what}; {looked.why}."
    turn.conclude(compiled, hold.event.device, False, "ended", text, looked.checks)


def _read_again(turn: Turn, key: str) -> None:
    """An entity has another value: end the waits whose condition reads it and is no longer true."""
    held = turn.state.held
    if not held:
        return
    for compiled in turn.book.readers(key, turn.registry):
        for device in held.get(compiled.rule.id, ()):
            memo = key_of("hold", compiled.rule.id, device)
            hold = turn.draft.memos.get(memo)
            looked = Looked()
            if isinstance(hold, Hold) and not guards.condition(turn, compiled, hold.event, looked):
                _end_hold(turn, compiled, memo, hold, looked, f"{key} has changed")


def hold_is_over(turn: Turn, compiled: CompiledRule, hold: Hold) -> None:
    """What a rule waited for has lasted long enough: ask the guards that are left."""
    rule, event = compiled.rule, hold.event
    key = key_of("hold", rule.id, event.device)
    turn.draft.memos.put(key, Hold(hold.since, event, hold.cause, fired=True))
    turn.draft.timers.put(key, None)
    looked, what = Looked(), f"{event.device} stayed so for {rule.for_s:g} s"
    if not (rule.enabled and turn.allowed("rule", rule.id)):
        looked.passes("enabled", False, "the rule is switched off", "rule_disabled")
    elif event.device.lower() in turn.book.disabled or not turn.allowed("device", event.device):
        looked.passes("device", False, f"{event.device} is switched off", "disabled")
    elif guards.condition(turn, compiled, event, looked):
        looked.passes("for", True, f"it lasted {rule.for_s:g} s")
        if guards.last_guards(turn, compiled, event, looked):
            fire(turn, compiled, event, looked.checks, what)
            return
    _no(turn, compiled, event.device, looked, what)


def _confirmed(turn: Turn, event: Event) -> None:
    key = key_of("confirm", "", event.device)
    awaited = turn.draft.memos.get(key) if key in turn.draft.memos.base else None
    entity = turn.registry.entity(event.device)
    if not isinstance(awaited, Awaited) or entity is None or entity.command is None:
        return
    if confirms(entity.command, awaited.action.what, event):
        turn.draft.memos.put(key, None)
        turn.draft.timers.put(key, None)
        told = f"{event.device} did what it was told: {awaited.action.what}"
        turn.evaluations.append(
            Evaluation(
                rule=awaited.rule, device=event.device, at=turn.now, fired=False, reason="confirmed", explanation=f"{told}."
            )
        )


def take_availability(turn: Turn, said: Availability) -> None:
    """A device went silent or came back. Gone, its values are unknown; told the first time, nothing fires."""
    name = said.entity or said.device
    keys = (said.entity,) if said.entity else turn.registry.keys_of(said.device) or (said.device,)
    before = turn.draft.online.get(name)
    was: bool | None = None
    if before is not None:
        was = before.online
    elif any((seen := turn.draft.values.get(key)) is not None and seen.known for key in keys):
        was = True
    if before is None or before.online is not said.online:
        turn.draft.online.put(name, Alive(said.online, turn.now))
    if not said.online:
        for key in keys:
            _unknown(turn, key)
    if was is None or was is said.online:
        return
    info = turn.registry.device(said.device)
    names = dict.fromkeys((said.entity or (info.name if info is not None else said.device), name, *keys))
    happen(turn, "online" if said.online else "offline", tuple(names))
    drain(turn)


def forget_entity(turn: Turn, key: str) -> None:
    """An entity is gone for good: so is what it said."""
    _unknown(turn, key)
    if turn.draft.values.get(key) is not None:
        turn.draft.values.put(key, None)
    if turn.draft.online.get(key) is not None:
        turn.draft.online.put(key, None)


def _unknown(turn: Turn, key: str) -> None:
    seen = turn.draft.values.get(key)
    if seen is None or not seen.known:
        return
    turn.draft.values.put(key, Seen(None, None, seen.at, turn.now, seen.type, known=False))
    for rule, devices in turn.state.held.items():
        compiled = turn.book.rules.get(rule)
        memo = key_of("hold", rule, key)
        hold = turn.draft.memos.get(memo) if key in devices else None
        if compiled is not None and isinstance(hold, Hold) and hold.event.source != "hub":
            looked = Looked()
            looked.passes("for", False, "its value is unknown now", "unknown")
            _end_hold(turn, compiled, memo, hold, looked, f"{key} went silent")
    _read_again(turn, key)


def happen(turn: Turn, kind: str, names: Sequence[str]) -> None:
    """Ask the rules that wait for something other than a report. ``names`` are those of its subject, the first for people."""
    subject = names[0]
    _end_opposites(turn, kind, names)
    value = subject if kind == "mode" else kind
    event = Event(device=subject, kind="input", created_at=turn.now, source="hub", topic="", type=kind, value=value)
    asked = dict.fromkeys(compiled for name in names for compiled in turn.book.happening(kind, name))
    what = {"mode": f"the mode became {subject}", "schedule": f"{subject} was due", "signal": f"{subject} was pressed"}.get(
        kind, f"{subject} went {kind}" if kind != "unconfirmed" else f"{subject} did not do what it was told"
    )
    for compiled in sorted(asked, key=lambda one: one.place):
        looked = Looked()
        if not (compiled.rule.enabled and turn.allowed("rule", compiled.rule.id)):
            looked.passes("enabled", False, "the rule is switched off", "rule_disabled")
        elif subject.lower() in turn.book.disabled or not turn.allowed("device", subject):
            looked.passes("device", False, f"{subject} is switched off", "disabled")
        else:
            looked.passes("trigger", True, what)
        _judge(turn, compiled, event, looked, what)


def _end_opposites(turn: Turn, kind: str, names: Sequence[str]) -> None:
    """End the waits for what is over now: offline by online, and a mode by another one, which also disarms."""
    opposite = {"online": "offline", "offline": "online", "mode": "mode"}.get(kind)
    if opposite is None:
        return
    for rule, devices in list(turn.state.held.items()):
        compiled = turn.book.rules.get(rule)
        for device in list(devices) if compiled is not None else ():
            memo = key_of("hold", rule, device)
            hold = turn.draft.memos.get(memo)
            if not isinstance(hold, Hold) or hold.event.source != "hub" or hold.event.type != opposite or compiled is None:
                continue
            if (device not in names) if kind == "mode" else (device in names):
                looked = Looked()
                looked.passes("for", False, f"{names[0]} is {kind if kind != 'mode' else 'the mode'} now", "ended")
                _end_hold(turn, compiled, memo, hold, looked, "it is over")
    if kind == "mode":
        _disarm(turn, names[0])


def _disarm(turn: Turn, mode: str) -> None:
    for compiled in turn.book.rules.values():
        if not compiled.rule.entry or mode.lower() in compiled.modes:
            continue
        key = key_of("entry", compiled.rule.id)
        entry = turn.draft.memos.get(key)
        if isinstance(entry, Entry):
            turn.draft.memos.put(key, None)
            turn.draft.timers.put(key, None)
            why = f"the mode became {mode} in time"
            text = f"{compiled.rule.title} did nothing: {entry.event.device} was followed by disarming: {why}."
            turn.conclude(compiled, entry.event.device, False, "disarmed", text, (Check("entry", False, why),))


def drain(turn: Turn) -> None:
    """Ask the rules about what this decision has set off itself, up to a bound: two rules may set each other off."""
    for _ in range(MOST_CHAINED):
        if not turn.chain:
            return
        kind, subject = turn.chain.pop(0)
        happen(turn, kind, (subject,))
    if turn.chain:
        kind, subject = turn.chain[0]
        why = f"rules set each other off {MOST_CHAINED} times in a row, so this stopped at {kind} {subject}"
        turn.chain.clear()
        turn.evaluations.append(
            Evaluation(rule="", device=subject, at=turn.now, fired=False, reason="chain", explanation=f"{why}.")
        )
