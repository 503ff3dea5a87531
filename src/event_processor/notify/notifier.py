"""The notifier: takes steps of kind "notify", keeps them on disk, and has each target told at its own pace.

A step is settled once it is in the queue, which survives a kill. What could not be told after the last try becomes a dead
letter of the origin "notify", and ``pylib dead-letters replay`` has it told after all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from zmq.error import Again

from event_processor.domain.events import Event
from event_processor.domain.outcome import Step
from event_processor.notify.composing import compose
from event_processor.notify.letters import NoteLetters
from event_processor.notify.notes import Message, Note, PictureOf, Told, read_step
from event_processor.notify.pacing import Lane
from event_processor.notify.queue import NoteQueue
from event_processor.notify.sending import Answer, AppriseCourier, Courier
from event_processor.notify.targets import Target
from pylib.app import AppThread, LoopThread, RestartPolicy
from pylib.delivery.sqlite import StoreBroken, StoreFull
from pylib.errors import MessageError, Rejected
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop, Timer
from pylib.runtime.receipts import Receipt
from pylib.zmq import Closable

__all__ = ["URL_NOTIFY", "Notifier"]

log = logging.getLogger("event_processor.notify")

URL_NOTIFY: Final = "inproc://notify"
BATCH: Final = 100
_LAST_BATCHES: Final = 20
MOST_NOTES: Final = 200
"""Notes that are looked at for one message."""

LAST_ANSWERS_S: Final = 0.15
"""Seconds, at a stop, for attempts that are under way. What has no answer by then is sent again after the start."""

LOOK_S: Final = 60.0
"""Seconds after which the end of a quiet time is looked at again, since the clock may be set meanwhile."""

_RESTARTS: Final = RestartPolicy(limit=5, within=60.0)
_Status = Literal["sent", "deferred", "failed", "expired"]


class Notifier(LoopThread, Closable):
    """Tells people. One object per hub; everything but the construction happens on its own thread.

    :param path: the queue's file.
    :param images: the folder below which a step may name pictures.
    :param picture_of: finds the picture of an event, for steps that ask for it.
    :param dead_letters: the file of dead letters; ``None`` means the application's own.
    :param on_told: hears what became of each note. Called on the notifier's thread; must not block.
    :param on_event: hears that a target was given up for a note ("Notifications <name>", active), and that it works again.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        path: Path,
        *,
        url: str = URL_NOTIFY,
        images: Path | None = None,
        picture_of: PictureOf | None = None,
        dead_letters: Path | None = None,
        on_told: Callable[[Told], None] | None = None,
        on_event: Callable[[Event], None] | None = None,
        courier: Courier | None = None,
    ) -> None:
        AppThread.__init__(self, "notifier", restart=_RESTARTS)
        Closable.__init__(self, connect_url=url)
        self._targets = {target.name.lower(): target for target in targets}
        self._lanes = {name: Lane(target.rate_s, target.burst) for name, target in self._targets.items()}
        self._timers: dict[str, Timer] = {}
        self._under_way: dict[str, tuple[int, Message, Timer]] = {}
        self._queue = NoteQueue(path)
        self._letters = NoteLetters(dead_letters, self.runtime.clock, self._revived)
        self._images, self._picture_of = images, picture_of
        self._on_told, self._on_event = on_told, on_event
        self._courier: Courier = AppriseCourier(tuple(targets)) if courier is None else courier
        self._ailing: set[str] = set()
        self._loop: Loop | None = None
        self._gate = threading.Lock()
        self._stopping = False

    # --------------------------------------------------------------------------------------------------------- the thread

    def startup(self) -> None:
        self._stopping = False
        self._under_way.clear()
        self._lanes = {name: Lane(target.rate_s, target.burst) for name, target in self._targets.items()}
        self._courier.start()

    def arrange(self, loop: Loop) -> None:
        """Open the queue and go on with what is in it."""
        with self._gate:
            self._loop = loop
        loop.watch(self.socket, READ, lambda mask: self._readable())
        self._letters.arrange(loop)
        self._start(loop)

    def drain(self, loop: Loop) -> None:
        for _ in range(_LAST_BATCHES):
            if not self._take():
                break
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        if self._under_way:
            loop.call_later(LAST_ANSWERS_S, loop.stop)
        else:
            loop.stop()

    def cleanup(self) -> None:
        with self._gate:
            self._loop = None  # whoever comes back later finds nobody: its message is sent again after the next start
        self._courier.stop()
        self._letters.close()
        self._queue.close()

    def _start(self, loop: Loop) -> None:
        try:
            self._queue.open()
            for target in self._queue.targets().keys() - self._targets.keys():
                while gone := self._queue.waiting(target, MOST_NOTES, pictures=0):
                    self._give_up(gone, f"no [notify:{target}] is in the settings any more")
        except (StoreBroken, StoreFull) as error:
            log.error("Notifications wait: %s", error)
            loop.call_later(LOOK_S, lambda: self._start(loop))
            return
        for name in self._targets:
            self._plan(name)

    # ---------------------------------------------------------------------------------------------------------------- in

    def _readable(self) -> None:
        self._take()

    def _take(self) -> bool:
        """Take a batch of steps and keep it with one commit; only then are they settled. False if there was none."""
        taken: list[tuple[Note, tuple[Receipt, ...]]] = []
        for _ in range(BATCH):
            try:
                step, _carried = self.socket.take()
            except Again:
                break
            receipts, HERE.receipts = HERE.receipts, ()
            try:
                taken += [(note, receipts) for note in self._notes(step)]
            except MessageError as error:
                log.warning("A notification was set aside: %s", error)
                for receipt in receipts:
                    receipt.fail(error)
        if not taken:
            return False
        try:
            fresh = self._queue.put([note for note, _ in taken])
            self._make_room()
        except (StoreBroken, StoreFull) as error:
            log.error("%d notifications could not be kept and come again: %s", len(taken), error)
            for _, receipts in taken:
                for receipt in receipts:
                    receipt.fail(error)
            return False
        for _, receipts in taken:
            for receipt in receipts:
                receipt.release()
        now = self.runtime.clock.time()
        for note in fresh:
            quiet = self._targets[note.target].quiet
            if quiet is not None and not note.urgent and quiet.ends(now) is not None:
                self._tell(note, "deferred", "it is the quiet time")
        for name in {note.target for note in fresh}:
            self._plan(name)
        return True

    def _notes(self, step: object) -> list[Note]:
        if not isinstance(step, Step) or step.kind != "notify":
            raise Rejected(f"the notifier takes steps of kind notify, got {type(step).__name__}")
        target = self._targets.get(step.output.lower())
        if target is None:
            known = ", ".join(each.name for each in self._targets.values()) or "there are none"
            raise Rejected(f"rule {step.rule} wants to tell {step.output!r}: add [notify:{step.output}] (known: {known})")
        note = read_step(step, self._images, self._picture_of)
        return [
            msgspec.structs.replace(
                note,
                target=target.name.lower(),
                urgent=note.urgent or target.is_urgent(note.label, note.rule),
                pictures=note.pictures if target.pictures else (),
            )
        ]

    def _revived(self, note: Note) -> None:
        """A dead letter is to be told after all."""
        if note.target not in self._targets:
            raise Rejected(f"no [notify:{note.target}] is in the settings")
        self._queue.put([note], again=True)
        self._plan(note.target)

    def _make_room(self) -> None:
        too_many = self._queue.too_many()
        if too_many:
            self._give_up(too_many, "too many others wait for this target")

    # --------------------------------------------------------------------------------------------------------------- out

    def _plan(self, name: str) -> None:
        """Send to a target what is due, or look again when something is."""
        if self._stopping or self._loop is None:
            return
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        try:
            delay = self._next(name, self._loop)
        except (StoreBroken, StoreFull) as error:
            log.error("Notifications wait: %s", error)
            delay = LOOK_S
        if delay is not None:
            self._timers[name] = self._loop.call_later(delay, lambda: self._plan(name))

    def _next(self, name: str, loop: Loop) -> float | None:
        target, lane, now = self._targets[name], self._lanes[name], loop.time()
        expired = self._queue.expired(now)
        if expired:
            self._queue.remove(expired)
            for note in expired:
                log.warning("%s was not told in time: %s", target.name, note.title or note.label)
                self._tell(note, "expired", "its time was over before it could be sent")
        ready = lane.ready_at(loop.monotonic())
        if ready is None:
            return None  # the answer to what is under way plans again
        quiet = None if target.quiet is None else target.quiet.ends(now)
        # A service that fails again and again is tried with one note, lest all of them are counted as tried.
        most = 1 if lane.failures > 1 and not lane.limited else MOST_NOTES
        waiting = self._queue.waiting(name, most, urgent=quiet is not None, pictures=target.pictures)
        message = compose(waiting, target.pictures)
        if message is None:
            if quiet is None or not self._queue.waiting(name, 1, pictures=0):
                return None
            return min(LOOK_S, quiet - now)
        if ready > loop.monotonic():
            return min(LOOK_S, ready - loop.monotonic())
        number = lane.started(loop.monotonic())
        overdue = loop.call_later(target.deadline_s, lambda: self._overdue(name, number))
        self._under_way[name] = (number, message, overdue)
        self._courier.send(target, message, lambda answer: self._post(name, number, message, answer))
        return None

    def _post(self, name: str, number: int, message: Message, answer: Answer) -> None:
        """From the sending thread: hand the answer to the notifier's, if it still lives."""
        with self._gate:
            if self._loop is not None:
                self._loop.post(lambda: self._answered(name, number, message, answer))

    def _answered(self, name: str, number: int, message: Message, answer: Answer) -> None:
        lane, current = self._lanes[name], self._under_way.get(name)
        in_time = current is not None and current[0] == number
        if current is not None and in_time:
            current[2].cancel()
            del self._under_way[name]
        else:
            lane.abandoned = max(0, lane.abandoned - 1)
        try:
            if answer.ok:
                self._arrived(name, message)
                if in_time:
                    lane.succeeded()
            elif in_time:
                self._failed(name, message, answer)
        except (StoreBroken, StoreFull) as error:
            log.error("What became of a notification could not be kept, so it is sent again: %s", error)
            if lane.sending and in_time:
                lane.failed(self.runtime.clock.monotonic())
        if self._stopping and not self._under_way and self._loop is not None:
            self._loop.stop()
        self._plan(name)

    def _overdue(self, name: str, number: int) -> None:
        current = self._under_way.get(name)
        if current is None or current[0] != number:
            return
        del self._under_way[name]
        self._lanes[name].abandoned += 1
        try:
            self._failed(name, current[1], Answer(False, f"no answer within {self._targets[name].deadline_s:g} s"))
        except (StoreBroken, StoreFull) as error:
            log.error("Notifications wait: %s", error)
        self._plan(name)

    def _arrived(self, name: str, message: Message) -> None:
        if self._targets[name].pictures:
            self._queue.settle(message.notes)
        else:
            self._queue.remove(message.notes)
        for note in message.notes:
            if not note.told:
                self._tell(note, "sent")
        if name in self._ailing:
            self._ailing.discard(name)
            log.info("%s can be told again.", self._targets[name].name)
            self._event(name, False, "it works again")

    def _failed(self, name: str, message: Message, answer: Answer) -> None:
        target, lane = self._targets[name], self._lanes[name]
        delay = lane.failed(self.runtime.clock.monotonic(), answer.retry_after, answer.limited)
        log.log(
            logging.WARNING if lane.failures == 1 else logging.INFO,
            "%s could not be told, next try in %.0f s: %s", target.name, delay, answer.reason,
        )  # fmt: skip
        if answer.limited:
            return  # too much at once is the fault of no message: it waits, for as long as it takes
        self._queue.failed(message.notes)
        dead = [note for note in message.notes if note.tries + 1 >= target.tries]
        if dead:
            self._give_up(dead, answer.reason)

    def _give_up(self, notes: Sequence[Note], reason: str) -> None:
        """Make dead letters of notes. The letter is on disk before the note leaves the queue."""
        for note in notes:
            self._letters.bury(self._queue.whole(note), reason)
            self._queue.remove([note])
            log.error("%s was not told, and it is a dead letter now: %s (%s)", note.target, note.title or note.label, reason)
            self._tell(note, "failed", reason)
        for name in {note.target for note in notes}:
            if name not in self._ailing:
                self._ailing.add(name)
                self._event(name, True, reason)

    def _tell(self, note: Note, status: _Status, reason: str | None = None) -> None:
        if self._on_told is not None:
            now, attempts = self.runtime.clock.time(), note.tries + (status in ("sent", "failed"))
            self._on_told(
                Told(step=note.step, target=note.target, title=note.title, text=note.text, at=now, status=status,
                     attempts=attempts, reason=reason)
            )  # fmt: skip

    def _event(self, name: str, active: bool, detail: str) -> None:
        if self._on_event is not None:
            target = self._targets.get(name)
            self._on_event(
                Event(device=f"Notifications {target.name if target else name}", kind="input", type="problem", source="hub",
                      topic="", created_at=self.runtime.clock.time(), active=active, value=active, detail=detail)
            )  # fmt: skip
