"""Meters: each reading is measured before the rules see it, and goes to the store with what it adds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import msgspec

from event_processor.domain.events import Event
from event_processor.domain.meters import Measured, Meter, adjust_register, measure, read_state, set_register
from event_processor.domain.outcome import Change, Step
from pylib.errors import ConfigError

__all__ = ["Meters"]

log = logging.getLogger("event_processor.meters")

#: Seconds that a command to a meter may wait for its broker.
TOLD_WITHIN_S = 90.0


class Meters:
    """All meters and what is remembered of them. Belongs to the thread that decides.

    :param known: those that have a section; others count as they are read.
    :param states: what ``Change`` of the scope "meter" have left, by key.
    """

    def __init__(self, known: Iterable[Meter], states: Mapping[str, bytes], zone: str) -> None:
        self._known = {meter.key.lower(): meter for meter in known}
        self._states = {key: state for key, value in states.items() if (state := read_state(value)) is not None}
        self._zone = zone

    def take(self, event: Event) -> Measured | None:
        """Measure a reading. None for what is none, and for one from before what is known; the state is taken over."""
        measured = measure(event, self._states.get(event.device), self._meter(event.device), self._zone)
        if measured is not None:
            self._states[event.device] = measured.state
            for problem in measured.problems:
                log.warning("%s", problem)
        return measured

    def told(self, key: str, verb: str, value: float, cause: str, now: float) -> tuple[Step, tuple[Change, ...]]:
        """Make the command that sets or adjusts a meter's register. Raises ``ConfigError`` for one that cannot be told."""
        tell = {"set_register": set_register, "adjust_register": adjust_register}.get(verb)
        if tell is None:
            raise ConfigError(f"{verb}: a meter can be told set_register or adjust_register")
        form, payload, state = tell(self._states.get(key), self._meter(key), value)
        changes: tuple[Change, ...] = ()
        if state is not None:
            self._states[key] = state
            changes = (Change("meter", key, msgspec.json.encode(state)),)
        step = Step(
            id=f"{cause}.told",
            kind="command",
            rule="",
            output=key,
            address=form.topic,
            body=payload,
            at=now,
            expires_at=now + TOLD_WITHIN_S,
            qos=form.qos,
            retain=form.retain,
        )
        return step, changes

    def _meter(self, key: str) -> Meter:
        return self._known.get(key.lower()) or Meter(key=key)
