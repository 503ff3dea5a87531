"""A message that failed, as it is kept: waiting for its next try, or dead until somebody looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from pylib.config.appconfig import AppConfig
from pylib.config.folders import state_folder
from pylib.delivery.sqlite import StoreBroken, StoreFull
from pylib.errors import MessageError

__all__ = [
    "DATABASE_NAME",
    "DEFAULT_LIMITS",
    "Letter",
    "Limits",
    "NoSuchLetter",
    "StoreBroken",
    "StoreFull",
    "Summary",
    "store_path",
]

DATABASE_NAME: Final = "delivery.db"
"""The file, in the application's state folder, that holds what failed."""


class NoSuchLetter(MessageError):
    """A dead letter was asked for that is not there (any more)."""


class Letter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A message that failed. All times are seconds since the epoch.

    ``key`` is the order key: of the letters of one key the oldest is tried first, and the others wait for it.
    ``tries`` counts how often the handler has failed on it; a letter that merely waits behind another has 0.
    """

    origin: str
    """Which listener or subscriber took it: the name of its thread, as it is given the letter again."""
    broker: str
    """``mqtt://host:port`` or ``rabbitmq://host:port``; never with a password."""
    address: str
    """The topic or the routing key."""
    key: str
    body: bytes
    received_at: float
    ident: int = 0
    """The number under which it is stored; 0 before that. A number is never used twice in one file."""
    message_id: str | None = None
    created_at: float | None = None
    expires_at: float | None = None
    content_type: str | None = None
    headers: dict[str, object] = {}
    tries: int = 0
    due_at: float = 0.0
    error: str = ""
    """``Type: text`` of the last failure."""
    traceback: str = ""
    parked_at: float | None = None
    """When it became a dead letter; ``None`` while it waits for another try."""

    def expired(self, now: float) -> bool:
        """Whether its life, which counts from its creation and not from its arrival here, is over."""
        return self.expires_at is not None and self.expires_at <= now


class Summary(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A dead letter without its body and traceback, as a list shows it."""

    ident: int
    origin: str
    broker: str
    address: str
    key: str
    message_id: str | None
    created_at: float | None
    expires_at: float | None
    received_at: float
    parked_at: float
    tries: int
    size: int
    """Bytes of the body."""
    error: str


class Limits(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How much is kept. Dead letters make room by dropping the oldest; what still has to be delivered never does."""

    dead_letters: int = 100_000
    dead_bytes: int = 1024**3
    waiting_letters: int = 1_000_000
    """Beyond it ``put`` raises ``StoreFull``: the broker keeps what it is not told to forget."""
    waiting_bytes: int = 1024**3
    longest_wait: float = 3600.0
    """Seconds. A due time further away can only come from a clock that was wrong, and is brought back to this."""


DEFAULT_LIMITS: Final = Limits()


def store_path(config: AppConfig | None = None, application: str | None = None) -> Path:
    """The file in which an application keeps what failed: in its ``state_folder``. Reads the settings; any thread.

    :raises ConfigError: the settings file cannot be read.
    """
    return state_folder(config, application) / DATABASE_NAME
