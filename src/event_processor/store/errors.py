"""What can be wrong with a store, in words for the person who runs it."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pylib.delivery.sqlite import advice, is_corrupt
from pylib.errors import DependencyError, PylibError

__all__ = ["StoreDamaged", "StoreInUse", "StoreTaken", "StoreUnavailable", "damaged", "say"]


class StoreUnavailable(PylibError):
    """The store cannot be read or written at the moment. Says why, and what to do."""


class StoreDamaged(StoreUnavailable):
    """The file is damaged: what is in it cannot be trusted."""


class StoreInUse(StoreUnavailable):
    """Another program has the store open, and this needs it alone."""


class StoreTaken(DependencyError):
    """Another hub writes to the store from now on: this one must not do anything any more."""


_LONGEST: Final = 300


def damaged(error: BaseException) -> bool:
    """Whether the contents of a SQLite file are at fault, not its surroundings."""
    if isinstance(error, StoreDamaged):
        return True
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return isinstance(error, sqlite3.Error) and is_corrupt(error)


def say(error: BaseException) -> str:
    """What is wrong and what to do about it, in one or two sentences. Never the statement or its values."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return say(error.orig)
    if isinstance(error, sqlite3.Error | OSError):
        return advice(error)
    if isinstance(error, SQLAlchemyError):
        error = error.__cause__ or error
    lines = str(error).strip().splitlines()
    return f"{(lines[0] if lines else type(error).__name__)[:_LONGEST].rstrip('.')}."
