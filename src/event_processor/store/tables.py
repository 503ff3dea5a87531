"""The tables of the store, as they are at the current schema. Times are seconds since the epoch (UTC), as floats.

    events ---< evaluations        one row per outcome; what each rule concluded
       |
       +------< steps              what is to be done about it: an outbox, ``pending`` until it was accepted
    state                          the hub's state: scope, key, JSON
    readings, totals               meters: every reading, and what was metered per hour, day and month
    notifications, images          what people were told; pictures on disk
    users ---< sessions, tokens    who may look at it; ``audit``: who did what
    meta                           facts about this store

An outcome that is not about an event is a row of ``events`` too: with ``kind`` "presence", "request" or "schedule" and what it
is about as ``body``, or "timer" and none.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

__all__ = [
    "DONE",
    "EXPIRED",
    "FAILED",
    "METADATA",
    "PENDING",
    "audit",
    "evaluations",
    "events",
    "images",
    "meta",
    "notifications",
    "readings",
    "sessions",
    "state",
    "steps",
    "tokens",
    "totals",
    "users",
]

PENDING: Final = "pending"
DONE: Final = "done"
FAILED: Final = "failed"
EXPIRED: Final = "expired"

# SQLite numbers rows by themselves only where the key's type is INTEGER.
_Number: Final = BigInteger().with_variant(Integer(), "sqlite")
# Double precision everywhere: a time has microseconds.
_Time: Final = Float(53)

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

events: Final = Table(
    "events",
    METADATA,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("cause", Text, nullable=False),
    Column("at", _Time, nullable=False),
    Column("device", Text, nullable=False, server_default=""),
    Column("kind", String(16), nullable=False),
    Column("type", Text, nullable=False, server_default=""),
    Column("topic", Text, nullable=False, server_default=""),
    Column("active", Boolean),
    Column("body", Text),
    Index("uq_events_cause", "cause", unique=True),
    Index("ix_events_at", "at", "id"),
    Index("ix_events_device", "device", "at", "id"),
)

evaluations: Final = Table(
    "evaluations",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("event_id", _Number, ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("rule", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("at", _Time, nullable=False),
    Column("fired", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("checks", Text, nullable=False),
    Index("ix_evaluations_event", "event_id"),
    Index("ix_evaluations_rule", "rule", "at", "id"),
    Index("ix_evaluations_device", "device", "at", "id"),
)

steps: Final = Table(
    "steps",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("event_id", _Number, ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("rule", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", _Time, nullable=False),
    Column("expires_at", _Time, nullable=False),
    Column("qos", Integer, nullable=False),
    Column("retain", Boolean, nullable=False),
    Column("status", String(16), nullable=False, server_default=PENDING),
    Column("settled_at", _Time),
    Column("reason", Text),
    Index("ix_steps_event", "event_id", "position"),
    Index("ix_steps_output", "output", "at"),
    Index(
        "ix_steps_pending",
        "event_id",
        "position",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
)

state: Final = Table(
    "state",
    METADATA,
    Column("scope", String(16), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("changed_at", _Time, nullable=False),
)

readings: Final = Table(
    "readings",
    METADATA,
    Column("meter", Text, primary_key=True),
    Column("at", _Time, primary_key=True),
    Column("register", _Time),
    Column("delta", _Time),
    Column("minute", _Time),
    Index("ix_readings_at", "at"),
)

totals: Final = Table(
    "totals",
    METADATA,
    Column("meter", Text, primary_key=True),
    Column("span", String(8), primary_key=True),  # hour, day, month
    Column("start", _Time, primary_key=True),
    Column("amount", _Time, nullable=False),
    Column("samples", Integer, nullable=False),
)

notifications: Final = Table(
    "notifications",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("step_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", _Time, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Index("ix_notifications_at", "at"),
    Index("ix_notifications_step", "step_id"),
)

images: Final = Table(
    "images",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("name", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("at", _Time, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content_type", String(64), nullable=False),
    Column("cause", Text),
    Index("uq_images_name", "name", unique=True),
    Index("ix_images_at", "at"),
    Index("ix_images_device", "device", "at"),
)

users: Final = Table(
    "users",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("totp_secret", Text),
    Column("totp_encrypted", Boolean, nullable=False, server_default=text("false")),
    Column("totp_last_step", _Number),
    Column("created_at", _Time, nullable=False),
    Column("changed_at", _Time, nullable=False),
    Column("last_login_at", _Time),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Index("uq_users_name", "name", unique=True),
)

sessions: Final = Table(
    "sessions",
    METADATA,
    Column("hash", String(64), primary_key=True),
    Column("user_id", _Number, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("seen_at", _Time, nullable=False),
    Column("expires_at", _Time, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Index("ix_sessions_user", "user_id"),
    Index("ix_sessions_expires", "expires_at"),
)

tokens: Final = Table(
    "tokens",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("user_id", _Number, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("expires_at", _Time),
    Column("used_at", _Time),
    Column("revoked_at", _Time),
    Index("uq_tokens_hash", "hash", unique=True),
    Index("ix_tokens_user", "user_id"),
)

audit: Final = Table(
    "audit",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("at", _Time, nullable=False),
    Column("who", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_audit_at", "at", "id"),
    Index("ix_audit_who", "who", "at"),
    Index("ix_audit_action", "action", "id"),
)

meta: Final = Table(
    "meta",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
