"""From whatever schema a store has to the current one, by Alembic, from within: no file on the user's disk.

Each migration runs in a transaction, with the note of which schema it led to: a kill in the middle leaves the store at the
schema before it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from pylib.errors import ConfigError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

__all__ = ["HEAD", "revision_of", "revisions", "upgrade"]

HEAD: Final = "0005"
"""The schema of ``tables``. Kept here so that a start whose store is current does without Alembic's import."""

log = logging.getLogger("event_processor.store")

_TABLE: Final = "alembic_version"


def revision_of(connection: Connection) -> str | None:
    """The schema that a store has, or None for an empty one."""
    if not inspect(connection).has_table(_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalar()
    return found


def revisions() -> tuple[str, ...]:
    """Every schema there has been, the first one first."""
    return tuple(reversed([script.revision for script in _scripts().walk_revisions()]))


def upgrade(connection: Connection, to: str = HEAD) -> str | None:
    """Take a store to a schema, the current one by default; returns the schema that it had. Commits.

    :raises ConfigError: the store was made by a newer version of the hub.
    """
    before = revision_of(connection)
    connection.commit()
    if before == to:
        return before
    # It would tell of each migration, and of its own plug-ins, at the level of what users want to know.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    scripts = _scripts()
    if before is not None and before not in revisions():
        raise ConfigError(
            f"The store has schema {before}, and this version of the hub knows schemas up to {HEAD}: it was written by a "
            "newer one. Update the hub, or name another store."
        )
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    environment = EnvironmentContext(
        Config(), scripts, fn=lambda revision, context: scripts._upgrade_revs(to, revision), destination_rev=to
    )
    with environment:
        # SQLite can do this since our connections say BEGIN themselves.
        environment.configure(connection=connection, transaction_per_migration=True, transactional_ddl=True)
        with environment.begin_transaction():
            environment.run_migrations()
    connection.commit()
    if before is not None:
        log.info("The store was taken from schema %s to %s.", before, to)
    return before


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(__file__).with_name("migrations")))
