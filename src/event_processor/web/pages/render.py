"""Makes pages of templates: what every template knows, and how moments and values are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from event_processor.domain.fields import Scalar
from event_processor.domain.pictures import is_name
from event_processor.web.auth import context_of, current, may, page_context

__all__ = ["NAVIGATION", "STATIC", "back", "environment", "fragment", "page", "said", "value_text"]

_WEB: Final = Path(__file__).parent.parent
STATIC: Final = _WEB / "static"
"""The folder of the files that are served as they are."""

#: Name, title, address, and whether a phone's bar has it.
NAVIGATION: Final = (
    ("home", "Home", "/", True),
    ("devices", "Devices", "/devices", True),
    ("events", "Events", "/events", True),
    ("rules", "Rules", "/rules", True),
    ("schedules", "Schedules", "/schedules", False),
    ("meters", "Meters", "/meters", False),
    ("snapshots", "Snapshots", "/snapshots", False),
    ("dead-letters", "Dead letters", "/dead-letters", False),
    ("wiring", "Wiring", "/wiring", False),
    ("settings", "Settings", "/settings", False),
)
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("door", "window", "garage_door", "garage", "opening", "gate"), ("closed", "open")),
    **dict.fromkeys(("motion", "occupancy", "moving"), ("quiet", "motion")),
    **dict.fromkeys(("moisture", "leak"), ("dry", "wet")),
    **dict.fromkeys(("smoke", "gas", "carbon_monoxide", "safety", "problem", "tamper"), ("all well", "alarm")),
    "presence": ("away", "home"),
    "vibration": ("quiet", "shaken"),
}
_PLAIN: Final = frozenset(("on", "off", "true", "false", "1", "0"))
TEXT_MOST: Final = 60
"""Characters of a value that a list shows; the page of the event has all of it."""


@cache
def environment() -> Environment:
    """The templates. An unknown name in one of them is an error, and everything is escaped."""
    made = Environment(loader=FileSystemLoader(_WEB / "templates"), autoescape=True, undefined=StrictUndefined)
    made.filters.update(iso=_iso, full=_full, short=_short, ahead=_ahead, clock=_clock, urlpath=_urlpath, size=_size)
    made.trim_blocks = made.lstrip_blocks = True
    return made


@cache
def _templates() -> Jinja2Templates:
    return Jinja2Templates(env=environment(), context_processors=[_known])


def page(
    request: Request,
    name: str,
    given: Mapping[str, object] | None = None,
    /,
    *,
    at: str = "",
    status: int = 200,
    **known: object,
) -> Response:
    """A whole page. ``at`` is its name in the navigation. On the web's loop: a template costs about a millisecond."""
    return _templates().TemplateResponse(request, name, {"page": at, **(given or {}), **known}, status_code=status)


def fragment(request: Request, name: str, given: Mapping[str, object], /) -> Response:
    """A part of a page, for the script that asked for it."""
    return page(request, name, given)


def said(request: Request, text: str, *, bad: bool = False, then: Mapping[str, object] | None = None) -> Response:
    """What became of something that a form asked for: a message on the page, and events for its parts."""
    if "hx-request" not in request.headers:
        return back(request)
    events = {"say": {"text": text, "bad": bad}, **(then or {})}
    # A header holds ASCII: the rest is escaped as JSON does it.
    header = json.dumps(events)
    return HTMLResponse("", 200, {"HX-Trigger": header, "HX-Reswap": "none"})


def back(request: Request, otherwise: str = "/") -> Response:
    """Back to the page with the form."""
    came = request.headers.get("referer", "")
    host = str(request.base_url)
    return RedirectResponse(came if came.startswith(host) else otherwise, 303)


def value_text(value: Scalar, unit: str = "", active: bool | None = None, kind: str = "") -> str:
    """A value as people read it: ``21.5 °C``, ``open``, ``on``. ``kind`` is the entity's type: a door is not "off"."""
    if value is None or isinstance(value, bool) or (active is not None and str(value).lower() in _PLAIN):
        state = value if isinstance(value, bool) and active is None else active
        return "–" if state is None else _WORDS.get(kind, ("off", "on"))[state]
    elif isinstance(value, float):
        text = f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
        if abs(value) >= 1e15:
            text = f"{value:g}"
    else:
        text = "picture" if is_name(value) else str(value)
    text = text if len(text) <= TEXT_MOST else text[: TEXT_MOST - 1] + "…"
    return f"{text} {unit}" if unit else text


def _known(request: Request) -> dict[str, object]:
    context = context_of(request)
    user = current(request)
    return {
        **page_context(request),
        "navigation": NAVIGATION,
        "zone": context.settings.house.timezone,
        "house_zone": context.settings.house.zone,
        "now": context.now(),
        "problems": context.health().problems if user is not None else (),
        "may_operate": user is not None and may(user.role, "operator"),
        "may_admin": user is not None and may(user.role, "admin"),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


@pass_context
def _full(context: Context, at: float) -> str:
    return f"{_local(context, at):%A, %d %B %Y at %H:%M:%S}"


@pass_context
def _clock(context: Context, at: float) -> str:
    return f"{_local(context, at):%H:%M:%S}"


@pass_context
def _short(context: Context, at: float) -> str:
    """The time of today, else the day too."""
    when, today = _local(context, at), _local(context, context["now"])
    return f"{when:%H:%M}" if when.date() == today.date() else f"{when:%d %b %Y %H:%M}"


@pass_context
def _ahead(context: Context, at: float) -> str:
    """A time to come: ``tomorrow 07:00``, ``Friday 07:00``, and in a week or more the date."""
    when, today = _local(context, at), _local(context, context["now"])
    days = (when.date() - today.date()).days
    clock = f"{when:%H:%M:%S}" if when.second else f"{when:%H:%M}"
    if 0 <= days < 7:
        return f"{('today', 'tomorrow')[days] if days < 2 else f'{when:%A}'} {clock}"
    return f"{when:%A, %d %B}{'' if when.year == today.year else f' {when.year}'} {clock}"


def _local(context: Context, at: float) -> datetime:
    zone: tzinfo = context["house_zone"]
    return datetime.fromtimestamp(at, zone)


def _urlpath(text: object) -> str:
    return quote(str(text), safe="")


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
