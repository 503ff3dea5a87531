"""What the hub remembers: events, why each rule did what it did, what was sent, the state, meters, images, accounts.

    tables      what is stored where
    database    opens SQLite or PostgreSQL, at the current schema
    writer      the one thread that writes; commits outcomes in batches and sends their steps on afterwards
    reader      read-only queries, on connections of their own
    retention   forgets what is too old or too much, in small slices
    images      pictures on disk
    backup      one file with everything, and back: restore
    original    what the first hub left: import_original

Needs the extra ``hub``; PostgreSQL needs ``postgresql`` as well.
"""

from __future__ import annotations

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401  # only whether it is there
except ModuleNotFoundError:
    raise ModuleNotFoundError("The hub's store needs SQLAlchemy: pip install 'pylib-automation[hub]'") from None
