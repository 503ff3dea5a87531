"""Meters: what a register that counts up says was used, and whether that can be.

``measure`` takes one reading of one meter and gives the new state with everything that follows: the reading for the store,
what it adds to the hours, days and months, the event in the meter's own unit for the rules, and what is wrong with it. Pure:
each meter has its own state, and nothing is shared between two.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from event_processor.domain.entities import CommandForm
from event_processor.domain.events import Event
from event_processor.domain.meter_periods import Added, spread
from event_processor.domain.outcome import Change
from event_processor.domain.policy import MeterLimits
from pylib.errors import ConfigError

__all__ = ["Measured", "Meter", "MeterState", "Reading", "adjust_register", "measure", "read_state", "set_register"]

CONFIRMATIONS: Final = 2
"""Readings in a row that have to agree with one that cannot be before it is believed."""

# A reading may come a little early, and be rounded up: what a minute can bring is never taken to the letter.
_SLACK_S: Final = 60.0


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a meter. Registers count in ``unit`` after they were multiplied by ``factor``.

    ``rollover`` is the reading at which the register starts from 0 again (a counter of five digits: 100000), before the
    factor; ``most_per_minute`` what can flow at the most, in the unit, ``None`` where nobody knows; ``stuck_after_s`` the time
    without any use after which it is said to be stuck, 0 for never. ``control_topic`` is where it is told to set its register.
    """

    key: str
    unit: str = ""
    factor: float = 1.0
    precision: int = 3
    rollover: float | None = None
    most_per_minute: float | None = None
    stuck_after_s: float = 0.0
    limits: MeterLimits | None = None
    control_topic: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor) or self.factor <= 0:
            raise ConfigError("factor: a meter's factor is a number above 0")
        if not 0 <= self.precision <= 9:
            raise ConfigError("precision: a meter has 0 to 9 decimal places")
        if self.rollover is not None and not self.rollover > 0:
            raise ConfigError("rollover: the register starts again at a number above 0; leave it out where it does not")
        if self.most_per_minute is not None and not self.most_per_minute >= 0:
            raise ConfigError("most_per_minute: what can flow in a minute is 0 or more; leave it out where nobody knows")
        if not self.stuck_after_s >= 0:
            raise ConfigError("stuck_after_s: a time in seconds, or 0 for never")


class MeterState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of a meter: its last reading that was believed, what was used in all, and what is in doubt."""

    register: float
    at: float
    used: float = 0.0
    moved_at: float = 0.0
    stuck: bool = False
    suspect: float | None = None
    suspect_at: float = 0.0
    agreeing: int = 0
    expected: float | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One row for the store: the register as read, times the factor; what was used since the last; and in the last minute."""

    entity: str
    at: float
    register: float
    delta: float
    minute: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one reading. ``event`` is for the rules, in the meter's unit; without one the reading was not believed.
    ``problems`` are sentences for people; each is said once, when it begins."""

    state: MeterState
    reading: Reading | None = None
    event: Event | None = None
    added: tuple[Added, ...] = ()
    problems: tuple[str, ...] = ()

    def change(self, key: str) -> Change:
        """The state as it is stored, for the outcome."""
        return Change("meter", key, msgspec.json.encode(self.state))


def read_state(value: bytes | None) -> MeterState | None:
    """The state as ``Measured.change`` stored it; ``None`` where there is none, or it cannot be read."""
    try:
        return None if value is None else msgspec.json.decode(value, type=MeterState)
    except msgspec.DecodeError:
        return None


def measure(event: Event, state: MeterState | None, meter: Meter, zone: str = "UTC") -> Measured | None:
    """Take a reading (``event.value`` is the register, ``event.minute`` what the meter says of its last minute).

    ``None`` for an event that is no reading, is a repetition, or is older than what is known: nothing follows from it.
    A register that goes down has rolled over, which ``rollover`` tells, or was reset, or the reading is wrong. The last two,
    and a jump that cannot be, are told apart by the next readings: when two agree with it, it is believed, and what it shows
    is counted where that can have been used since the last one.
    """
    if event.kind != "meter" or isinstance(event.value, (bool, str)) or event.value is None:
        return None
    at, register = event.created_at, float(event.value)
    if not math.isfinite(register) or (state is not None and at <= state.at):
        return None
    if register < 0:
        return _rejected(event, state, meter, "is negative")
    if state is None:
        begun = MeterState(register=register, at=at, moved_at=at)
        return _believed(event, begun, begun, meter, 0.0, zone, ())
    delta, why = _delta(register, at, state, meter)
    if delta is None:
        return _doubted(event, state, meter, zone, why)
    problems = (f"{meter.key} {why}",) if why else ()
    return _believed(event, state, _plain(state, register, at), meter, delta, zone, problems)


def set_register(state: MeterState | None, meter: Meter, value: float) -> tuple[CommandForm, str, MeterState | None]:
    """Have the meter's register set to ``value`` (in the unit): the command, its payload, and the state that expects it.

    The payload is the original's: ``{"set_register": 12.5}``, in what the register itself counts.
    :raises ConfigError: the meter has no topic on which it can be told.
    """
    return _told(state, meter, "set_register", value / meter.factor, value / meter.factor)


def adjust_register(state: MeterState | None, meter: Meter, by: float) -> tuple[CommandForm, str, MeterState | None]:
    """As ``set_register``, for what is added (in the unit, also below 0): ``{"adjust_register": -2}``."""
    expected = None if state is None else state.register + by / meter.factor
    return _told(state, meter, "adjust_register", by / meter.factor, expected)


# ---------------------------------------------------------------------------------------------------------------- inside


def _told(
    state: MeterState | None, meter: Meter, verb: str, value: float, expected: float | None
) -> tuple[CommandForm, str, MeterState | None]:
    if not meter.control_topic:
        raise ConfigError(f"{meter.key} cannot be told anything: set control_topic in [meter:{meter.key}]")
    if not math.isfinite(value) or (expected is not None and expected < 0):
        raise ConfigError(f"{meter.key}: a register holds a number of 0 or more")
    value = round(value, 9)
    payload = msgspec.json.encode({verb: int(value) if value == int(value) else value}).decode()
    if state is not None and expected is not None:
        state = msgspec.structs.replace(state, expected=expected)
    return CommandForm(topic=meter.control_topic), payload, state


def _most(seconds: float, meter: Meter) -> float:
    """What can have been used in so many seconds, in the unit."""
    return math.inf if meter.most_per_minute is None else meter.most_per_minute * (seconds + _SLACK_S) / 60.0


def _delta(register: float, at: float, state: MeterState, meter: Meter) -> tuple[float | None, str]:
    """What was used since the last reading, in the unit, and what there is to say; ``None`` where it cannot be."""
    most = _most(at - state.at, meter)
    if state.expected is not None and abs(register - state.expected) * meter.factor <= _near(state.expected, most, meter):
        return 0.0, ""  # it was told to; what flowed in that moment is not counted
    used = (register - state.register) * meter.factor
    if 0 <= used <= most:
        return used, ""
    if used > 0:
        return None, f"reads {used:g} {meter.unit} more than before, and {most:g} is possible"
    if meter.rollover is not None and register < meter.rollover and state.register <= meter.rollover:
        over = (meter.rollover - state.register + register) * meter.factor
        # Without a limit: less than half of the counter, or what went down by a little would have gone nearly all around.
        if over <= (most if meter.most_per_minute is not None else meter.rollover * meter.factor / 2):
            return over, ""
    return None, f"reads {-used:g} {meter.unit} less than before"


def _near(expected: float, most: float, meter: Meter) -> float:
    return most if math.isfinite(most) else max(1.0, 0.01 * expected) * meter.factor


def _doubted(event: Event, state: MeterState, meter: Meter, zone: str, why: str) -> Measured:
    """A reading that cannot be. Others that agree with it make it true: then what flowed since it began is counted."""
    register, at = float(event.value or 0), event.created_at
    agrees = state.suspect is not None and (
        0 <= (register - state.suspect) * meter.factor <= _most(at - state.suspect_at, meter)
    )
    if not agrees:
        doubt = msgspec.structs.replace(state, suspect=register, suspect_at=at, agreeing=0)
        return Measured(state=doubt, problems=(f"{meter.key} {why}: not believed unless the next readings agree",))
    if state.agreeing + 1 < CONFIRMATIONS:
        return Measured(state=msgspec.structs.replace(state, agreeing=state.agreeing + 1))
    suspect = state.suspect or 0.0
    delta = (register - suspect) * meter.factor
    shown = suspect * meter.factor
    if meter.most_per_minute is not None and suspect < state.register and shown <= _most(state.suspect_at - state.at, meter):
        problem = f"{meter.key} was reset: it counts from 0 again"
        return _believed(event, state, _plain(state, register, at), meter, delta + shown, zone, (problem,))
    begun = msgspec.structs.replace(state, at=state.suspect_at)
    problem = f"{meter.key} has gone on from {shown:g} {meter.unit}: what lies between is not counted"
    return _believed(event, begun, _plain(state, register, at), meter, delta, zone, (problem,))


def _rejected(event: Event, state: MeterState | None, meter: Meter, why: str) -> Measured | None:
    problem = f"{meter.key} {why} ({event.value}): not believed"
    return None if state is None else Measured(state=state, problems=(problem,))


def _plain(state: MeterState, register: float, at: float) -> MeterState:
    """The state after a reading that is believed, with nothing in doubt."""
    return MeterState(register=register, at=at, used=state.used, moved_at=state.moved_at, stuck=state.stuck)


def _believed(
    event: Event, before: MeterState, after: MeterState, meter: Meter, delta: float, zone: str, problems: tuple[str, ...]
) -> Measured:
    at = event.created_at
    moved = delta > 0 or before is after
    moved_at = at if moved else after.moved_at
    stuck = not moved and 0 < meter.stuck_after_s <= at - moved_at
    if stuck and not after.stuck:
        problems = (*problems, f"{meter.key} has not moved for {at - moved_at:.0f} s")
    if event.minute is not None:
        minute = event.minute * meter.factor
    else:  # the meter does not say: the mean of the time since the last reading
        minute = delta * min(1.0, 60.0 / (at - before.at)) if at > before.at else 0.0
    register = round(after.register * meter.factor, meter.precision)
    minute = round(minute, meter.precision)
    return Measured(
        state=msgspec.structs.replace(after, used=after.used + delta, moved_at=moved_at, stuck=stuck),
        reading=Reading(entity=meter.key, at=at, register=register, delta=round(delta, 9), minute=minute),
        event=msgspec.structs.replace(event, value=_plainly(register), minute=_plainly(minute)),
        added=spread(meter.key, before.at, at, delta, zone),
        problems=problems,
    )


def _plainly(number: float) -> int | float:
    """1042.0 as 1042: rules compare it, and commands show it to people."""
    return int(number) if number.is_integer() else number
