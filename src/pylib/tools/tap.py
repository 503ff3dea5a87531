"""``pylib tap``: follow messages on a broker or in a pipe of a running application, without taking them from anybody."""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from pylib.brokers.topics import check_filter, check_routing_key
from pylib.data import JSON
from pylib.errors import ConfigError, ConnectFailed
from pylib.runtime.wiring import Wiring
from pylib.tools.clients.options import add_addresses, addresses_of, exchange_of, tls_of
from pylib.tools.messages import Seen, add_where, from_amqp, from_mqtt, matcher, shown_json, shown_line
from pylib.tools.place import add_place, asked, control_of
from pylib.tools.preview import preview
from pylib.tools.waiting import pause

__all__ = ["add_to", "follow_amqp", "follow_mqtt"]

_DESCRIPTION = (
    "Follows messages as they pass, decoded and with secrets hidden, until Ctrl-C. Nobody misses a message because of it: on "
    "MQTT it is one subscriber more, on RabbitMQ a queue of its own that goes with it, and of a pipe it sees copies. "
    "ADDRESS is a topic filter (mqtt), a binding key (amqp) or a pipe as `pylib wiring` names it."
)
_PREFETCH: Final = 200
_POLL_S: Final = 0.2
_STEP_S: Final = 0.2


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("tap", help="follow messages on a broker or in a pipe", description=_DESCRIPTION)
    parser.add_argument("via", choices=("mqtt", "amqp", "pipe"), help="where to look")
    parser.add_argument("address", metavar="ADDRESS", help="for example 'sensor/#', 'event.#' or app-worker")
    add_where(parser)
    parser.add_argument("--count", type=int, metavar="N", help="end after so many messages")
    parser.add_argument("--for", type=float, dest="seconds", metavar="S", help="end after so many seconds")
    parser.add_argument("--no-retained", action="store_true", help="mqtt: leave out what was there before")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each message")
    add_place(parser)
    add_addresses(parser)
    parser.set_defaults(run=_run, endless=True)


def _run(options: argparse.Namespace) -> int:
    wanted = matcher(options.where)
    follow = {"mqtt": _mqtt, "amqp": _amqp, "pipe": _pipe}[options.via]
    shown = 0
    for seen in follow(options):
        if seen is None or not wanted(seen) or (options.no_retained and seen.retain):
            continue
        print(shown_json(seen) if options.json else shown_line(seen), flush=True)
        shown += 1
        if options.count is not None and shown >= options.count:
            return 0
    return 0


def _mqtt(options: argparse.Namespace) -> Iterator[Seen | None]:
    yield from follow_mqtt(options, [check_filter(options.address)], options.seconds)


def follow_mqtt(options: argparse.Namespace, filters: list[str], seconds: float | None) -> Iterator[Seen | None]:
    """What arrives on these topic filters; None now and then, when nothing did. Raises where the broker refuses one."""
    from pylib.tools.clients.mqtt import connect_any

    end = _end(seconds)
    with connect_any(addresses_of(options, "mqtt"), tls_of(options, "mqtt")) as client:
        for topic, granted in zip(filters, client.subscribe([(each, 1) for each in filters]), strict=True):
            if granted.is_failure:
                raise ConnectFailed(
                    f"{client.who}: the subscription to {topic!r} was refused: {granted}; see the broker's ACL"
                )
        _told(f"listening to {', '.join(filters)} on {client.who}")
        while time.monotonic() < end:
            client.pump(min(_STEP_S, max(0.0, end - time.monotonic())), lambda: bool(client.messages))
            yield from _drained(client.messages)
            yield None


def _drained(messages: object) -> Iterator[Seen]:
    from collections import deque

    while isinstance(messages, deque) and messages:
        yield from_mqtt(messages.popleft())


def _amqp(options: argparse.Namespace) -> Iterator[Seen | None]:
    yield from follow_amqp(options, [check_routing_key(options.address)], options.seconds)


def follow_amqp(options: argparse.Namespace, keys: list[str], seconds: float | None) -> Iterator[Seen | None]:
    """What is published to the exchange with a key that one of these matches; None now and then, when nothing was."""
    from pylib.tools.clients.amqp import open_any, who

    exchange, end = exchange_of(options), _end(seconds)
    with open_any(addresses_of(options, "amqp"), tls_of(options, "amqp")) as (connection, address):
        channel = connection.channel()
        channel.basic_qos(prefetch_count=_PREFETCH)
        # Exclusive and deleted with us: what is here is a copy, and nobody's own queue has a message less for it.
        queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue
        for key in keys:
            channel.queue_bind(queue, exchange, key)
        _told(f"listening to {', '.join(keys)} on exchange {exchange!r} of {who(address)}")
        found = channel.consume(queue, auto_ack=False, exclusive=True, inactivity_timeout=_STEP_S)
        for method, properties, body in found:
            if method is not None and method.delivery_tag is not None and body is not None:
                channel.basic_ack(method.delivery_tag)
                yield from_amqp(method, properties, body)
            else:
                yield None
            if time.monotonic() >= end:
                return


def _pipe(options: argparse.Namespace) -> Iterator[Seen | None]:
    path, who = control_of(options)
    pipe = _endpoint(options.address, asked(path, Wiring, ask="wiring"))
    answer = asked(path, _Passed, ask="tap", endpoint=pipe, after=-1)
    _told(f"looking at {pipe} of {who.name or path}")
    end = _end(options.seconds)
    while time.monotonic() < end:
        last = answer.last
        answer = asked(path, _Passed, ask="tap", endpoint=pipe, after=last)
        if answer.missed:
            print(f"pylib: {answer.missed} messages passed faster than they were shown", file=sys.stderr)
        for each in answer.messages:
            body = msgspec.json.encode(_readable(msgspec.msgpack.decode(base64.b64decode(each.body), strict=False)))
            yield Seen(via="pipe", address=pipe.removeprefix("inproc://"), body=body, at=each.at, content_type=JSON)
        yield None
        if not answer.messages:
            pause(_POLL_S)


def _readable(value: object) -> object:
    """The bodies within what passed a pipe, decoded."""
    if isinstance(value, dict):
        return {str(key): _readable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    if isinstance(value, bytes):
        body = preview(value, None)
        return body.text if body.value is None else body.value
    return value


class _Copy(msgspec.Struct, frozen=True):
    at: float
    body: str


class _Passed(msgspec.Struct, frozen=True):
    messages: list[_Copy]
    missed: int
    last: int


def _endpoint(name: str, wiring: Wiring) -> str:
    """The pipe of that name, or of the only name that has it as a part."""
    names = [each for pipe in wiring.pipes for each in (pipe.endpoint, *pipe.also)]
    for wanted in (name, f"inproc://{name}"):
        if wanted in names:
            return wanted
    found = [each for each in names if name in each]
    if len(found) == 1:
        return found[0]
    short = ", ".join(each.removeprefix("inproc://") for each in (found or names))
    raise ConfigError(f"{'several pipes have' if found else 'no pipe is named'} {name!r}; there are {short or 'none'}")


def _end(seconds: float | None) -> float:
    return time.monotonic() + seconds if seconds is not None else float("inf")


def _told(text: str) -> None:
    if sys.stderr.isatty():
        print(f"pylib: {text}; Ctrl-C ends it", file=sys.stderr)
