"""``pylib dead-letters``: list, show, replay and drop the messages that an application gave up."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pylib.config.appconfig import AppConfig
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import DATABASE_NAME, Letter, Summary, store_path
from pylib.errors import MessageError
from pylib.tools.preview import Preview, preview, safe_value, visible

__all__ = ["add_to", "visible"]

_DESCRIPTION = (
    "Messages that could not be handled are tried again for a while, and then kept as dead letters with the reason. "
    "Look at them, mend what made them fail, then replay or drop them. The application may be running."
)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    place = argparse.ArgumentParser(add_help=False)
    where = place.add_argument_group("where the application keeps them")
    where.add_argument("--config", metavar="PATH", help="its settings file (default: APP_CONFIG, else ./app.conf)")
    where.add_argument("--state-dir", metavar="DIR", help=f"the folder with its {DATABASE_NAME} (default: [app] state_dir)")
    where.add_argument("--app", metavar="NAME", help="its name, where the folder follows from that (default: [app] name)")
    place.add_argument("--json", action="store_true", help="print JSON, for other programs")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--address", metavar="PATTERN", help="only this topic or routing key; * stands for anything")
    chosen.add_argument("--origin", metavar="NAME", help="only what this listener or subscriber took")

    parser = commands.add_parser("dead-letters", help="messages that were given up", description=_DESCRIPTION)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    listing = verbs.add_parser("list", parents=[place, chosen], help="one line for each, the newest first")
    listing.add_argument("--limit", type=_at_least(1), default=50, metavar="N", help="at most so many (default: 50)")
    listing.add_argument("--offset", type=_at_least(0), default=0, metavar="N", help="leave out the first N")
    listing.set_defaults(run=_list)

    show = verbs.add_parser("show", parents=[place], help="one, with its payload, reason and traceback")
    show.add_argument("ident", type=_at_least(1), metavar="ID")
    show.set_defaults(run=_show)

    replay = verbs.add_parser("replay", parents=[place, chosen], help="have them tried again")
    replay.add_argument("idents", type=_at_least(1), nargs="*", metavar="ID")
    replay.add_argument("--all", action="store_true", help="all, or all that --address and --origin choose")
    replay.add_argument("--force", action="store_true", help="also those whose time is over: a stale command may be sent")
    replay.set_defaults(run=_replay, parser=replay)

    drop = verbs.add_parser("drop", parents=[place, chosen], help="delete them for good")
    drop.add_argument("idents", type=_at_least(1), nargs="*", metavar="ID")
    drop.add_argument("--all", action="store_true", help="all, or all that --address and --origin choose; needs --yes")
    drop.add_argument("--yes", action="store_true", help="with --all: do it")
    drop.set_defaults(run=_drop, parser=drop)


# -- the verbs


def _list(options: argparse.Namespace) -> int:
    with _opened(options) as letters:
        found = letters.list(options.limit, options.offset, address=options.address, origin=options.origin)
        totals = letters.totals()
    if options.json:
        _print_json(
            {
                "dead_letters": [_summary(letter) for letter in found],
                "count": totals.dead,
                "waiting": totals.waiting,
                "dropped": totals.dropped,
            }
        )
        return 0
    if found:
        _print_table(found)
    shown = f"{len(found)} of " if len(found) != totals.dead else ""
    more = f" --offset {options.offset + len(found)} goes on." if len(found) == options.limit < totals.dead else ""
    made_room = f" {totals.dropped} older ones were dropped to make room." if totals.dropped else ""
    print(f"{shown}{_counted(totals.dead)}, {totals.waiting} waiting for another try.{more}{made_room}")
    return 0


def _show(options: argparse.Namespace) -> int:
    with _opened(options) as letters:
        letter = letters.show(options.ident)
    body = preview(letter.body, letter.content_type)
    if options.json:
        _print_json(_whole(letter, body))
        return 0
    for name, text in _lines(letter):
        print(f"{name + ':':<14} {visible(text)}")
    print(f"\npayload ({len(letter.body)} bytes, {body.kind}):\n{body.text}")
    if letter.traceback:
        print(f"\n{visible(letter.traceback.rstrip(), lines=True)}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    _check_choice(options)
    refused: list[str] = []
    done: list[int] = []
    with _opened(options) as letters:
        if options.all:
            count, left = letters.replay_all(options.force, address=options.address, origin=options.origin)
            if left:
                refused.append(f"{left} were left: their time is over. --force sends them all the same.")
        else:
            for ident in options.idents:
                try:
                    letters.replay(ident, options.force)
                    done.append(ident)
                except MessageError as error:
                    refused.append(str(error))
            count = len(done)
    if count and not options.json:
        print(f"{_counted(count)} to be tried again: now if the application runs, else when it starts.")
    return _report(options, "replayed", count, done, refused)


def _drop(options: argparse.Namespace) -> int:
    _check_choice(options)
    if options.all and not options.yes:
        options.parser.error("drop --all deletes messages for good: add --yes to do it.")
    refused: list[str] = []
    done: list[int] = []
    with _opened(options) as letters:
        if options.all:
            count = letters.drop_all(address=options.address, origin=options.origin)
        else:
            for ident in options.idents:
                try:
                    letters.drop(ident)
                    done.append(ident)
                except MessageError as error:
                    refused.append(str(error))
            count = len(done)
    if count and not options.json:
        print(f"{_counted(count)} dropped.")
    return _report(options, "dropped", count, done, refused)


def _report(options: argparse.Namespace, verb: str, count: int, done: list[int], refused: list[str]) -> int:
    if options.json:
        _print_json({verb: count, "ids": done, "refused": refused})
    elif not count and not refused:
        print("There are no such dead letters.")
    for reason in refused:
        print(f"pylib: {visible(reason)}", file=sys.stderr)
    return 1 if refused else 0


# -- finding the file


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[DeadLetters]:
    path = _database(options)
    if not path.exists():
        print(f"pylib: {_not_there(path, look_around=options.state_dir is None)}", file=sys.stderr)
    letters = DeadLetters(path)
    try:
        yield letters
    finally:
        letters.close()


def _database(options: argparse.Namespace) -> Path:
    if options.state_dir is not None:
        return Path(options.state_dir).expanduser().absolute() / DATABASE_NAME
    environ = dict(os.environ)
    if options.app is not None:
        environ["APP_NAME"] = options.app
    return store_path(AppConfig(options.config, environ))


def _not_there(path: Path, *, look_around: bool) -> str:
    text = f"There is no {path}: either nothing has failed yet, or the application keeps it elsewhere"
    others = sorted(found.parent.name for found in path.parent.parent.glob(f"*/{DATABASE_NAME}"))
    if look_around and others:
        return f"{text}: --app NAME looks for another one, and there are {', '.join(map(visible, others[:10]))}."
    return f"{text}: say where with --config PATH, --state-dir DIR or --app NAME."


# -- printing


def _print_table(found: list[Summary]) -> None:
    width = shutil.get_terminal_size((120, 24)).columns
    number = max(2, *(len(str(letter.ident)) for letter in found))
    address = min(40, max(7, *(len(visible(letter.address)) for letter in found)))
    print(f"{'ID':>{number}}  {'GIVEN UP':<19}  {'TRIES':>5}  {'ADDRESS':<{address}}  REASON")
    for letter in found:
        start = (
            f"{letter.ident:>{number}}  {_moment(letter.parked_at)[:19]}  {letter.tries:>5}  "
            f"{_cut(visible(letter.address), address):<{address}}  "
        )
        print(start + _cut(visible(letter.error), max(20, width - len(start))))


def _lines(letter: Letter) -> Iterator[tuple[str, str]]:
    yield "id", str(letter.ident)
    yield "reason", letter.error
    yield "address", letter.address
    yield "broker", letter.broker
    yield "taken by", letter.origin
    yield "order key", letter.key
    yield "tries", str(letter.tries)
    yield "message id", letter.message_id or "none"
    yield "created", _moment(letter.created_at)
    yield "received", _moment(letter.received_at)
    yield "given up", _moment(letter.parked_at)
    yield "expires", _moment(letter.expires_at) if letter.expires_at is not None else "never"
    yield "content type", letter.content_type or "none"
    for name, value in letter.headers.items():
        yield f"header {visible(name)}", safe_value(value, name)


def _summary(letter: Summary) -> dict[str, object]:
    return {**{name: getattr(letter, name) for name in Summary.__struct_fields__}, "error": visible(letter.error)}


def _whole(letter: Letter, body: Preview) -> dict[str, object]:
    names = [name for name in Letter.__struct_fields__ if name not in ("body", "headers", "due_at")]
    return {
        **{name: getattr(letter, name) for name in names},
        "headers": {name: safe_value(value, name) for name, value in letter.headers.items()},
        "payload": body.value,
        "payload_kind": body.kind,
        "size": len(letter.body),
    }


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s after 1970"


def _counted(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# -- checking the command line


def _check_choice(options: argparse.Namespace) -> None:
    if bool(options.idents) == bool(options.all):
        options.parser.error(f"{options.verb} needs either the IDs of dead letters, as `list` shows them, or --all.")
    if options.idents and (options.address is not None or options.origin is not None):
        options.parser.error("--address and --origin choose together with --all, not together with IDs.")


class _at_least:
    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not self._least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {self._least} on")
        return value
