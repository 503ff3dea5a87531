"""``pylib record`` and ``pylib replay``: traffic of both brokers into a file, and out of it again.

The file is text, one JSON object a line: a heading with ``"pylib-record": 1``, then a message each with the seconds since the
recording began, ``via`` (mqtt or amqp), its address, and its body in base64.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from pylib.brokers.topics import check_filter, check_routing_key
from pylib.errors import ConfigError, PylibError
from pylib.observe.drawing import size
from pylib.tools.bars import progress
from pylib.tools.clients.options import add_addresses
from pylib.tools.messages import Seen
from pylib.tools.place import add_place
from pylib.tools.tap import follow_amqp, follow_mqtt

__all__ = ["VERSION", "Entry", "Head", "add_to", "entries"]

_RECORD = (
    "Writes what passes the brokers into FILE, one JSON object a line, to look at it later or to replay it. Ends with Ctrl-C, "
    "after --for, or when a limit is reached. What the messages hold is written as it is, secrets included: the file is "
    "readable by you alone."
)
VERSION: Final = 1
#: Messages and bytes of a recording by default, and messages that may wait to be written.
MOST_MESSAGES: Final = 1_000_000
MOST_BYTES: Final = 1024**3
MOST_UNWRITTEN: Final = 10_000
#: Bytes of a line of a recording that is read.
MOST_LINE: Final = 64 * 1024 * 1024
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h)?")
_UNITS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Head(msgspec.Struct, frozen=True, kw_only=True, rename={"version": "pylib-record"}):
    """The first line: ``began`` in seconds since the epoch."""

    version: int
    began: float


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message: ``t`` is when, in seconds since the recording began."""

    t: float
    via: str
    address: str
    body: bytes
    content_type: str | None = None
    headers: dict[str, object] = {}
    qos: int | None = None
    retain: bool = False
    message_id: str | None = None
    expires_s: float | None = None


class _Nothing(Exception):
    """It failed before anything was recorded."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("record", help="write the brokers' traffic into a file", description=_RECORD)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--mqtt", action="append", default=[], metavar="FILTER", help="topics, such as 'sensor/#'; several times"
    )
    parser.add_argument(
        "--amqp", action="append", default=[], metavar="KEY", help="binding keys, such as 'event.#'; several times"
    )
    parser.add_argument("--for", type=seconds, dest="seconds", metavar="TIME", help="such as 90, 60s, 10min, 2h")
    parser.add_argument("--count", type=int, default=MOST_MESSAGES, metavar="N", help=f"messages (default: {MOST_MESSAGES})")
    parser.add_argument(
        "--size", type=int, default=MOST_BYTES >> 20, metavar="MIB", help=f"of the file (default: {MOST_BYTES >> 20})"
    )
    parser.add_argument("--force", action="store_true", help="write over a FILE that is there")
    parser.add_argument("--json", action="store_true", help="say at the end as JSON what was recorded")
    add_place(parser)
    add_addresses(parser)
    parser.set_defaults(run=_run)


def seconds(text: str) -> float:
    """A time such as ``90``, ``60s``, ``10min`` or ``2h``, in seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90, 60s, 10min or 2h")
    return float(match[1]) * _UNITS[match[2]]


def entries(path: Path) -> Iterator[Entry]:
    """The messages of a recording. Raises ConfigError for a file that is none, with the line."""
    try:
        with path.open("rb") as file:
            try:
                head = msgspec.json.decode(file.readline(MOST_LINE), type=Head)
            except msgspec.MsgspecError:
                raise ConfigError(f"{path} is not a recording: its first line has no pylib-record") from None
            if head.version != VERSION:
                raise ConfigError(f"{path} is a recording of version {head.version}; this program reads version {VERSION}")
            decoder = msgspec.json.Decoder(Entry)
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE), b""), 2):
                if not line.endswith(b"\n"):
                    return  # the recording ended in the middle of a line
                try:
                    yield decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise ConfigError(f"{path}, line {number}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def _run(options: argparse.Namespace) -> int:
    if not (options.mqtt or options.amqp):
        raise ConfigError("what is to be recorded? Say --mqtt FILTER, --amqp KEY, or both")
    sources: list[tuple[str, Callable[[], Iterator[Seen | None]]]] = []
    if options.mqtt:
        filters = [check_filter(each) for each in options.mqtt]
        sources.append(("mqtt", lambda: follow_mqtt(options, filters, options.seconds)))
    if options.amqp:
        keys = [check_routing_key(each) for each in options.amqp]
        sources.append(("amqp", lambda: follow_amqp(options, keys, options.seconds)))
    path = Path(options.file)
    # The end of a service or a terminal is as good an end as Ctrl-C: what was seen is written.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with _created(path, options.force) as file:
            count, written = _write(file, sources, options)
    except _Nothing as nothing:
        path.unlink(missing_ok=True)
        raise nothing.reason from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if options.json:
        print(msgspec.json.encode({"file": options.file, "messages": count, "bytes": written}).decode())
    else:
        print(f"{count} messages in {options.file} ({size(written)}). pylib replay {options.file} sends them again.")
    return 0


def _write(
    file: IO[bytes], sources: list[tuple[str, Callable[[], Iterator[Seen | None]]]], options: argparse.Namespace
) -> tuple[int, int]:
    """Have each source followed by a thread of its own, and write what they see in the order in which it was seen."""
    seen: queue.Queue[Seen | BaseException | None] = queue.Queue(MOST_UNWRITTEN)
    over = threading.Event()
    threads = [threading.Thread(target=_follow, args=(follow, seen, over), name=f"record {name}") for name, follow in sources]
    began, most = time.time(), options.size << 20
    written, count, left = file.write(msgspec.json.encode(Head(version=VERSION, began=began)) + b"\n"), 0, len(threads)
    failed: BaseException | None = None
    for thread in threads:
        thread.start()
    try:
        with progress("recording", options.seconds, quiet=options.json) as show:
            while left and count < options.count and written < most:
                try:
                    each = seen.get(timeout=0.5)
                except queue.Empty:
                    file.flush()
                else:
                    if isinstance(each, Seen):
                        written += file.write(_line(each, began))
                        count += 1
                    else:
                        left -= 1
                        if each is not None:
                            failed = each
                            break
                show(time.time() - began, f"{count} messages, {size(written)}")
    except KeyboardInterrupt:
        pass  # the usual way to end it
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed is not None:
        raise failed if count else _Nothing(failed)
    return count, written


def _follow(
    follow: Callable[[], Iterator[Seen | None]], seen: queue.Queue[Seen | BaseException | None], over: threading.Event
) -> None:
    """On a thread of its own: hand over what is seen until it is over, then None or why it failed."""

    def hand(each: Seen | BaseException | None) -> None:
        while not over.is_set():
            try:
                seen.put(each, timeout=0.2)
            except queue.Full:
                continue
            return

    source = follow()
    try:
        for each in source:
            if over.is_set():
                break
            if each is not None:
                hand(each)
    except PylibError as error:
        hand(error)
    except Exception as error:  # whatever a client library may raise: the recording ends, and says so
        hand(PylibError(f"{type(error).__name__}: {error}"))
    else:
        hand(None)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def _line(seen: Seen, began: float) -> bytes:
    entry = Entry(
        t=round(max(0.0, seen.at - began), 6),
        via=seen.via,
        address=seen.address,
        body=seen.body,
        content_type=seen.content_type,
        headers=seen.headers,
        qos=seen.qos,
        retain=seen.retain,
        message_id=seen.message_id,
        expires_s=seen.expires_s,
    )
    return msgspec.json.encode(entry, enc_hook=repr) + b"\n"


def _created(path: Path, force: bool) -> IO[bytes]:
    """The file, new and for its user alone."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except FileExistsError:
        raise ConfigError(f"{path} is there already: choose another name, or add --force to write over it") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
