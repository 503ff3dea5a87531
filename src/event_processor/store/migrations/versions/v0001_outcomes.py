"""Events, what rules concluded, what was sent, and the state."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME: Final = sa.Float(53)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("device", sa.Text, nullable=False, server_default=""),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("body", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("uq_events_cause", "events", ["cause"], unique=True)
    op.create_index("ix_events_at", "events", ["at", "id"])
    op.create_index("ix_events_device", "events", ["device", "at", "id"])
    op.create_table(
        "evaluations",
        sa.Column("id", NUMBER),
        sa.Column("event_id", NUMBER, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("fired", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.Column("checks", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_evaluations_event_id", ondelete="CASCADE"),
    )
    op.create_index("ix_evaluations_event", "evaluations", ["event_id"])
    op.create_index("ix_evaluations_rule", "evaluations", ["rule", "at", "id"])
    op.create_index("ix_evaluations_device", "evaluations", ["device", "at", "id"])
    op.create_table(
        "steps",
        sa.Column("id", sa.Text),
        sa.Column("event_id", NUMBER, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("qos", sa.Integer, nullable=False),
        sa.Column("retain", sa.Boolean, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("id", name="pk_steps"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_steps_event_id", ondelete="CASCADE"),
    )
    op.create_index("ix_steps_event", "steps", ["event_id", "position"])
    op.create_index("ix_steps_output", "steps", ["output", "at"])
    op.create_table(
        "state",
        sa.Column("scope", sa.String(16)),
        sa.Column("key", sa.Text),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_state"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.Text),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
