"""What can be wrong with a store, in words for the person who runs it."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError, SQLAlchemyError

from pylib.delivery.sqlite import advice, is_corrupt
from pylib.errors import DependencyError, PylibError

__all__ = ["AT_FAULT", "StoreDamaged", "StoreInUse", "StoreTaken", "StoreUnavailable", "cut_off", "damaged", "say"]

#: What a database raises for values that it does not take, and not for its own state; but see ``cut_off``.
AT_FAULT: Final = (
    DataError, IntegrityError, InterfaceError, ProgrammingError, OverflowError, UnicodeError, ValueError, TypeError
)  # fmt: skip


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


def cut_off(error: BaseException) -> bool:
    """Whether the connection is gone: then it says nothing of the values that were on their way."""
    return isinstance(error, DBAPIError) and bool(error.connection_invalidated)


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
