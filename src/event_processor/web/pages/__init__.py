"""The pages. ``routes`` gives them to the server."""

from __future__ import annotations

from starlette.routing import BaseRoute

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """All routes of the pages and of their static files."""
    return []
