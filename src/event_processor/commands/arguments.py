"""The command line of ``event-processor``: every command, its arguments and its help. Loads argparse and nothing else."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["AGO", "make_parser"]

AGO: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
"""A span of time as it is written, such as 90s, 30m, 1h, 7d or 2w."""

_SINCE: Final = "how far back: 30m, 1h, 7d, or a time such as 2026-11-24T18:00"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser. Wrong arguments end the process with exit code 2, as argparse does."""
    top = argparse.ArgumentParser(
        prog="event-processor",
        description="Hears devices over MQTT and RabbitMQ, decides, and commands outputs. Without a command it runs.",
    )
    _config(top, None)
    _wait(top, None)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in (
        ("run", "run the event processor (the default)"),
        ("check", "check the settings and both brokers"),
        ("demo", "run a demo that needs neither"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        _config(command, argparse.SUPPRESS)
        _wait(command, argparse.SUPPRESS)
    _rules(commands)
    _schedules(commands)
    _store(commands)
    _accounts(commands)
    _lists(commands)
    ask = _tool(commands, "ask", "asking", "ask a running hub for something, such as: ask set_mode away")
    ask.add_argument("what", help="set_mode, enable, disable, acknowledge, maintenance, signal, run, command, ..., or reload")
    ask.add_argument(
        "about", nargs="?", default="", help="a mode, rule:<id>, device:<key>, output:<name>, a button, an entity"
    )
    ask.add_argument("value", nargs="?", help="true, false, a number or a word, where one is needed")
    top.set_defaults(command="run")
    return top


def _rules(commands: Subparsers) -> None:
    text = "check, import, export, explain or replay rules"
    group = commands.add_parser("rules", help=text, description=text.capitalize() + ".")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    check = _tool(verbs, "check", "rules_check", "say all that is wrong with a file of rules")
    check.add_argument("file", nargs="?", type=Path, help="the file (default: the hub's own)")
    come = _tool(verbs, "import", "rules_import", "put a file of rules in place of the hub's, and have a running hub use it")
    come.add_argument("file", type=Path, help="the file")
    come.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    out = _tool(verbs, "export", "rules_export", "write the rules in their plain form")
    out.add_argument("file", nargs="?", type=Path, help="where to (default: standard output)")
    out.add_argument("--all", action="store_true", help="also the rules that app.conf makes of its links and limits")
    why = _tool(verbs, "explain", "rules_explain", "say why something was set off, or was not")
    why.add_argument(
        "about", nargs="?", default="", metavar="OUTPUT|RULE|DEVICE", help="what to explain (default: everything)"
    )
    _since(why, "1h")
    why.add_argument("--most", type=_count, default=20, metavar="N", help="evaluations to show (default: 20)")
    again = _tool(verbs, "replay", "rules_replay", "decide once more on what is stored, and say which decisions differ")
    _since(again, "7d")
    again.add_argument("--until", type=_moment, metavar="WHEN", help="where to end (default: now)")
    again.add_argument("--with", dest="rules", type=Path, metavar="FILE", help="the rules to try (default: the hub's own)")
    again.add_argument(
        "--warm-up", type=_span, default="1d", metavar="SPAN", help="how much of what came before to hear first (default: 1d)"
    )
    again.add_argument("--most", type=_count, default=50, metavar="N", help="differences to show (default: 50)")


def _schedules(commands: Subparsers) -> None:
    text = "check or list schedules"
    group = commands.add_parser("schedules", help=text, description=text.capitalize() + ".")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    check = _tool(verbs, "check", "schedules_check", "say all that is wrong with a file of schedules")
    check.add_argument("file", nargs="?", type=Path, help="the file (default: the hub's own)")
    _tool(verbs, "list", "schedules_list", "list the schedules, and when each is due next")


def _store(commands: Subparsers) -> None:
    save = _tool(commands, "backup", "backing_up", "write a backup of the store, also while the hub runs")
    save.add_argument("target", type=Path, help="the file, which must not exist yet")
    back = _tool(commands, "restore", "restoring", "make the store out of a backup; the hub must not run")
    back.add_argument("source", type=Path, help="the backup")
    back.add_argument("--replace", action="store_true", help="replace a store that is there; it is kept beside the new one")
    old = _tool(commands, "import-original", "import_original", "take over what the first hub left")
    old.add_argument("--database", type=Path, metavar="FILE", help="its SQLite file")
    old.add_argument("--app-conf", type=Path, metavar="FILE", help="its app.conf")
    old.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="where to put rules, settings and history")


def _accounts(commands: Subparsers) -> None:
    text = "list who may log in to the dashboard, or take a second factor away that is lost"
    group = commands.add_parser("accounts", help=text, description=text.capitalize() + ".")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    _tool(verbs, "list", "accounts", "list the accounts")
    text = "have somebody log in with the password alone; also where the key of second factors is lost. Ends that one's logins"
    reset = _tool(verbs, "reset-second-factor", "accounts", text)
    reset.add_argument("name", help="the account")


def _lists(commands: Subparsers) -> None:
    events = _tool(commands, "events", "list_events", "list what happened, the latest first")
    _since(events, "1d")
    for name, text in (("device", "of this device"), ("type", "of this type"), ("kind", "input, meter, timer, ...")):
        events.add_argument(f"--{name}", help=text)
    events.add_argument("--text", help="with this in its name, topic or body")
    events.add_argument("--most", type=_count, default=50, metavar="N", help="how many (default: 50)")
    devices = _tool(commands, "devices", "list_devices", "list the devices, and whether they are there")
    devices.add_argument("pattern", nargs="?", default="*", help="only those with this name, where * stands for anything")
    _tool(commands, "state", "show_state", "show the mode, what is switched off, and which timers run")


def _tool(commands: Subparsers, name: str, module: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(module=module)
    _config(command, argparse.SUPPRESS)
    command.add_argument("--json", action="store_true", help="print JSON, for programs")
    return command


def _config(parser: argparse.ArgumentParser, default: object) -> None:
    text = "the settings file (default: APP_CONFIG, else ./app.conf)"
    parser.add_argument("--config", metavar="PATH", default=default, help=text)


def _wait(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=default,
        help="wait for brokers that are away at start (default: [app] wait_for_brokers, else yes)",
    )


def _since(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--since", type=_moment, default=default, metavar="WHEN", help=f"{_SINCE} (default: {default})")


def _checked(good: Callable[[str], object], text: str, what: str) -> str:
    if not good(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}")
    return text


def _span(text: str) -> str:
    return _checked(AGO.fullmatch, text, "span of time such as 30m, 1h or 7d")


def _moment(text: str) -> str:
    def good(text: str) -> bool:
        try:
            return AGO.fullmatch(text) is not None or datetime.fromisoformat(text) is not None
        except ValueError:
            return False

    return _checked(good, text, "span of time such as 30m, 1h or 7d, and no time such as 2026-11-24T18:00")


def _count(text: str) -> int:
    return int(_checked(lambda text: text.isdecimal() and 0 < int(text) <= 1_000_000, text, "number above 0"))
