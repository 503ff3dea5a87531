"""What came of one event, or of one timer that was due: what each rule concluded, what is to be done, what is different now.

The owner of the state stores an outcome as a whole before anything of it is sent: whoever is killed in between finds it again
and sends the same actions, with the same ids.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import msgspec

from event_processor.domain.events import Event
from event_processor.domain.prompts import Prompt

__all__ = ["Change", "Check", "Evaluation", "Outcome", "Scope", "Step"]

# "value" and "online" are what entities said last and which devices are there, as the rules see them.
Scope: TypeAlias = Literal[
    "device", "entity", "liveness", "rule", "timer", "mode", "output", "meter", "schedule", "setting", "value", "online"
]


class Check(msgspec.Struct, frozen=True, array_like=True):
    """One guard of a rule as it was found: its name, whether it let the event pass, and in a few words why."""

    guard: str
    passed: bool
    why: str


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's look at one event. ``reason`` is a word for programs, ``explanation`` a sentence for people; ``checks`` are
    the guards in the order in which they were asked, the last of them the one that decided."""

    rule: str
    device: str
    at: float
    fired: bool
    reason: str
    explanation: str
    checks: tuple[Check, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do. ``id`` is the same however often the same decision is sent; ``kind`` says how to read ``body``.

    ``control`` goes to output applications over RabbitMQ, ``command`` to a device over MQTT, ``notify`` to the notifier.
    ``at`` and ``expires_at`` are in seconds since the epoch: past the latter it must not be delivered any more.
    """

    travels_by_reference: ClassVar[bool] = True

    id: str
    kind: Literal["control", "command", "notify"]
    rule: str
    output: str
    address: str
    body: object
    at: float
    expires_at: float
    qos: int = 1
    retain: bool = False


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One value of the hub's state that is different now, as JSON; ``None`` takes it away."""

    scope: Scope
    key: str
    value: bytes | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``cause`` is the event's id, or the id of the timer or schedule that was due; unique, and the same on a repetition.

    ``prompt`` is what else than an event it is about; a timer's has neither. ``decided`` is false for a reading that was not
    believed: no rule looked at its event.
    """

    travels_by_reference: ClassVar[bool] = True

    cause: str
    at: float
    event: Event | None = None
    evaluations: tuple[Evaluation, ...] = ()
    steps: tuple[Step, ...] = ()
    changes: tuple[Change, ...] = ()
    prompt: Prompt | None = None
    decided: bool = True
