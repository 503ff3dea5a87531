"""What became of each step, not only whether it is done; pictures on disk."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"

NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME: Final = sa.Float(53)


def upgrade() -> None:
    op.add_column("steps", sa.Column("status", sa.String(16), nullable=False, server_default="pending"))
    op.add_column("steps", sa.Column("settled_at", TIME))
    op.add_column("steps", sa.Column("reason", sa.Text))
    op.execute("UPDATE steps SET status = 'done' WHERE done")
    op.drop_column("steps", "done")
    op.create_index(
        "ix_steps_pending",
        "steps",
        ["event_id", "position"],
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "images",
        sa.Column("id", NUMBER),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content_type", sa.String(64), nullable=False),
        sa.Column("cause", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    op.create_index("uq_images_name", "images", ["name"], unique=True)
    op.create_index("ix_images_at", "images", ["at"])
    op.create_index("ix_images_device", "images", ["device", "at"])
