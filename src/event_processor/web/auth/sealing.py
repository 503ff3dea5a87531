"""Secrets of second factors as they are kept: encrypted, with a key that is not in the database (docs/adr/0018).

So neither a backup nor a stolen database holds a second factor. Passwords, sessions and tokens are hashed, which will not do
here: the hub has to know the secret to compute the code.
"""

from __future__ import annotations

import base64
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pylib.delivery.sqlite import sync_folder

__all__ = ["KEY_FILE", "Sealer"]

log = logging.getLogger("event_processor.web")

#: In the state folder.
KEY_FILE: Final = "second-factor.key"

LARGEST_KEY_FILE: Final = 16 * 1024
"""Bytes of the file with the key that are read."""

_HEAD: Final = (
    "# Second factors are encrypted with this key. Copy it beside your backups: docs/how-to/back-up-and-restore.md\n"
)


class Sealer:
    """Encrypts and decrypts. Reads the file anew each time, so that one that is put back works at once. Blocks; any thread.

    :param folder: the state folder. A key is made there when it is needed for the first time, for its owner only.
    :param given: a key instead of the file's: 32 bytes in base64. What was encrypted with the file's is read all the same.
    """

    def __init__(self, folder: Path, given: str = "") -> None:
        self._file = folder / KEY_FILE
        self._given = given
        self._told = False

    def __repr__(self) -> str:
        return f"Sealer({str(self._file)!r})"

    @property
    def place(self) -> str:
        """Where the key is, for messages."""
        return "[web] second_factor_key" if self._given else str(self._file)

    def seal(self, user: int, secret: str) -> str:
        """The secret as it is kept, for this account only. Raises ``OSError`` where a key is needed and cannot be written."""
        keys = self._keys()
        if not keys:
            self._make()
            keys = self._keys()
        if not keys:
            raise OSError(f"{self.place} holds no key for second factors: put the right one back, or move the file away.")
        return MultiFernet(keys).encrypt(f"{user} {secret}".encode()).decode()

    def open(self, user: int, sealed: str) -> str | None:
        """The secret, or None where the key that it was encrypted with is gone. Raises ``OSError``: none can be read."""
        keys = self._keys()
        if not keys:
            return None
        try:
            owner, _, secret = MultiFernet(keys).decrypt(sealed.encode()).decode().partition(" ")
        except (InvalidToken, UnicodeError):
            return None
        return secret if owner == str(user) else None

    def _keys(self) -> list[Fernet]:
        """The key to encrypt with, then others: the file has one a line."""
        found = [self._given] if self._given else []
        try:
            with self._file.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(LARGEST_KEY_FILE).decode("utf-8", "replace")
        except FileNotFoundError:
            text, mode = "", 0
        except OSError as error:
            raise OSError(f"The key for second factors, {self._file}, cannot be read ({error.strerror}).") from error
        if mode & 0o077 and not self._told:
            self._told = True
            log.warning("%s can be read by others than its owner: chmod 600 %s", self._file, self._file)
        found += [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
        keys = []
        for number, line in enumerate(found):
            try:
                keys.append(Fernet(f"{line.rstrip('=')}=".replace("+", "-").replace("/", "_").encode()))
            except ValueError:
                log.error("%s: the key number %d is none: it has to be 32 bytes in base64.", self.place, number + 1)
        return keys

    def _make(self) -> None:
        """Write a new key, whole or not at all, and never over another one."""
        unfinished = self._file.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
        key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(f"{_HEAD}{key}\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(unfinished, self._file)
            except FileExistsError:
                return  # somebody else was first, and that one's key it is
            sync_folder(self._file.parent)
        except OSError as error:
            raise OSError(
                f"The key for second factors cannot be written to {self._file} ({error.strerror}): make that possible, or "
                "give one as [web] second_factor_key."
            ) from error
        finally:
            try:
                unfinished.unlink(missing_ok=True)
            except OSError:
                pass  # what stood in the way of writing it is said already
        log.info("Second factors are encrypted with a new key, %s: copy it beside your backups.", self._file)
