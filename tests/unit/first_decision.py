"""How the first hub decided: by links alone, without rules. The model that ``rules_of_policy`` has to agree with.

>>> decide(event, state, now, policy)
(Decision(reason=Reason.TRIGGERED, explanation="Front Door is active: siren", action=Control(...)),)
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from event_processor.domain.actions import Action
from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar
from event_processor.domain.policy import Policy

Liveness: TypeAlias = Literal["never", "alive", "silent"]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device: when it was first and last heard, what it said last, and whether it may set anything off."""

    key: str
    first_seen: float
    last_seen: float
    type: str = ""
    value: Scalar = None
    active: bool | None = None
    enabled: bool = True


State: TypeAlias = Mapping[str, Device]


def seen(state: State, device: str, now: float, event: Event | None = None) -> Device:
    """Return what is known of ``device`` after hearing it at ``now``; the owner of ``state`` stores it under its key.

    With ``event`` its value and activity are taken over, unless it is a mere heartbeat. ``last_seen`` never decreases,
    also where the clock is set back.
    """
    known = state.get(device)
    value, active, kind = (None, None, "") if known is None else (known.value, known.active, known.type)
    if event is not None:
        kind = event.type or kind
        if event.kind != "heartbeat":
            value, active = event.value, event.active
    return Device(
        key=device,
        first_seen=now if known is None else known.first_seen,
        last_seen=now if known is None else max(now, known.last_seen),
        type=kind,
        value=value,
        active=active,
        enabled=known is None or known.enabled,
    )


def enabled(device: Device, allowed: bool) -> Device:
    """Return ``device`` allowed, or not allowed, to set anything off."""
    return msgspec.structs.replace(device, enabled=allowed)


def liveness(device: Device | None, now: float, stale_after_s: float) -> Liveness:
    """Say whether a device was heard within the last ``stale_after_s`` seconds."""
    if device is None:
        return "never"
    return "silent" if now - device.last_seen > stale_after_s else "alive"


def silent(state: State, now: float, stale_after_s: float) -> Iterator[Device]:
    """Give the devices that have gone silent. Asked by a timer, so silence is noticed without the device's help."""
    return (device for device in state.values() if liveness(device, now, stale_after_s) == "silent")


class Reason(enum.Enum):
    """Why something is done, or why not."""

    TRIGGERED = "triggered"
    HEARTBEAT = "heartbeat"
    RETAINED = "retained"
    TOO_OLD = "too_old"
    FROM_THE_FUTURE = "from_the_future"
    DISABLED = "disabled"
    INACTIVE = "inactive"
    NO_STATE = "no_state"
    WITHIN_LIMITS = "within_limits"
    NO_LIMITS = "no_limits"
    NO_LINK = "no_link"
    OUTPUT_DISABLED = "output_disabled"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome for ``device``: with an action it is done, and without one ``reason`` says what stood in the way.

    ``explanation`` is a sentence for people; ``output`` is the output concerned, or empty where none was reached.
    """

    device: str
    reason: Reason
    explanation: str
    output: str = ""
    action: Action | None = None


def decide(event: Event, state: State, now: float, policy: Policy) -> tuple[Decision, ...]:
    """Say what ``event`` sets off at ``now`` (seconds since the epoch). Pure, and never raises.

    ``state`` is what was known before the event. An action's lifetime counts from ``now``.
    """
    stopped, why = _may_trigger(event, state, now, policy)
    if stopped is not None:
        return (Decision(device=event.device, reason=stopped, explanation=f"{event.device}: {why}"),)
    outputs = policy.links.outputs_of(event)
    if not outputs:
        explanation = f"{event.device} {why}, and no link names it: add it to [links] in app.conf"
        return (Decision(device=event.device, reason=Reason.NO_LINK, explanation=explanation),)
    decisions: list[Decision] = []
    for output in outputs:
        done = output.enabled
        decisions.append(
            Decision(
                device=event.device,
                reason=Reason.TRIGGERED if done else Reason.OUTPUT_DISABLED,
                explanation=f"{event.device} {why}: {output.name}{'' if done else ' is disabled'}",
                output=output.name,
                action=output.action(event, now, policy.control_expiry_s) if done else None,
            )
        )
    return tuple(decisions)


def _may_trigger(event: Event, state: State, now: float, policy: Policy) -> tuple[Reason | None, str]:
    """Return what stops the event and why; or ``None`` and what lets it pass. The first that applies is told."""
    if event.kind in ("heartbeat", "output"):
        return Reason.HEARTBEAT, "is alive; a heartbeat sets nothing off"
    if event.retained:
        return Reason.RETAINED, "the broker kept this message from earlier; a retained message sets nothing off"
    age = now - event.created_at
    if age > policy.max_event_age_s:
        return Reason.TOO_OLD, f"the event is {age:.1f} s old, and {policy.max_event_age_s:g} s is the limit"
    if age < -policy.max_event_age_s:
        return Reason.FROM_THE_FUTURE, f"the event is dated {-age:.1f} s ahead of this clock: check the sender's clock"
    known = state.get(event.device)
    if event.device.lower() in policy.disabled or (known is not None and not known.enabled):
        return Reason.DISABLED, "the device is disabled"
    if event.kind == "meter":
        return _meter(event, policy)
    if event.active is None:
        return Reason.NO_STATE, "the message does not say whether it is active"
    return (None, "is active") if event.active else (Reason.INACTIVE, "is not active")


def _meter(event: Event, policy: Policy) -> tuple[Reason | None, str]:
    limits = policy.meters.get(event.device.lower())
    if limits is None or (limits.low is None and limits.high is None and not limits.every_reading):
        return Reason.NO_LIMITS, f"no limits are set: add low or high, or every_reading, to [meter:{event.device}]"
    reading = event.minute if limits.of_minute else event.value
    if isinstance(reading, (bool, str)) or reading is None:
        return Reason.NO_STATE, "the message has no such reading"
    if limits.every_reading:
        return None, f"reads {reading:g}"
    if limits.low is not None and reading < limits.low:
        return None, f"reads {reading:g}, below {limits.low:g}"
    if limits.high is not None and reading > limits.high:
        return None, f"reads {reading:g}, above {limits.high:g}"
    return Reason.WITHIN_LIMITS, f"reads {reading:g}, within its limits"
