"""Who is there and who is alive: reads what devices say, keeps the registry, and notices when one falls silent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from event_processor.domain.bodies import from_forwarded, pictures_in
from event_processor.domain.entities import Availability, Found
from event_processor.domain.events import Event
from event_processor.domain.heard import Heard, Pictured, Raw, Request
from event_processor.domain.liveness import Liveness, Report
from event_processor.domain.outcome import Change
from event_processor.domain.registry import Registry, changes_of
from pylib.app import ZmqRelay
from pylib.brokers.identity import new_id
from pylib.runtime.loop import Loop, Timer
from pylib.runtime.wiring import Link
from pylib.zmq import URL_HEARTBEAT_NANNY, URL_WORKER_APP

__all__ = ["HeartbeatFilter", "Pictures", "Reader"]

log = logging.getLogger("event_processor.heartbeat")

#: Topics whose problems are remembered, so that each is said once and not at every message.
MOST_PROBLEMS: Final = 1000


class Reader(Protocol):
    """What turns an MQTT message into what it says. Belongs to the thread that reads."""

    def read(self, topic: str, body: bytes, *, retained: bool, now: float) -> Found:
        """Read one message. Never raises for what a device sends."""

    def noticed(self, where: str, events: Iterable[Event]) -> Found:
        """Know the devices of events that were read elsewhere. Never raises."""

    def start(self) -> Found:
        """What is known without any message."""

    def due(self, now: float) -> Found:
        """What happens without a message, by ``now``."""

    def next_due(self) -> float | None:
        """When ``due`` is to be called next, in seconds since the epoch."""

    def take_changes(self) -> tuple[Change, ...]:
        """What else is to be stored since the last call."""


class Pictures(Protocol):
    """Where pictures are kept. Belongs to the thread that reads."""

    def keep(self, heard: Heard, pictures: tuple[tuple[int, object], ...], now: float) -> Heard:
        """What was heard, with the pictures' entries; they come with the number of their event. Never raises."""


class HeartbeatFilter(ZmqRelay):
    """Stands between the sources and the decision: ``inproc://heartbeat-nanny`` in, ``inproc://app-worker`` out.

    It owns the registry and what is known of everybody's liveness. A device that falls silent is noticed by a timer, without
    the device's help, and told to the rules like an event.

    :param subscribe: called with topic filters to listen to besides, as devices are found. Any thread may call it.
    :param link: how the MQTT connection is: silence means nothing while there is none.
    :param pictures: keeps those that devices send; without it they are left out.
    """

    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        liveness: Liveness,
        *,
        subscribe: Callable[[tuple[str, ...]], None] | None = None,
        link: Callable[[], Link | None] | None = None,
        pictures: Pictures | None = None,
        source_zmq_url: str = URL_HEARTBEAT_NANNY,
        sink_zmq_url: str = URL_WORKER_APP,
    ) -> None:
        ZmqRelay.__init__(self, "HeartbeatFilter", source_zmq_url, sink_zmq_url)
        self._reader = reader
        self._registry = registry
        self._liveness = liveness
        self._subscribe = subscribe
        self._link = link
        self._pictures = pictures
        self._up = True
        self._problems: dict[str, None] = {}
        self._loop: Loop | None = None
        self._timer: Timer | None = None
        self._timer_due = 0.0

    def process(self, message: object) -> Heard | Request | None:
        """What a message says, of whichever source; None where it says nothing."""
        now = self.runtime.clock.time()
        if isinstance(message, Request):
            return message
        if isinstance(message, Raw):
            return self._read(message, now)
        pictures: tuple[tuple[int, object], ...] = ()
        if isinstance(message, Heard):
            heard = message
        elif isinstance(message, Pictured):
            heard, pictures = message.heard, message.pictures
        else:  # the form of the first listings, from a thread of one's own
            heard = Heard(at=now, message_id=new_id(), events=from_forwarded(message, now=now))
            if isinstance(message, dict) and len(message) == 1:
                pictures = pictures_in(next(iter(message.values())), heard.events)
        changes = changes_of(self._reader.noticed(heard.events[0].topic, heard.events)) if heard.events else ()
        said = self._note(heard.events, now)
        if pictures:
            heard = self._kept(heard, pictures, now)
        return self._told(heard, (*heard.said, *said), (*heard.changes, *changes))

    def _read(self, raw: Raw, now: float) -> Heard | None:
        found = self._reader.read(raw.topic, raw.body, retained=raw.retained, now=raw.at)
        for problem in found.problems:
            self._complain(raw.topic, problem.removeprefix(f"{raw.topic}: "))
        changes = changes_of(found)
        if found.subscribe and self._subscribe is not None:
            self._subscribe(found.subscribe)
        reports: list[Report] = []
        for each in found.availability:
            reports += self._liveness.said(each.device, each.online, now, entity=each.entity, retained=raw.retained)
        said = (*_words(reports), *self._note(found.events, now))
        heard = Heard(at=raw.at, message_id=raw.message_id, origin=raw.origin, again=raw.again, events=found.events)
        if found.pictures:
            heard = self._kept(heard, found.pictures, now)
        return self._told(heard, said, changes)

    def _kept(self, heard: Heard, pictures: tuple[tuple[int, object], ...], now: float) -> Heard:
        return heard if self._pictures is None else self._pictures.keep(heard, pictures, now)

    def _note(self, events: Iterable[Event], now: float) -> tuple[Availability, ...]:
        """Take the events as signs of life. Gives who is back."""
        reports: list[Report] = []
        for event in events:
            entity = self._registry.entity(event.device)
            device = event.device if entity is None else entity.device
            reports += self._liveness.heard(device, now, retained=event.retained)
            if entity is not None and entity.expire_after_s > 0 and not event.retained:
                reports += self._liveness.value(entity.key, device, entity.expire_after_s, now)
        return _words(reports)

    def _told(self, heard: Heard, said: tuple[Availability, ...], changes: tuple[Change, ...]) -> Heard | None:
        changes = (*changes, *self._reader.take_changes(), *self._liveness.take_changes())
        self._arm()
        if not (heard.events or said or changes):
            return None
        return Heard(
            at=heard.at, message_id=heard.message_id, origin=heard.origin, again=heard.again, events=heard.events,
            said=said, changes=changes, images=heard.images,
        )  # fmt: skip

    # -- silence -----------------------------------------------------------------------------------------------------

    def arrange(self, loop: Loop) -> None:
        """Watch the pipe, and whoever falls silent."""
        super().arrange(loop)
        self._loop = loop
        changes = changes_of(self._reader.start())
        if changes:
            self._sink.send_pyobj(Heard(at=self.runtime.clock.time(), message_id=new_id(), changes=changes))
        self._arm()

    def drain(self, loop: Loop) -> None:
        """Keep what was learned of everybody's habits, then end."""
        super().drain(loop)
        changes = self._liveness.take_changes(everything=True)
        if changes:
            self._sink.send_pyobj(Heard(at=self.runtime.clock.time(), message_id=new_id(), changes=changes))

    def _arm(self) -> None:
        loop = self._loop
        if loop is None:
            return
        due = self._liveness.next_due()
        read_due = self._reader.next_due()
        if read_due is not None:
            due = min(due, read_due)
        if self._timer is not None and self._timer.call is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = loop.call_later(due - self.runtime.clock.time(), self._look)

    def _look(self) -> None:
        now = self.runtime.clock.time()
        link = self._link() if self._link is not None else None
        if link is not None and link.up != self._up:
            self._up = link.up
            (self._liveness.connected if link.up else self._liveness.disconnected)(link.since)
        said = _words(self._liveness.due(now))
        events = self._reader.due(now).events
        changes = (*self._reader.take_changes(), *self._liveness.take_changes())
        if said or events or changes:
            self._sink.send_pyobj(Heard(at=now, message_id=new_id(), said=said, events=events, changes=changes))
        self._timer = None
        self._arm()

    def _complain(self, topic: str, problem: str) -> None:
        said = f"{topic} was set aside: {problem}"
        if said not in self._problems and len(self._problems) < MOST_PROBLEMS:
            self._problems[said] = None
            log.warning("%s: a message on %s", self.name, said)


def _words(reports: Iterable[Report]) -> tuple[Availability, ...]:
    """Say it in the log, once, and to the rules."""
    said = []
    for report in reports:
        who = report.entity or report.device
        log.log(logging.INFO if report.online else logging.WARNING, "%s is %s: %s.", who,
                "there" if report.online else "gone", report.why)  # fmt: skip
        said.append(Availability(device=report.device, online=report.online, at=report.at, entity=report.entity))
    return tuple(said)
