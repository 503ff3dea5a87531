"""``pylib wiring``: what a running application is made of, and how it is, as text or as a drawing."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from pylib.errors import PylibError
from pylib.observe.control import ask
from pylib.observe.drawing import FORMATS, as_dot, as_mermaid, as_text, duration
from pylib.observe.health import Health
from pylib.runtime.wiring import Wiring, rate
from pylib.tools.place import About, add_place, asked, control_of
from pylib.tools.waiting import pause

__all__ = ["Look", "add_to", "look", "title"]

_DESCRIPTION = (
    "Draws a running application: its threads, the pipes between them with messages per second and how many wait, its "
    "brokers, and what is wrong. --format dot and mermaid are for documents: pylib wiring --format dot | dot -Tsvg > home.svg"
)
#: Seconds between the two looks that a rate is made of, and the least between two drawings of --watch.
BETWEEN_LOOKS: Final = 0.5
LEAST_INTERVAL: Final = 0.2
_CLEAR: Final = "\x1b[H\x1b[2J"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at one moment, and the messages per second since the moment before."""

    who: About
    wiring: Wiring
    health: Health
    rates: dict[str, float]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser(
        "wiring", help="threads, pipes and brokers of a running application", description=_DESCRIPTION
    )
    add_place(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--stack", metavar="THREAD", help="print where this thread is right now, and nothing else")
    parser.add_argument("--watch", action="store_true", help="draw it again and again, until Ctrl-C")
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between two drawings (default: 2)")
    parser.set_defaults(run=_run, endless=True)


def look(path: Path, who: About, before: Wiring | None, wait: float = BETWEEN_LOOKS) -> Look:
    """Look at it once more; where there was no look before, twice, so that there are rates."""
    if before is None:
        before = asked(path, Wiring, ask="wiring")
        pause(wait)
    after = asked(path, Wiring, ask="wiring")
    return Look(who=who, wiring=after, health=asked(path, Health, ask="health"), rates=dict(rate(before, after)))


def title(seen: Look) -> str:
    """Which application it is, and since when it runs."""
    since = f", running for {duration(time.time() - seen.who.since)}" if seen.who.since else ""
    return f"{seen.who.name or 'an application'} (process {seen.who.pid}{since})"


def _run(options: argparse.Namespace) -> int:
    path, who = control_of(options)
    if options.stack is not None:
        found = ask(path, {"ask": "stack", "thread": options.stack})
        if found is None:
            names = [thread.name for thread in asked(path, Wiring, ask="wiring").threads]
            raise PylibError(f"there is no thread {options.stack!r}; there are {', '.join(names) or 'none'}")
        print(found)
        return 0
    seen = look(path, who, None)
    while True:
        drawn = _drawn(seen, options.format)
        if options.watch and options.format == "text" and sys.stdout.isatty():
            drawn = _CLEAR + drawn
        print(drawn, flush=True)
        if not options.watch:
            return 0
        pause(max(LEAST_INTERVAL, options.interval))
        seen = look(path, who, seen.wiring)


def _drawn(seen: Look, form: str) -> str:
    if form == "json":
        return msgspec.json.encode(seen).decode()
    if form == "dot":
        return as_dot(seen.wiring, seen.rates, seen.who.name or "application")
    if form == "mermaid":
        return as_mermaid(seen.wiring, seen.rates)
    return as_text(seen.wiring, seen.rates, seen.health, title(seen))
