"""Finds the picture that goes with a notification: the latest that a camera had sent by then."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from event_processor.store.errors import StoreUnavailable
from event_processor.store.images import ImageFolder
from event_processor.store.reader import Reader
from event_processor.store.series import Series
from pylib.errors import Rejected

__all__ = ["Album"]

log = logging.getLogger("event_processor.store")

OLDEST_S: Final = 3600.0
"""Seconds by which a picture may be older than what it is shown with; an older one would mislead."""


class Album:
    """Any thread may call it, one at a time. Holds no connection in between: a damaged store may be set aside meanwhile."""

    def __init__(self, reader: Reader, folder: ImageFolder) -> None:
        self._reader, self._series, self._folder = reader, Series(reader), folder

    def latest(self, device: str, at: float) -> Path | None:
        """The file of the last picture of a device up to that moment (seconds since the epoch); ``None`` where there is none
        of the last hour, or the store cannot be read, which is said."""
        try:
            found = self._series.images(device=device, since=at - OLDEST_S, until=at, limit=1)
            return self._folder.path_of(found[0].name) if found else None
        except (StoreUnavailable, Rejected) as error:
            log.warning("A notification goes without the picture of %s: %s", device, error)
            return None
        finally:
            self._reader.close()
