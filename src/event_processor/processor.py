"""The event loop of the hub: takes what was heard, decides, and hands what follows from it to the store, which sends it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, TypeAlias, TypeVar

import msgspec

from event_processor.causes import Causes
from event_processor.domain.bodies import from_forwarded
from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.heard import Heard, Request
from event_processor.domain.outcome import Change, Evaluation, Outcome
from event_processor.domain.records import ImageRecord, MeterRecord
from event_processor.domain.requests import answer
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.schedules import Schedule, Timetable
from event_processor.metering import Meters
from event_processor.scheduling import Schedules
from pylib.app import ZmqRelay
from pylib.brokers.identity import new_id
from pylib.errors import ConfigError, PylibError
from pylib.runtime.loop import Loop, Timer
from pylib.runtime.receipts import Receipt
from pylib.zmq import URL_WORKER_APP

__all__ = ["URL_STORE", "EventProcessor"]

log = logging.getLogger("event_processor")

URL_STORE: Final = "inproc://store"

Result = TypeVar("Result")
# What is stored together or not at all: all that follows from one message, what a meter's reading adds, and pictures' entries.
Part: TypeAlias = Outcome | MeterRecord | ImageRecord
Stored: TypeAlias = Outcome | tuple[Part, ...]

# How loud a rule's silence is. What says every few seconds that nothing follows is for debugging only.
_LEVELS: Final[Mapping[str, int]] = {"too_old": logging.WARNING, "from_the_future": logging.WARNING}
# What is known of who is out there: the engine's registry is told of it.
_WHO: Final = frozenset(("device", "entity", "setting"))
# What of it is shown to whoever looks on.
_SHOWN: Final = frozenset(("mode", "setting", "online", "device", "entity"))
#: Seconds for which changes are gathered before they are shown.
SHOW_WITHIN: Final = 0.2
#: Seconds after which timers are looked at again although none is due: the wall clock may have been set.
LOOK_EVERY: Final = 30.0
CATCH_UP: Final = 1.5
"""Seconds after the start in which timers wait for what the brokers have kept: a message that says that it was made before
one was due is heard before it rings."""

BACKLOG: Final = 0.2
"""Seconds that they wait once both brokers are connected."""


class EventProcessor(ZmqRelay):
    """Decides what each event sets off: ``inproc://app-worker`` in, ``inproc://store`` out. It alone owns the hub's state.

    Everything a message causes is one outcome per event, handed on before the next message is taken; the delivery's receipt
    travels with it. What was decided before, in this run or an earlier one, is not decided again: the store is merely told,
    and sends what is still pending of it.

    :param show: called on this thread, soon after modes, switches, devices or rules have changed, and once at the start. It
        must be quick.
    """

    def __init__(
        self, engine: Engine, timetable: Timetable, meters: Meters, causes: Causes, *, source_zmq_url: str = URL_WORKER_APP,
        sink_zmq_url: str = URL_STORE, show: Callable[[Engine], None] | None = None,
    ) -> None:  # fmt: skip
        ZmqRelay.__init__(self, "EventProcessor", source_zmq_url, sink_zmq_url)
        self._engine = engine
        self._schedules = Schedules(timetable, engine, causes)
        self._meters = meters
        self._causes = causes
        self._timer: Timer | None = None
        self._due_at = float("inf")
        self._loop: Loop | None = None
        self._show = show
        self._showing = False
        self._catching_up = False

    # -- from any thread ---------------------------------------------------------------------------------------------

    @property
    def rules(self) -> int:
        """How many rules there are."""
        return len(self._engine.book.rules)

    def listening(self) -> None:
        """What the brokers have kept arrives now. Any thread; only the first time counts."""
        loop = self._loop
        if loop is not None:
            loop.post(lambda: loop.call_later(BACKLOG, self._caught_up))

    def ask(self, request: Request) -> Future[Evaluation]:
        """Have something done, soon; the evaluation says what became of it, once that is stored. Any thread.

        Fails with ``PylibError`` where the hub is not running, or the request was asked before under this id.
        """
        future: Future[Evaluation] = Future()
        loop = self._loop
        if loop is None:
            future.set_exception(PylibError("the hub is not running yet"))
        else:
            loop.post(lambda: self._answer(request, future))
        return future

    def _answer(self, request: Request, future: Future[Evaluation]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        answer: Evaluation | None = None
        try:
            for outcome in self._asked(request):
                answers = [one for one in outcome.evaluations if outcome.cause == request.id and not one.rule]
                if not answers:
                    self._send((outcome,))
                    continue
                answer = answers[0]
                self._tell(outcome)
                self._sink.send_enclosed(outcome, self._answering(future, answer))
            self._arm()
            if answer is None:
                raise PylibError(f"{request.id} was asked before, and done once")
        except Exception as error:  # it is the asker's
            if not future.done():
                future.set_exception(error)

    def _answering(self, future: Future[Evaluation], answer: Evaluation) -> Receipt:
        """A receipt that gives the answer when the outcome that it travels with is stored, and what it sends is on its way."""

        def settled(receipt: Receipt) -> None:
            if receipt.error is None:
                future.set_result(answer)
            else:
                future.set_exception(PylibError("the hub ends, and what was asked for may not have been stored"))

        return self.runtime.receipts.open(settled, label="a request")

    def reload(self, book: Rulebook) -> Future[Outcome]:
        """Go on with other rules, soon. What rules have begun that are in both goes on. Any thread; fails as ``ask`` does."""

        def do() -> Outcome:
            outcome = self._engine.reload(book, self.runtime.clock.time(), new_id())
            self._send((outcome,))
            self._arm()
            self._show_soon()
            return outcome

        return self._on_loop(do)

    def reschedule(self, schedules: Sequence[Schedule]) -> Future[None]:
        """Go on with these schedules and no others, soon; in the order of the calls. Any thread; fails as ``ask`` does."""

        def do() -> None:
            self._send(self._schedules.replace(schedules, self.runtime.clock.time()))
            self._arm()

        return self._on_loop(do)

    def _on_loop(self, work: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        loop = self._loop
        if loop is None:
            future.set_exception(PylibError("the hub is not running yet"))
            return future

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except Exception as error:  # it is the asker's
                    future.set_exception(error)

        loop.post(run)
        return future

    # -- messages ----------------------------------------------------------------------------------------------------

    def process(self, message: object) -> Iterator[Stored]:
        """Everything that follows from a message: from ``HeartbeatFilter``, from a person, or from an application's thread."""
        outcomes: Iterator[Stored]
        if isinstance(message, Heard):
            outcomes = self._heard(message)
        elif isinstance(message, Request):
            outcomes = self._asked(message)
        else:
            now = self.runtime.clock.time()
            outcomes = self._heard(Heard(at=now, message_id=new_id(), events=from_forwarded(message, now=now)))
        for outcome in outcomes:
            self._tell(*(outcome if isinstance(outcome, tuple) else (outcome,)))
            yield outcome
        self._arm()

    def _heard(self, heard: Heard) -> Iterator[Stored]:
        now = self.runtime.clock.time()
        # What was due before this message was heard, or, of what was kept for us, before it was made.
        yield from self._engine.due(min(now, heard.at) if self._catching_up else now)
        base = self._causes.base(heard, now)
        changes = heard.changes
        if any(change.scope in _WHO for change in changes):
            changes = (*changes, *self._engine.learn(changes, base, now).changes)
        together: list[Part] = []
        failed: Exception | None = None
        for cause, each in _parts(base, heard):
            if self._causes.decided(cause):
                together.append(Outcome(cause=cause, at=now))
                continue
            try:
                if isinstance(each, Event) and each.kind == "meter":
                    together += self._metered(each, cause, now, changes)
                else:
                    together.append(_with(changes, self._engine.take(each, cause, now)))
            except Exception as error:  # what was decided before it is stored; the rest of the message is tried again
                failed = error
                break
            self._causes.note(cause)
            changes = ()
        if heard.images:
            together += [msgspec.structs.replace(image, cause=f"{base}.{number}") for number, image in heard.images]
        if changes:
            cause = f"{base}.more"
            together.append(Outcome(cause=new_id() if self._causes.decided(cause) else cause, at=now, changes=changes))
            self._causes.note(cause)
        if together:
            yield together[0] if len(together) == 1 and isinstance(together[0], Outcome) else tuple(together)
        if failed is not None:
            raise failed

    def _metered(self, event: Event, cause: str, now: float, changes: tuple[Change, ...]) -> tuple[Outcome | MeterRecord, ...]:
        """A reading: measured first; the rules see what is believed, and the store what it adds."""
        measured = self._meters.take(event)
        if measured is None:  # no number, or older than what is known
            return (_with(changes, self._engine.take(event, cause, now)),)
        changes = (*changes, measured.change(event.device))
        if measured.event is None:
            return (Outcome(cause=cause, at=now, event=event, changes=changes, decided=False),)
        outcome = _with(changes, self._engine.take(measured.event, cause, now))
        return outcome, MeterRecord(cause=cause, reading=measured.reading, added=measured.added)

    def _asked(self, request: Request) -> Iterator[Outcome]:
        if self._causes.decided(request.id):
            yield Outcome(cause=request.id, at=request.at)
            return
        now = self.runtime.clock.time()
        yield from self._engine.due(now)
        self._causes.note(request.id)
        kind, _, name = request.about.partition(":")
        if request.what in ("enable", "disable") and kind == "schedule":
            yield self._schedules.switch(request, name, now)
        elif request.what in ("set_register", "adjust_register"):
            yield self._tell_meter(request, now)
        else:
            yield self._engine.command(request, now)

    def _tell_meter(self, request: Request, now: float) -> Outcome:
        value = request.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return _answer(request, now, False, "it needs a number")
        try:
            step, changes = self._meters.told(request.about, request.what, float(value), request.id, now)
        except ConfigError as error:
            return _answer(request, now, False, str(error))
        done = _answer(request, now, True, "it was told", changes)
        return msgspec.structs.replace(done, steps=(step,))

    # -- time --------------------------------------------------------------------------------------------------------

    def arrange(self, loop: Loop) -> None:
        """Watch the pipe, and deal with whatever came due while nobody was here."""
        super().arrange(loop)
        self._loop = loop
        self._catching_up = True
        loop.post(self._begin)
        self._show_soon()

    def _arm(self) -> None:
        """Wake up when the next timer or schedule is due."""
        loop = self._loop
        if loop is None or self._catching_up:
            return
        dues = [due for due in (self._engine.next_due(), self._schedules.next_due()) if due is not None]
        due = min(dues, default=float("inf"))
        if due == self._due_at and self._timer is not None and self._timer.call is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_at = due
        self._timer = loop.call_later(min(LOOK_EVERY, due - loop.time()), self._ring)

    def _begin(self) -> None:
        """What came due while nobody was here: timers at once, schedules by their policy for what was missed."""
        now = self.runtime.clock.time()
        # The rules may have been changed since the state was stored.
        self._send([self._engine.reload(self._engine.book, now, new_id())])
        self._send(self._schedules.begin(now))
        if self._loop is not None:
            self._loop.call_later(CATCH_UP, self._caught_up)

    def _caught_up(self) -> None:
        if self._catching_up:
            self._catching_up = False
            self._ring()

    def _ring(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self.runtime.clock.time()
        self._send(self._engine.due(now))
        self._send(self._schedules.due(now))
        self._arm()

    def _send(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self._tell(outcome)
            self._sink.send_pyobj(outcome)

    def _tell(self, *stored: Part) -> None:
        for outcome in stored:
            if not isinstance(outcome, Outcome):
                continue
            for evaluation in outcome.evaluations:
                level = logging.INFO if evaluation.fired else _LEVELS.get(evaluation.reason, logging.DEBUG)
                log.log(level, "%s", evaluation.explanation, extra={"reason": evaluation.reason})
            if not self._showing and any(change.scope in _SHOWN for change in outcome.changes):
                self._show_soon()

    def _show_soon(self) -> None:
        loop, show = self._loop, self._show
        if loop is None or show is None or self._showing:
            return

        def now() -> None:
            self._showing = False
            show(self._engine)

        self._showing = True
        loop.call_later(SHOW_WITHIN, now)


def _parts(base: str, heard: Heard) -> Iterator[tuple[str, Event | Availability]]:
    """What a message says, each part with its cause. Who is there is told apart from what they say: a message that is
    delivered again says the same, but need not be a sign of life once more."""
    for number, said in enumerate(heard.said):
        yield f"{base}.is{number}", said
    for number, event in enumerate(heard.events):
        yield f"{base}.{number}", event


def _with(changes: tuple[Change, ...], outcome: Outcome) -> Outcome:
    """The outcome with changes that come before its own."""
    return msgspec.structs.replace(outcome, changes=(*changes, *outcome.changes)) if changes else outcome


def _answer(request: Request, now: float, done: bool, text: str, changes: tuple[Change, ...] = ()) -> Outcome:
    return Outcome(cause=request.id, at=now, evaluations=(answer(request, now, done, text),), changes=changes)
