"""Pictures on disk: by day, named after their content, bounded in size, forgotten by age and by what all of them take.

``2026/11/24/3f5a...c1.jpg`` below the folder of pictures. The same picture of a device on the same day is one file. What is no
picture that a browser shows is refused by its first bytes, whatever it calls itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, func, select

from event_processor.domain.pictures import MOST_BYTES, digest_of, is_name, kind_of_picture, name_of
from event_processor.domain.records import ImageRecord
from event_processor.store import tables as t
from pylib.errors import Rejected

__all__ = ["ImageFolder", "ImageSweep"]

log = logging.getLogger("event_processor.store")

SLICE: Final = 20
"""Pictures deleted at a time."""

LOOKED_AT: Final = 50
"""Files compared at a time with what the store knows."""

ORPHAN_AGE: Final = 86_400.0
"""Seconds after which a file without an entry is taken for a leftover."""

DAY: Final = 86_400.0


class ImageFolder:
    """The files. Any thread may call it; nothing is made before the first picture is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, data: bytes, *, device: str, at: float, cause: str | None = None) -> ImageRecord:
        """Write a picture; returns its entry, to be sent to the store's writer.

        Raises ``Rejected`` for what is no picture or too large, and ``OSError`` where it cannot be written.
        """
        if len(data) > MOST_BYTES:
            raise Rejected(f"the picture has {len(data)} bytes, and {MOST_BYTES} are the limit")
        kind = kind_of_picture(data)
        if kind is None:
            raise Rejected("this is no picture: neither JPEG nor PNG, GIF or WebP")
        digest = hashlib.sha256(data).hexdigest()
        name = name_of(digest, kind[0], device, at)
        file = self.folder / name
        if not file.exists():
            # A kill leaves a file under another name, never half a picture under its own.
            handle, temporary = _beside(file)
            try:
                with os.fdopen(handle, "wb") as new:
                    new.write(data)
                os.replace(temporary, file)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        return ImageRecord(name=name, device=device, at=at, size=len(data), sha256=digest, content_type=kind[1], cause=cause)

    def is_same(self, name: str, data: bytes, device: str) -> bool:
        """Whether this very picture of the device is there under ``name``. Raises ``OSError`` where that cannot be seen."""
        digest = digest_of(hashlib.sha256(data).hexdigest(), device)
        return is_name(name) and digest in name and (self.folder / name).is_file()

    def path_of(self, name: str) -> Path:
        """Where a picture is. Raises ``Rejected`` for a name that is none of ours, such as one with ``..`` in it."""
        if not is_name(name):
            raise Rejected("there is no such picture")
        return self.folder / name

    def remove(self, name: str) -> None:
        """Delete a picture, and the folders that are empty without it. One that is gone already is none of our business."""
        file = self.path_of(name)
        file.unlink(missing_ok=True)
        for folder in list(file.parents)[:3]:
            try:
                folder.rmdir()
            except OSError:
                return


def _beside(file: Path) -> tuple[int, str]:
    """A new file in the folder of another one. The sweep, on its own thread, takes folders away that have become empty: one
    that goes just then is made once more."""

    def made() -> tuple[int, str]:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.mkstemp(dir=file.parent, prefix=".new-")

    try:
        return made()
    except FileNotFoundError:
        return made()


class ImageSweep:
    """Forgets pictures older than ``days``, and the oldest ones when all together take more than ``most_bytes``; 0 is without
    limit. Belongs to the writer's thread."""

    def __init__(self, folder: ImageFolder, *, days: float = 30.0, most_bytes: int = 2 * 1024**3) -> None:
        self.folder = folder
        self.days = days
        self.most_bytes = most_bytes
        self._stuck = False
        self._files: Iterator[Path] = iter(())
        self._next_look = 0.0

    def run(self, connection: Connection, now: float) -> int:
        """Forget a slice; how many pictures. In the caller's transaction. Raises what SQLAlchemy raises."""
        oldest = select(t.images.c.id, t.images.c.name, t.images.c.size).order_by(t.images.c.at, t.images.c.id).limit(SLICE)
        aged = oldest.where(t.images.c.at < now - self.days * DAY)
        rows = list(connection.execute(aged)) if self.days else []
        if not rows and self.most_bytes:
            total = int(connection.execute(select(func.coalesce(func.sum(t.images.c.size), 0))).scalar_one())
            if total <= self.most_bytes:
                return 0
            for row in connection.execute(oldest).all():
                if total <= self.most_bytes:
                    break
                rows.append(row)
                total -= row.size
        # The file first: were we killed in between, the entry would still be there to tell of it.
        gone = [row.id for row in rows if self._remove(row.name)]
        if gone:
            connection.execute(delete(t.images).where(t.images.c.id.in_(gone)))
        return len(gone)

    def _remove(self, name: str) -> bool:
        try:
            self.folder.remove(name)
        except OSError as error:
            if not self._stuck:
                self._stuck = True
                log.warning("Old pictures cannot be deleted and stay (%s): make %s writable.", error, self.folder.folder)
            return False
        except Rejected:  # an entry of something else: there is no file of ours to it
            return True
        self._stuck = False
        return True

    def tidy(self, connection: Connection, now: float) -> bool:
        """Look at a few files, once a day at all of them, and delete those that no entry names and that are older than a day.
        Whether there are more to look at."""
        try:
            for _ in range(LOOKED_AT):
                file = next(self._files, None)
                if file is None:
                    if now < self._next_look:
                        return False
                    self._next_look = now + DAY
                    self._files = iter(self.folder.folder.rglob("*"))
                    return True
                self._clear(connection, file, now)
        except FileNotFoundError:  # a folder went while it was looked through
            self._files = iter(())
            return False
        except OSError as error:
            self._files = iter(())
            log.warning("The folder of pictures cannot be looked through (%s): make %s readable.", error, self.folder.folder)
            return False
        return True

    def _clear(self, connection: Connection, file: Path, now: float) -> None:
        """Delete a file that is a leftover."""
        try:
            if not file.is_file() or file.stat().st_mtime > now - ORPHAN_AGE:
                return
        except FileNotFoundError:
            return
        name = file.relative_to(self.folder.folder).as_posix()
        if not (is_name(name) or file.name.startswith(".new-")):
            return
        if connection.execute(select(t.images.c.id).where(t.images.c.name == name)).first() is None:
            file.unlink(missing_ok=True)
