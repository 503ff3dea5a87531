"""Pictures on disk: by day, named after their content, bounded in size, forgotten by age and by what all of them take.

``2026/11/24/3f5a...c1.jpg`` below the folder of pictures. The same picture of the same day is one file. What is not a picture
that a browser shows is refused by its first bytes, whatever it calls itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, func, select

from event_processor.domain.records import ImageRecord
from event_processor.store import tables as t
from pylib.errors import Rejected

__all__ = ["ImageFolder", "ImageSweep"]

MOST_BYTES: Final = 10 * 1024 * 1024
"""Bytes of one picture, at most."""

SLICE: Final = 20
"""Pictures deleted at a time."""

ORPHAN_AGE: Final = 86_400.0
"""Seconds after which a file without an entry is taken for a leftover."""

DAY: Final = 86_400.0

_NAME: Final = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{64}\.(?:jpg|png|gif|webp)", re.ASCII)
_KINDS: Final = (
    (re.compile(rb"\xff\xd8\xff"), "jpg", "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png", "image/png"),
    (re.compile(rb"GIF8[79]a"), "gif", "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp", "image/webp"),
)


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
        ending, content_type = _kind(data)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{datetime.fromtimestamp(at, UTC):%Y/%m/%d}/{digest}.{ending}"
        file = self.folder / name
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A kill leaves a file under another name, never half a picture under its own.
            handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as new:
                    new.write(data)
                os.replace(temporary, file)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        return ImageRecord(
            name=name, device=device, at=at, size=len(data), sha256=digest, content_type=content_type, cause=cause
        )

    def path_of(self, name: str) -> Path:
        """Where a picture is. Raises ``Rejected`` for a name that is none of ours, such as one with ``..`` in it."""
        if _NAME.fullmatch(name) is None:
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


class ImageSweep:
    """Forgets pictures older than ``days``, and the oldest ones when all together take more than ``most_bytes``; 0 is without
    limit. Belongs to the writer's thread."""

    def __init__(self, folder: ImageFolder, *, days: float = 30.0, most_bytes: int = 2 * 1024**3) -> None:
        self.folder = folder
        self.days = days
        self.most_bytes = most_bytes

    def run(self, connection: Connection, now: float) -> int:
        """Forget a slice; how many pictures. In the caller's transaction. Raises what SQLAlchemy raises, and ``OSError``."""
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
        for row in rows:
            self.folder.remove(row.name)
        if rows:
            connection.execute(delete(t.images).where(t.images.c.id.in_([row.id for row in rows])))
        return len(rows)

    def orphans(self, connection: Connection, now: float) -> int:
        """Delete files that no entry names and that are older than a day; how many. Reads the whole folder."""
        gone = 0
        for file in self.folder.folder.rglob("*"):
            if not file.is_file() or file.stat().st_mtime > now - ORPHAN_AGE:
                continue
            name = file.relative_to(self.folder.folder).as_posix()
            known = connection.execute(select(t.images.c.id).where(t.images.c.name == name)).first()
            if known is None and (_NAME.fullmatch(name) or file.name.startswith(".new-")):
                file.unlink(missing_ok=True)
                gone += 1
        return gone


def _kind(data: bytes) -> tuple[str, str]:
    for pattern, ending, content_type in _KINDS:
        if pattern.match(data):
            return ending, content_type
    raise Rejected("this is no picture: neither JPEG nor PNG, GIF or WebP")
