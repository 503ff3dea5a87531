"""Readings and totals of meters; events can be found by their type and topic.

The readings of events that are stored already are taken over; their totals are not, since they were never promised.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME: Final = sa.Float(53)
SLICE: Final = 1000


def upgrade() -> None:
    op.add_column("events", sa.Column("type", sa.Text, nullable=False, server_default=""))
    op.add_column("events", sa.Column("topic", sa.Text, nullable=False, server_default=""))
    op.add_column("events", sa.Column("active", sa.Boolean))
    op.create_table(
        "readings",
        sa.Column("meter", sa.Text),
        sa.Column("at", TIME),
        sa.Column("register", TIME),
        sa.Column("delta", TIME),
        sa.Column("minute", TIME),
        sa.PrimaryKeyConstraint("meter", "at", name="pk_readings"),
    )
    op.create_index("ix_readings_at", "readings", ["at"])
    op.create_table(
        "totals",
        sa.Column("meter", sa.Text),
        sa.Column("span", sa.String(8)),
        sa.Column("start", TIME),
        sa.Column("amount", TIME, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("meter", "span", "start", name="pk_totals"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", NUMBER),
        sa.Column("step_id", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
    )
    op.create_index("ix_notifications_at", "notifications", ["at"])
    op.create_index("ix_notifications_step", "notifications", ["step_id"])
    _carry_over(op.get_bind())


def _carry_over(connection: sa.Connection) -> None:
    """Fill the new columns, and the readings, from the events' own text, a slice at a time."""
    events = sa.table("events", *(sa.column(name) for name in ("id", "body", "type", "topic", "active")))
    change = (
        events.update()
        .where(events.c.id == sa.bindparam("row"))
        .values(type=sa.bindparam("new_type"), topic=sa.bindparam("new_topic"), active=sa.bindparam("new_active"))
    )
    readings = sa.table("readings", *(sa.column(name) for name in ("meter", "at", "register", "minute")))
    seen: dict[tuple[str, float], dict[str, Any]] = {}
    after = 0
    while True:
        found = connection.execute(
            sa.select(events.c.id, events.c.body).where(events.c.id > after).order_by(events.c.id).limit(SLICE)
        ).all()
        if not found:
            break
        after = found[-1].id
        rows: list[dict[str, Any]] = []
        for row in found:
            if row.body is None:
                continue
            event: dict[str, Any] = msgspec.json.decode(row.body)
            rows.append(
                {
                    "row": row.id,
                    "new_type": event.get("type") or "",
                    "new_topic": event.get("topic") or "",
                    "new_active": event.get("active"),
                }
            )
            if event.get("kind") == "meter":
                at = float(event["created_at"])
                seen[event["device"], at] = {
                    "meter": event["device"], "at": at, "register": event.get("value"), "minute": event.get("minute"),
                }  # fmt: skip
        if rows:
            connection.execute(change, rows)
        if seen:
            there = sa.select(readings.c.meter, readings.c.at).where(readings.c.at.in_([at for _, at in seen]))
            known = {(row.meter, row.at) for row in connection.execute(there)}
            fresh = [reading for key, reading in seen.items() if key not in known]
            if fresh:
                connection.execute(readings.insert(), fresh)
            seen.clear()
