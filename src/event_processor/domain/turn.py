"""One decision while it is made: what it reads, what it has written so far, what it has concluded."""

from __future__ import annotations

import hashlib
from datetime import datetime

from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar
from event_processor.domain.memos import ModeState, Timer
from event_processor.domain.outcome import Check, Evaluation, Outcome, Step
from event_processor.domain.registry import Registry
from event_processor.domain.rulebook import CompiledRule, Rulebook
from event_processor.domain.state import Draft, HubState
from event_processor.domain.windows import DAYS, local

__all__ = ["MOST_CHAINED", "Turn", "digest"]

MOST_CHAINED = 8
"""What one decision may set off in turn (a rule changes the mode, which fires a rule, ...)."""


def digest(*parts: object) -> str:
    """A short name that is the same for the same parts, whenever and wherever it is made."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=12).hexdigest()


class Turn:
    """The work of one decision. Lives as long as the decision; one thread."""

    __slots__ = (
        "_moment", "_runs", "book", "cause", "chain", "draft", "evaluations", "event", "now", "registry", "sent", "state",
        "steps",
    )  # fmt: skip

    def __init__(self, book: Rulebook, state: HubState, registry: Registry, now: float, cause: str) -> None:
        self.book = book
        self.state = state
        self.registry = registry
        self.draft = Draft(state)
        self.now = now
        self.cause = cause
        self.event: Event | None = None
        self.evaluations: list[Evaluation] = []
        self.steps: list[Step] = []
        self.sent: dict[str, str] = {}
        self.chain: list[tuple[str, str]] = []
        self._moment: datetime | None = None
        self._runs = 0

    def run_id(self, cause: str, rule: str, device: str) -> str:
        """The id of another run that this decision starts; the same in a repetition, and never twice in one decision."""
        self._runs += 1
        return digest(cause, rule, device, self._runs)

    @property
    def moment(self) -> datetime:
        """Now, by the clock on the wall."""
        if self._moment is None:
            self._moment = local(self.now, self.book.zone)
        return self._moment

    @property
    def mode(self) -> ModeState:
        """The mode of the house."""
        return self.draft.modes.get("house") or ModeState(self.book.first_mode)

    @property
    def maintenance(self) -> bool:
        """Whether outputs have to stay quiet."""
        return self.draft.settings.get("maintenance:") is True

    def allowed(self, what: str, key: str) -> bool:
        """Whether a rule, device or output may do something, as it was last switched."""
        return self.draft.settings.get(f"enabled:{what}:{key.lower()}") is not False

    def timer(self, key: str, at: float) -> None:
        """Start a timer, in place of one of the same name."""
        self.draft.timers.put(key, Timer(at, self.cause))

    def conclude(
        self,
        compiled: CompiledRule,
        device: str,
        fired: bool,
        reason: str,
        explanation: str,
        checks: list[Check] | tuple[Check, ...] = (),
    ) -> None:
        """Write down what a rule has concluded."""
        self.evaluations.append(
            Evaluation(
                rule=compiled.rule.id,
                device=device,
                at=self.now,
                fired=fired,
                reason=reason,
                explanation=explanation,
                checks=tuple(checks),
            )
        )

    def outcome(self) -> Outcome:
        """All of it."""
        return Outcome(
            cause=self.cause,
            at=self.now,
            event=self.event,
            evaluations=tuple(self.evaluations),
            steps=tuple(self.steps),
            changes=self.draft.changes(),
        )


class TurnFacts:
    """What conditions read, of one turn and one event."""

    __slots__ = ("_event", "_turn")

    def __init__(self, turn: Turn, event: Event) -> None:
        self._turn = turn
        self._event = event

    def event(self, name: str) -> Scalar:
        """An attribute of the event."""
        event = self._event
        if name == "age":
            return self._turn.now - event.created_at
        if name == "known":
            return event.value is not None
        if name == "room":
            return self._turn.registry.room_of(event.device)
        value: Scalar = getattr(event, name)
        return value

    def device(self, key: str, name: str) -> Scalar:
        """An attribute of an entity, whatever the case of its key; unknown where it has never been heard."""
        turn = self._turn
        key = _known_key(turn, key)
        if name == "online":
            return online(turn, key)
        if name == "room":
            return turn.registry.room_of(key)
        seen = turn.draft.values.get(key)
        if name == "known":
            return seen is not None and seen.known and seen.value is not None
        if seen is None:
            return None
        if name == "type":
            return seen.type
        if name == "age":
            return max(0.0, turn.now - seen.at)
        if not seen.known:
            return None
        if name == "since":
            return max(0.0, turn.now - seen.since)
        return seen.value if name == "value" else seen.active

    def group(self, key: str, name: str) -> Scalar:
        """An attribute of a group or room. Of the known ones: unknown only where the unknown ones could decide it."""
        turn = self._turn
        members = turn.book.members(key, turn.state.values, turn.registry)
        if name == "size":
            return len(members)
        if not members:
            return None
        if name == "all_online":
            return all(online(turn, member) is not False for member in members)
        seen = [turn.draft.values.get(member) for member in members]
        actives = [None if one is None or not one.known else one.active for one in seen]
        if name == "active_count":
            return sum(active is True for active in actives)
        decisive = name == "any_active"
        if decisive in actives:
            return decisive
        return None if None in actives else not decisive

    def now(self, name: str) -> Scalar:
        """An attribute of the time, by the clock on the wall."""
        moment = self._turn.moment
        if name == "time":
            return f"{moment.hour:02}:{moment.minute:02}"
        if name == "weekday":
            return DAYS[moment.weekday()]
        if name == "weekend":
            return moment.weekday() >= 5
        value: int = getattr(moment, name)
        return value

    def mode(self) -> str:
        """The mode of the house."""
        return self._turn.mode.current


def online(turn: Turn, key: str) -> bool | None:
    """Whether an entity's device is there; unknown where neither it nor its device was ever heard."""
    entity = turn.registry.entity(key)
    for name in (key, entity.device if entity is not None else key):
        alive = turn.draft.online.get(name)
        if alive is not None and (not alive.online or name != key):
            return alive.online
    alive = turn.draft.online.get(key)
    if alive is not None:
        return alive.online
    seen = turn.draft.values.get(key)
    return True if seen is not None and seen.known else None


def _known_key(turn: Turn, key: str) -> str:
    if key in turn.state.values or turn.registry.entity(key) is not None:
        return key
    return turn.book.spelt(key, turn.state.values, turn.registry)
