"""The audit is counted, and searched, by what was done."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"


def upgrade() -> None:
    op.create_index("ix_audit_action", "audit", ["action", "id"])
