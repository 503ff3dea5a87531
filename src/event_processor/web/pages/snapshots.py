"""The pictures of cameras: a page of them, and each one's file."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from event_processor.web.auth import context_of, require
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError
from pylib.errors import Rejected

__all__ = ["picture", "snapshots"]

PER_PAGE: Final = 48
"""Pictures on one page."""


@require("viewer")
async def snapshots(request: Request) -> Response:
    """The pictures, the latest first."""
    context = context_of(request)
    device = request.query_params.get("device", "")[:200]
    try:
        before = float(request.query_params["before"]) if "before" in request.query_params else None
    except ValueError:
        raise ProblemError(400, "The address of this page has a time in it that cannot be read.") from None
    found = await context.read(context.series.images, device=device or None, before=before, limit=PER_PAGE)
    return page(
        request,
        "snapshots.html",
        at="snapshots",
        pictures=found,
        device=device,
        cameras=sorted({each.device for each in found} | ({device} if device else set())),
        next=found[-1].at if len(found) == PER_PAGE else None,
    )


@require("viewer")
async def picture(request: Request) -> Response:
    """One picture's file. Its name is looked up among those that are stored; nothing else of the disk can be asked for."""
    context = context_of(request)
    name = request.path_params["name"]
    try:
        path = context.images.path_of(name)
    except Rejected:
        raise ProblemError(404, "There is no such picture.") from None
    if not await context.read(path.is_file):
        raise ProblemError(404, "This picture is no longer kept.")
    headers = {"cache-control": "private, max-age=86400"}
    kind = {".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}.get(path.suffix.lower(), "image/jpeg")
    return FileResponse(path, headers=headers, media_type=kind)
