"""What a rule is: what sets it off, under which circumstances, and what is done then.

All values are frozen and go to TOML or JSON and back unchanged (``rule_file`` does that). Times are in seconds; names of
devices, groups, types, modes and outputs are compared without regard to case. ``docs/reference/rules.md`` explains each field.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "ActionOf",
    "Count",
    "Delay",
    "DeviceCommand",
    "Latch",
    "ModeSpec",
    "Notify",
    "On",
    "Rule",
    "SetMode",
    "SetOff",
    "Trigger",
    "UnlessAcknowledged",
    "Window",
]

On: TypeAlias = Literal["activation", "deactivation", "change", "report", "level"]
Per: TypeAlias = Literal["device", "rule"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Frozen, written without what is at its default, and strict about names: a misspelt guard must not be no guard."""


class Trigger(_Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a rule looks at. Of ``device``, ``group``, ``type`` and ``topic`` all that are given have to match.

    ``device`` is a key, with ``*`` and ``?``; ``group`` a group or a room; ``topic`` an MQTT filter. ``on`` says which
    reports count: ``activation`` (became active), ``deactivation``, ``change`` (another value than before), ``report`` (any),
    ``level`` (any that says active). ``retained`` lets messages count that the broker kept from earlier.

    The others look at something else than a report, and stand alone: ``mode`` (a mode was entered), ``schedule`` (one was
    due), ``offline`` and ``online`` (a device went silent or came back), ``signal`` (a button: ``panic``), ``unconfirmed``
    (a command to this device was not carried out). They take ``*`` and ``?`` too.
    """

    device: str = ""
    group: str = ""
    type: str = ""
    topic: str = ""
    on: On = "activation"
    retained: bool = False
    mode: str = ""
    schedule: str = ""
    offline: str = ""
    online: str = ""
    signal: str = ""
    unconfirmed: str = ""


class Window(_Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """From ``start`` up to, not including, ``end``, by the clock on the wall ("22:00"). Past midnight where ``end`` is not
    after ``start``; ``days`` ("mon" to "sun") are those on which it starts, and none means every day."""

    start: str = "00:00"
    end: str = "00:00"
    days: tuple[str, ...] = ()


class Latch(_Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """After firing, the rule holds still for so many seconds: for that device, or as a whole. 0 is no latch."""

    seconds: float
    per: Per = "device"


class Count(_Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Fires only at the n-th time within so many seconds, that time included. 0 or 1 times is no such guard."""

    times: int
    within_s: float
    per: Per = "device"


class SetOff(_Part, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag="output"):
    """Set off an output of ``app.conf``: an application on RabbitMQ, or a device on MQTT."""

    output: str
    params: str | None = None


class DeviceCommand(_Part, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag="command"):
    """Tell an entity ``what`` to do ("on", "off", or a value), or send ``payload`` to ``topic``.

    Where the entity reports back, ``confirm_within_s`` waits for that; then it is told again up to ``retries`` times, and
    after the last one the ``unconfirmed`` triggers are asked.
    """

    entity: str = ""
    what: str = "on"
    topic: str = ""
    payload: str = ""
    qos: int = 1
    retain: bool = False
    confirm_within_s: float = 0.0
    retries: int = 2


class Notify(_Part, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag="notify"):
    """Tell people. ``{device}``, ``{value}``, ``{label}``, ``{rule}``, ``{mode}`` and ``{time}`` are filled in; ``image``
    attaches a picture: true is the event's own or else the latest of its device's camera, a text is the key of a camera.
    ``urgent`` does not wait for the end of a target's quiet time."""

    to: tuple[str, ...] = ("default",)
    title: str = "{rule}"
    text: str = "{device}: {value}"
    image: bool | str = False
    urgent: bool = False


class SetMode(_Part, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag="mode"):
    """Go to another mode. ``at_once`` leaves out its exit delay."""

    mode: str
    at_once: bool = False


class Delay(_Part, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag="delay"):
    """Wait. Survives a restart of the hub."""

    seconds: float


class UnlessAcknowledged(_Part, frozen=True, kw_only=True, omit_defaults=True, tag_field="do", tag="unless_acknowledged"):
    """Wait, and end here if somebody acknowledges before the time is up or has already done so: what follows escalates."""

    within_s: float


ActionOf: TypeAlias = SetOff | DeviceCommand | Notify | SetMode | Delay | UnlessAcknowledged


class Rule(_Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule. ``id`` is its name for programs and in the store: letters, digits, ``-`` and ``_``.

    ``condition`` is an expression (``conditions``). ``modes`` are those in which it is armed, none meaning all; with ``entry``
    the mode's entry delay passes before anything is done. ``for_s``: what set it off has to last so long. ``max_age_s``: an
    event older than this, by its own time, sets nothing off. ``run`` says what happens while its actions still run:
    ``single`` refuses, ``restart`` starts over, ``queued`` waits, up to ``queue`` of them.
    """

    id: str
    name: str = ""
    enabled: bool = True
    trigger: tuple[Trigger, ...] = ()
    condition: str = ""
    modes: tuple[str, ...] = ()
    entry: bool = False
    window: tuple[Window, ...] = ()
    count: Count | None = None
    latch: Latch | None = None
    for_s: float = 0.0
    max_age_s: float = 120.0
    run: Literal["single", "restart", "queued"] = "single"
    queue: int = 10
    action: tuple[ActionOf, ...] = ()

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.id


class ModeSpec(_Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A mode of the house. Going to it takes ``exit_delay_s``: time to leave. In it, rules with ``entry`` act after
    ``entry_delay_s``: time to disarm."""

    name: str
    exit_delay_s: float = 0.0
    entry_delay_s: float = 0.0
