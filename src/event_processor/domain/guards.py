"""The guards of a rule, one after the other, each with a sentence. The first that does not let the event pass decides.

The order: enabled, device, retained, age, trigger, condition, (for), mode, window, run, count, latch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from event_processor.domain.events import Event
from event_processor.domain.memos import Run, Seen, key_of
from event_processor.domain.outcome import Check
from event_processor.domain.pictures import TYPE as PICTURE
from event_processor.domain.rulebook import CompiledRule
from event_processor.domain.rules import Trigger
from event_processor.domain.turn import Turn, TurnFacts

__all__ = ["Looked", "condition", "last_guards", "lasting", "look", "said"]

MOST_COUNTED: Final = 1_000
"""Times that a counting guard remembers for one device."""


class Looked:
    """What the guards found so far: the checks, and the reason of the one that said no, or nothing."""

    __slots__ = ("checks", "reason")

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.reason = ""

    def passes(self, guard: str, passed: bool, why: str, reason: str = "") -> bool:
        """Note a check; return whether it lets the event pass."""
        self.checks.append(Check(guard, passed, why))
        if not passed:
            self.reason = reason or guard
        return passed

    @property
    def why(self) -> str:
        """The last check, as a part of a sentence."""
        return self.checks[-1].why if self.checks else ""


def said(event: Event, before: Seen | None) -> str:
    """Say what an event reports: "became active", "reads 21.5"."""
    if event.kind == "meter" or (event.active is None and event.value is not None):
        value = event.value
        return f"reads {value:g}" if isinstance(value, float) else f"reads {value}"
    if event.active is None:
        return "reported, without a value"
    if event.type == PICTURE and event.active:
        return "has sent a picture"
    if event.momentary:
        return "was used" if event.value is None else f"says {event.value}"
    was = before.active if before is not None and before.known else None
    word = "active" if event.active else "inactive"
    return f"is {word}" if was is event.active else f"became {word}"


def look(turn: Turn, compiled: CompiledRule, triggers: Sequence[Trigger], event: Event, before: Seen | None) -> Looked:
    """Ask the guards that concern the event itself, up to its trigger."""
    rule, looked = compiled.rule, Looked()
    if not (rule.enabled and turn.allowed("rule", rule.id)):
        looked.passes("enabled", False, "the rule is switched off", "rule_disabled")
        return looked
    key = event.device.lower()
    if key in turn.book.disabled or not turn.allowed("device", key):
        looked.passes("device", False, f"{event.device} is switched off", "disabled")
        return looked
    if event.retained and not any(trigger.retained for trigger in triggers):
        looked.passes("retained", False, "the broker kept this message from earlier, and such a message sets nothing off")
        return looked
    age = turn.now - event.created_at
    if abs(age) > rule.max_age_s:
        if age > 0:
            looked.passes("age", False, f"the event is {age:.1f} s old, and {rule.max_age_s:g} s is the limit", "too_old")
        else:
            why = f"the event is dated {-age:.1f} s ahead of this clock: check the sender's clock"
            looked.passes("age", False, why, "from_the_future")
        return looked
    wanted = [_asks(trigger, event, before) for trigger in triggers if trigger.retained or not event.retained]
    met = not all(wanted)
    looked.passes("trigger", met, said(event, before) if met else next(filter(None, wanted)), _no(event))
    return looked


def _no(event: Event) -> str:
    return "no_state" if event.active is None else "not_triggered"


def _asks(trigger: Trigger, event: Event, before: Seen | None) -> str:
    """What a trigger misses in an event; nothing where it is met."""
    was = before if before is not None and before.known else None
    if trigger.on == "report":
        return ""
    if trigger.on == "change":
        changed = was is None or (event.value, event.active) != (was.value, was.active)
        return "" if changed else "it reports the same value as before"
    if event.active is None:
        return 'it does not say whether it is active: write on = "change" or on = "report"'
    if trigger.on == "level":
        return "" if event.active else "the rule waits for it to be active"
    wanted = trigger.on == "activation"
    if event.active is not wanted:
        return f"the rule waits for it to become {'active' if wanted else 'inactive'}"
    if was is not None and was.active is wanted and not (event.momentary or event.type == PICTURE):
        return f"it was {'active' if wanted else 'inactive'} already"
    return ""


def lasting(triggers: Sequence[Trigger], event: Event) -> bool:
    """Whether what a ``for`` waits for is still so, by this report."""
    for trigger in triggers:
        if trigger.on in ("change", "report"):
            return True
        if event.active is (trigger.on != "deactivation"):
            return True
    return False


def condition(turn: Turn, compiled: CompiledRule, event: Event, looked: Looked) -> bool:
    """Ask the rule's condition. True where it has none."""
    asked = compiled.condition
    if asked is None:
        return True
    verdict = asked.judge(TurnFacts(turn, event))
    reason = "unknown" if verdict.holds is None else "condition"
    return looked.passes("condition", verdict.holds is True, verdict.why(asked.text), reason)


def last_guards(turn: Turn, compiled: CompiledRule, event: Event, looked: Looked) -> bool:
    """Ask mode, window, run, count and latch. Counts, and starts the latch where all let it pass."""
    rule = compiled.rule
    mode = turn.mode.current
    if compiled.modes:
        armed = mode.lower() in compiled.modes
        why = f"the mode is {mode}" if armed else f"it is armed in {', '.join(rule.modes)} only, and the mode is {mode}"
        if not looked.passes("mode", armed, why):
            return False
    if compiled.hours is not None:
        opened, clock = turn.moment in compiled.hours, f"{turn.moment:%a %H:%M}"
        why = f"it is {clock}, within {compiled.hours.text}" if opened else f"it is {clock}, not {compiled.hours.text}"
        if not looked.passes("window", opened, why):
            return False
    running = turn.draft.memos.get(key_of("run", rule.id))
    if isinstance(running, Run):
        if rule.run == "single":
            return looked.passes("run", False, "its actions of last time are still under way", "busy")
        if rule.run == "queued" and len(running.waiting) >= rule.queue:
            return looked.passes("run", False, f"{rule.queue} of its runs wait already, which is the limit", "busy")
    return _counted(turn, compiled, event, looked) and _unlatched(turn, compiled, event, looked)


def _counted(turn: Turn, compiled: CompiledRule, event: Event, looked: Looked) -> bool:
    count = compiled.rule.count
    if count is None or count.times <= 1 or count.within_s <= 0:
        return True
    key = key_of("count", compiled.rule.id, event.device if count.per == "device" else "")
    memo = turn.draft.memos.get(key)
    earlier = memo if isinstance(memo, tuple) else ()
    # A time ahead of now is from before the clock was set back: it says nothing about the last seconds.
    recent = tuple(at for at in earlier if 0 <= turn.now - at < count.within_s)
    times = (*recent, turn.now)[-min(count.times, MOST_COUNTED) :]
    turn.draft.memos.put(key, times)
    enough = len(times) >= count.times
    return looked.passes("count", enough, f"{len(times)} of {count.times} times within {count.within_s:g} s")


def _unlatched(turn: Turn, compiled: CompiledRule, event: Event, looked: Looked) -> bool:
    latch = compiled.rule.latch
    if latch is None or latch.seconds <= 0:
        return True
    key = key_of("latch", compiled.rule.id, event.device if latch.per == "device" else "")
    last = turn.draft.memos.get(key)
    if isinstance(last, float) and 0 <= turn.now - last < latch.seconds:
        why = f"it fired {turn.now - last:.1f} s ago, and holds still for {latch.seconds:g} s"
        return looked.passes("latch", False, why)
    turn.draft.memos.put(key, turn.now)
    return True
