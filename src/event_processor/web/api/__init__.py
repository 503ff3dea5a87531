"""The API for programs, under ``/api``. ``routes`` gives it to the server."""

from __future__ import annotations

from starlette.routing import BaseRoute

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """All routes of the API."""
    return []
