"""What the notifier says of its notes, on its way to the store and to the rules."""

from __future__ import annotations

import zmq

from event_processor.domain.events import Event
from event_processor.domain.heard import Heard
from event_processor.domain.records import NotificationRecord
from event_processor.notify.notes import Told
from event_processor.notify.notifier import Notifier
from pylib.brokers.identity import new_id
from pylib.zmq import URL_WORKER_APP

__all__ = ["Teller"]


class Teller:
    """Hands on what became of each note, and that a target fails or works again. Called on the notifier's thread only,
    whose sockets it uses: ``join`` it before the thread starts."""

    def __init__(self, store_url: str, events_url: str = URL_WORKER_APP) -> None:
        self._urls = (store_url, events_url)

    def join(self, notifier: Notifier) -> None:
        """Open the pipes, as the notifier's own."""
        self._store, self._events = (notifier.get_socket(zmq.PUSH) for _ in self._urls)
        self._store.connect(self._urls[0])
        self._events.connect(self._urls[1])

    def told(self, told: Told) -> None:
        """Keep what became of a note."""
        record = NotificationRecord(
            step=told.step,
            target=told.target,
            title=told.title,
            body=told.text,
            at=told.at,
            status=told.status,
            attempts=told.attempts,
            reason=told.reason,
        )
        self._store.send_pyobj(record)

    def event(self, event: Event) -> None:
        """Let the rules know."""
        self._events.send_pyobj(Heard(at=event.created_at, message_id=new_id(), events=(event,)))
