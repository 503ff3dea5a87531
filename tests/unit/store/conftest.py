"""A store of either kind per test, and what is needed to look into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.postgresql import postgresql, postgresql_server

__all__ = ["postgresql", "postgresql_server", "store_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made: what uses it is tried with SQLite and with PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "hub.db")
    url: str = request.getfixturevalue("postgresql")
    return url
