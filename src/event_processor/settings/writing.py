"""Writes the files that people edit as well: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pylib.delivery.sqlite import sync_folder

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Replace a file as a whole or not at all, also when the power fails; a link stays one. Any thread. Raises ``OSError``.

    It keeps the permissions that it has; a new one may be read by everybody on the machine.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        # The line ends as they are: people's editors decide on them.
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(unfinished, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
