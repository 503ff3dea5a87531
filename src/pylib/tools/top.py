"""``pylib top``: a running application, live in the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from pylib.errors import ConfigError, PylibError
from pylib.observe.drawing import duration, link_state, thread_state
from pylib.tools.place import About, add_place, control_of
from pylib.tools.waiting import pause
from pylib.tools.wiring import LEAST_INTERVAL, Look, look, title

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["add_to"]

_DESCRIPTION = (
    "Threads, pipes and brokers of a running application with their rates, drawn again every second; the busiest pipe is on "
    "top, and whatever is wrong is red. Ctrl-C ends it. Needs the extra `tools`, except with --json."
)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("top", help="the same, live in the terminal", description=_DESCRIPTION)
    add_place(parser)
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between two looks (default: 1)")
    parser.add_argument("--once", action="store_true", help="look once, print it and end")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each look, for other programs")
    parser.set_defaults(run=_run, endless=True)


def _run(options: argparse.Namespace) -> int:
    interval = max(LEAST_INTERVAL, options.interval)
    if not options.json:
        _check_rich()
    path, who = control_of(options)
    seen = look(path, who, None)
    if options.json:
        print(msgspec.json.encode(seen).decode(), flush=True)
        while not options.once:
            pause(interval)
            seen = look(path, who, seen.wiring)
            print(msgspec.json.encode(seen).decode(), flush=True)
        return 0
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if options.once:
        console.print(_screen(seen))
        return 0
    with Live(_screen(seen), console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            pause(interval)
            try:
                if seen.who.pid == 0:  # it was away: look whether it, or its successor, is there again
                    path, who = control_of(options)
                seen = look(path, who, seen.wiring)
                live.update(_screen(seen), refresh=True)
            except PylibError as error:
                seen = msgspec.structs.replace(seen, who=About(name=seen.who.name))
                live.update(_error(f"{error}\nWaiting for it to come back; Ctrl-C ends this."), refresh=True)


def _check_rich() -> None:
    try:
        import rich  # noqa: F401  # asked for here, so that its absence is one clear line
    except ImportError:
        raise ConfigError("pylib top needs rich: pip install 'pylib-automation[tools]' (--json does without)") from None


def _screen(seen: Look) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    wiring = seen.wiring
    head = Text.assemble((title(seen), "bold"), "  ", _health(seen))
    threads = Table("thread", "state", "last error", box=None, header_style="bold")
    for thread in sorted(wiring.threads, key=lambda each: -each.busy_s):
        ill = thread.tracked and (not thread.alive or thread.busy_s > thread.deadline_s)
        threads.add_row(Text(thread.name), Text(thread_state(thread), "red" if ill else ""), Text(thread.error, "red"))
    pipes = Table("pipe", "msg/s", "taken", "waiting", "from > to", box=None, header_style="bold")
    for column in pipes.columns[1:4]:
        column.justify = "right"
    for pipe in sorted(wiring.pipes, key=lambda each: -seen.rates.get(each.endpoint, 0.0)):
        senders, takers = (", ".join(dict.fromkeys(e.thread for e in ends)) for ends in (pipe.senders, pipe.takers))
        pipes.add_row(
            Text(pipe.endpoint.removeprefix("inproc://")), f"{seen.rates.get(pipe.endpoint, 0.0):.1f}", str(pipe.taken),
            Text(str(pipe.depth), "red" if pipe.depth > pipe.mark // 2 else ""), Text(f"{senders} > {takers}"),
        )  # fmt: skip
    brokers = Table("broker", "thread", "in", "out", "state", "last error", box=None, header_style="bold")
    for link in wiring.links:
        style = "" if link.up and not link.blocked else "red"
        brokers.add_row(Text(link.name), Text(link.thread), str(link.received), str(link.sent),
                        Text(link_state(link, wiring.at), style), Text(link.error, "red"))  # fmt: skip
    oldest = f", the oldest for {duration(wiring.oldest_s)}" if wiring.unacknowledged else ""
    last = Text(f"{wiring.unacknowledged} deliveries unacknowledged{oldest}")
    problems = [Text(f"{problem.part}: {problem.what}", "red") for problem in seen.health.problems]
    return Group(head, Text(), threads, Text(), pipes, Text(), brokers, Text(), last, *problems)


def _health(seen: Look) -> tuple[str, str]:
    if seen.health.ready:
        return "ready", "green"
    return ("live, not ready", "yellow") if seen.health.live else ("not live", "red")


def _error(text: str) -> Text:
    from rich.text import Text

    return Text(text, "red")
