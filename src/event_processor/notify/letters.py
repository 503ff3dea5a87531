"""Notes that were given up, as dead letters: listed, replayed and dropped by ``pylib dead-letters`` as all others are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from event_processor.notify.notes import Note
from pylib.delivery.doorbell import Doorbell
from pylib.delivery.letters import Letter
from pylib.delivery.retry import RetryStore
from pylib.delivery.sqlite import StoreBroken, StoreFull
from pylib.errors import MessageError
from pylib.runtime.clock import Clock
from pylib.runtime.loop import READ, Loop

__all__ = ["ORIGIN", "NoteLetters"]

log = logging.getLogger("event_processor.notify")

ORIGIN: Final = "notify"
_CONTENT_TYPE: Final = "application/x-msgpack"


class NoteLetters:
    """The dead letters of the notifier. For its thread.

    :param revived: takes a note that somebody wants told after all; raises ``MessageError`` if that is impossible.
    """

    def __init__(self, path: Path | None, clock: Clock, revived: Callable[[Note], None]) -> None:
        self._clock = clock
        self._revived = revived
        self._loop: Loop | None = None
        self._bell: Doorbell | None = None
        self._store = RetryStore(path, ORIGIN, clock, on_open=self._hang_bell)

    def arrange(self, loop: Loop) -> None:
        """Take what was replayed while nobody was here, and hear of what will be."""
        self._loop = loop
        self._take()

    def bury(self, note: Note, reason: str) -> None:
        """Make a dead letter of it. On the disk when it returns. Raises StoreBroken."""
        now = self._clock.time()
        self._store.bury(
            Letter(
                origin=ORIGIN,
                broker="apprise",
                address=note.target,
                key=note.target,
                body=msgspec.msgpack.encode(note),
                received_at=note.at,
                message_id=note.step,
                created_at=note.at,
                expires_at=note.expires_at,
                content_type=_CONTENT_TYPE,
                tries=note.tries + 1,
                error=reason,
                parked_at=now,
            )
        )

    def close(self) -> None:
        if self._bell is not None:
            if self._loop is not None:
                self._loop.unwatch(self._bell.fileno())
            self._bell.close()
            self._bell = None
        self._loop = None
        self._store.close()

    def _take(self) -> None:
        try:
            while letters := self._store.due(self._clock.time()):
                for letter in letters:
                    self._again(letter)
        except (StoreBroken, StoreFull) as error:
            log.error("Dead letters that were replayed wait: %s", error)

    def _again(self, letter: Letter) -> None:
        try:
            note = msgspec.msgpack.decode(letter.body, type=Note)
            self._revived(msgspec.structs.replace(note, tries=0, row=0, expires_at=letter.expires_at))
        except (msgspec.DecodeError, MessageError) as error:
            self._store.park(letter.ident, str(error), "")
        else:
            self._store.succeeded(letter.ident)

    def _hang_bell(self) -> None:
        if self._loop is None:
            return
        try:
            self._bell = Doorbell(self._store.path)
        except OSError as error:
            log.info("Replays of notifications are noticed at the next start only: %s", error)
            return
        self._loop.watch(self._bell.fileno(), READ, lambda mask: self._rung())

    def _rung(self) -> None:
        if self._bell is not None and self._bell.drain():
            try:
                self._store.refresh()
            except (StoreBroken, StoreFull) as error:
                log.error("Dead letters that were replayed wait: %s", error)
                return
            self._take()
