"""Texts as PostgreSQL takes them. Needs psycopg: imported with the first connection to such a store."""

from __future__ import annotations

from typing import Final

from psycopg import Connection
from psycopg.types.string import StrDumperUnknown

__all__ = ["accept_nul"]

REPLACEMENT: Final = "\ufffd"


class _WithoutNul(StrDumperUnknown):
    """A NUL cannot be stored there, while JSON and SQLite know it: a device may well have one in its name. Its place is
    taken by the sign for what cannot be shown, so that the outcome is stored with everything else that is in it."""

    def dump(self, obj: str) -> bytes:
        return (obj.replace("\0", REPLACEMENT) if "\0" in obj else obj).encode(self._encoding)


def accept_nul(connection: Connection[object]) -> None:
    """Have a new connection take every text, whichever way it is sent: by the writer, the pages, a restore."""
    connection.adapters.register_dumper(str, _WithoutNul)
