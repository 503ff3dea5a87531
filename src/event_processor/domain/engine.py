"""The engine: the one object that owns the hub's state, decides, and remembers.

    engine = Engine(book, registry)
    outcome = engine.take(event, cause, now)      # store it, then send outcome.steps
    engine.next_due()                             # when to call due()

Every call returns what is to be stored and sent, and has taken it over already. It reads no clock: the same calls give the
same outcomes, ids included. Not thread-safe: one thread owns it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from event_processor.domain.acting import go_on, start
from event_processor.domain.commanding import send_command
from event_processor.domain.deciding import drain, forget_entity, happen, hold_is_over, take_availability, take_event
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.heard import Request
from event_processor.domain.memos import Awaited, Entry, Hold, ModeState, Run, Timer
from event_processor.domain.modes import MODE_TIMER, enter_mode
from event_processor.domain.outcome import Change, Check, Evaluation, Outcome, Scope
from event_processor.domain.registry import Registry
from event_processor.domain.requests import ask
from event_processor.domain.rulebook import CompiledRule, Rulebook
from event_processor.domain.state import HubState
from event_processor.domain.turn import Turn, digest

__all__ = ["Engine"]

LATE_S = 1.0
"""A timer that is less late than this is decided as of its own time, so that a replay decides the same."""


class Engine:
    """Decides with ``book`` over ``state``; ``registry`` says who is out there.

    :param rung: for a replay: when timers rang that are known to have rung, by their outcomes' causes. The others ring at
        their own times.
    """

    def __init__(
        self, book: Rulebook, registry: Registry | None = None, state: HubState | None = None,
        rung: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.book = book
        self.registry = Registry() if registry is None else registry
        self.state = HubState() if state is None else state
        self._rung = rung
        self._latest = 0.0
        self._version = -1
        self._heap: list[tuple[float, str]] = []
        self._rings: dict[str, float] = {}
        self._load_timers()

    def restore(self, rows: Iterable[tuple[Scope, str, bytes]]) -> None:
        """Take the stored state in place of what is there. Rows of other owners' scopes are passed over.

        Then call ``reload`` with the book in use: rules may have gone, and modes too, while the hub was down.
        """
        self.state = HubState.restore(rows)
        self.book.forget()
        self._load_timers()

    def learn(self, changes: Sequence[Change], cause: str, now: float) -> Outcome:
        """Take over what is known of devices by now (``Heard.changes``), where the registry is this engine's own. What
        entities that are gone said last is forgotten, and waits for them end."""
        turn = self._turn(now, cause)
        ours = [change for change in changes if change.scope in ("device", "entity") or change.key.startswith("group:")]
        for change in ours:
            if change.value is None and change.scope == "entity":
                forget_entity(turn, change.key)
                self.registry.remove(change.key)
            elif change.value is None and change.scope == "setting":
                self.registry.set_group(change.key.removeprefix("group:"), ())
        if ours:
            self.registry.restore(change for change in ours if change.value is not None)
            self.book.forget()
        return self._done(turn)

    def take(self, said: Event | Availability, cause: str, now: float) -> Outcome:
        """Decide on a report, or on a device that went or came. ``cause`` is the event's id; ``now`` in seconds."""
        turn = self._turn(now, cause)
        if isinstance(said, Event):
            take_event(turn, said)
            return self._done(turn)
        take_availability(turn, said)
        return msgspec.structs.replace(self._done(turn), prompt=said)

    def happen(self, kind: str, subject: str, cause: str, now: float) -> Outcome:
        """Decide on a schedule that is due (``schedule``) or a button (``signal``)."""
        turn = self._turn(now, cause)
        happen(turn, kind, (subject,))
        drain(turn)
        return self._done(turn)

    def command(self, request: Request, now: float) -> Outcome:
        """Do what a person or a program asks; ``requests.ask`` lists what that can be. The evaluation with the rule "" says
        what became of it."""
        turn = self._turn(now, request.id)
        ask(turn, request)
        drain(turn)
        return msgspec.structs.replace(self._done(turn), prompt=request)

    def reload(self, book: Rulebook, now: float, cause: str) -> Outcome:
        """Go on with other rules. What rules that are gone remembered is forgotten, and their waits and runs end."""
        self.book = book
        turn = self._turn(now, cause)
        for key, memo in self.state.memos.items():
            what, rule, _ = key.split(":", 2)
            compiled = book.rules.get(rule)
            if what == "confirm" or (compiled is not None and not (what == "hold" and compiled.rule.for_s <= 0)):
                continue
            turn.draft.memos.put(key, None)
            if key in self.state.timers:
                turn.draft.timers.put(key, None)
            if isinstance(memo, (Hold, Run, Entry)):
                text = f"What {rule} had begun was broken off: the rules were changed, and it is not among them."
                turn.evaluations.append(
                    Evaluation(
                        rule=rule, device=memo.event.device, at=now, fired=False, reason="rule_removed", explanation=text
                    )
                )
        if turn.mode.current.lower() not in book.modes:
            turn.draft.modes.put("house", ModeState(book.modes[book.first_mode].name, now))
        return self._done(turn)

    def next_due(self) -> float | None:
        """When the next timer is due, in seconds since the epoch; ``None`` while there is none."""
        while self._heap:
            at, key = self._heap[0]
            timer = self.state.timers.get(key)
            if timer is not None and timer.at == at:
                return self._rings.get(key, at)
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[Outcome]:
        """Decide on all timers that are due by ``now``, in the order of their times."""
        outcomes: list[Outcome] = []
        while (at := self.next_due()) is not None and at <= now:
            _, key = heapq.heappop(self._heap)
            timer = self.state.timers[key]
            moment = (
                max(at, self._latest)
                if self._rung is not None
                else now
                if now - at >= LATE_S
                else max(at, min(now, self._latest))
            )
            turn = self._turn(moment, _cause_of(key, timer))
            turn.draft.timers.put(key, None)
            self._ring(turn, key, timer)
            drain(turn)
            outcomes.append(self._done(turn))
        return outcomes

    def _ring(self, turn: Turn, key: str, timer: Timer) -> None:
        if key == MODE_TIMER:
            if turn.mode.next:
                enter_mode(turn, turn.mode.next)
            return
        memo = turn.draft.memos.get(key)
        compiled = self.book.rules.get(key.split(":", 2)[1])
        if isinstance(memo, Awaited):
            self._unconfirmed(turn, key, memo)
        elif compiled is None:
            turn.draft.memos.put(key, None)
        elif isinstance(memo, Hold):
            hold_is_over(turn, compiled, memo)
        elif isinstance(memo, Run):
            go_on(turn, compiled, memo)
        elif isinstance(memo, Entry):
            turn.draft.memos.put(key, None)
            self._entered(turn, compiled, memo)

    def _entered(self, turn: Turn, compiled: CompiledRule, entry: Entry) -> None:
        start(
            turn, compiled, entry.event, [Check("entry", True, "nobody disarmed in time")], f"{entry.event.device} came first"
        )

    def _unconfirmed(self, turn: Turn, key: str, awaited: Awaited) -> None:
        name = awaited.action.entity
        turn.draft.memos.put(key, None)
        checks: list[Check] = []
        if awaited.attempt < awaited.action.retries:
            run = Run(awaited.run, awaited.event)
            send_command(turn, awaited.rule, awaited.action, run, awaited.index, awaited.attempt + 1, checks)
            reason, text = "told_again", f"{name} did not say that it is {awaited.action.what}, so it was told again."
        else:
            turn.chain.append(("unconfirmed", name))
            times = awaited.attempt + 1
            reason, text = "unconfirmed", f"{name} was told {awaited.action.what} {times} times and never said that it did it."
        turn.evaluations.append(
            Evaluation(
                rule=awaited.rule, device=awaited.event.device, at=turn.now, fired=False, reason=reason, explanation=text,
                checks=tuple(checks),
            )
        )  # fmt: skip

    def _turn(self, now: float, cause: str) -> Turn:
        self._latest = max(self._latest, now)
        if self._version != self.state.version:
            self._version = self.state.version
            self.book.forget_members()
        return Turn(self.book, self.state, self.registry, now, cause)

    def _done(self, turn: Turn) -> Outcome:
        outcome = turn.outcome()
        self.state.accept(turn.draft)
        for key, timer in turn.draft.timers.over.items():
            if timer is not None:
                heapq.heappush(self._heap, self._waits(key, timer))
        return outcome

    def _load_timers(self) -> None:
        self._heap = [self._waits(key, timer) for key, timer in self.state.timers.items()]
        heapq.heapify(self._heap)

    def _waits(self, key: str, timer: Timer) -> tuple[float, str]:
        """The timer's entry in the heap. In a replay it rings when it rang; those behind it wait, as they did when nobody was
        there."""
        if self._rung:
            self._rings[key] = self._rung.get(_cause_of(key, timer), timer.at)
        return timer.at, key


def _cause_of(key: str, timer: Timer) -> str:
    """The name of a timer's outcome: the same in a repetition."""
    return digest("timer", key, repr(timer.at), timer.cause)
