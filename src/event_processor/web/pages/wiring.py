"""The wiring: the hub drawn while it runs, and where one of its threads is right now."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from event_processor.web.auth import context_of, require
from event_processor.web.pages.parts import wiring_known
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError
from pylib.observe.drawing import as_dot, as_mermaid

__all__ = ["thread", "wiring", "wiring_file"]


@require("viewer")
async def wiring(request: Request) -> Response:
    """The drawing. What flows is told by the stream a second later: it takes two looks."""
    return page(request, "wiring.html", wiring_known(context_of(request).wiring(), None), at="wiring")


@require("admin")
async def thread(request: Request) -> Response:
    """One thread: what it is, and where it is right now."""
    context, name = context_of(request), request.path_params["thread"]
    found = next((each for each in context.wiring().threads if each.name == name), None)
    if found is None:
        raise ProblemError(404, f"No thread is called {name}.")
    return page(request, "thread.html", at="wiring", thread=found, stack=context.stack(name) or "")


@require("viewer")
async def wiring_file(request: Request) -> Response:
    """The drawing for a document: DOT for Graphviz, or Mermaid."""
    found = context_of(request).wiring()
    text = as_dot(found, {}, "event processor") if request.path_params["form"] == "dot" else as_mermaid(found, {})
    name = "wiring.dot" if request.path_params["form"] == "dot" else "wiring.mmd"
    return PlainTextResponse(text, headers={"content-disposition": f'attachment; filename="{name}"'})
