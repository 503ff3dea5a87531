"""``pylib replay``: send what was recorded again, in its order and with its pauses, to the same brokers or to others."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from pylib.brokers.identity import new_id
from pylib.brokers.rabbit_values import EXPIRES_AT
from pylib.errors import ConfigError
from pylib.tools.bars import progress
from pylib.tools.clients.options import add_addresses, addresses_of, exchange_of, tls_of
from pylib.tools.place import add_place
from pylib.tools.record import Entry, entries
from pylib.tools.send import mqtt_properties

__all__ = ["add_to"]

_DESCRIPTION = (
    "Sends a recording again: in its order, and with its pauses unless --speed says otherwise. Each message is waited for "
    "until its broker has accepted it. --to-mqtt PREFIX and --to-amqp PREFIX put it beside the real traffic."
)
#: Messages that may be without their PUBACK.
WINDOW: Final = 100
_STEP_S: Final = 0.1
# Where this library's messages carry their id and their times.
_OF_THE_MOMENT: Final = frozenset(("message-id", "created-at", EXPIRES_AT))
_FAILURE: Final = 0x80


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("replay", help="send a recording again", description=_DESCRIPTION)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="X", help="1: as it was (default), 10: ten times, max: at once"
    )
    parser.add_argument("--only", choices=("mqtt", "amqp"), help="leave out the messages of the other broker")
    parser.add_argument("--to-mqtt", default="", metavar="PREFIX", help="put this before every topic, such as 'replay/'")
    parser.add_argument("--to-amqp", default="", metavar="PREFIX", help="put this before every routing key, such as 'replay.'")
    parser.add_argument("--retain", action="store_true", help="keep the retained flag; without it nothing is retained anew")
    parser.add_argument(
        "--as-recorded",
        action="store_true",
        help="keep ids and times: receivers may take the messages for repetitions, or for too old (default: new ones)",
    )
    parser.add_argument("--json", action="store_true", help="say at the end as JSON what was sent")
    add_place(parser)
    add_addresses(parser)
    parser.set_defaults(run=_run)


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor max")
    return speed


def _run(options: argparse.Namespace) -> int:
    path = Path(options.file)
    kinds: set[str] = set()
    total, last = 0, 0.0
    for entry in entries(path):  # the first time to see that all of it can be read, before anything is sent
        if options.only in (None, entry.via):
            kinds.add(entry.via)
            total, last = total + 1, entry.t
    unknown = kinds - {"mqtt", "amqp"}
    if unknown:
        raise ConfigError(f"{path} has messages of {', '.join(sorted(unknown))}; only those of mqtt and amqp can be sent")
    sent = {"sent": 0, "unroutable": 0, "refused": 0}
    with ExitStack() as stack:
        ways: dict[str, _Way] = {}
        for kind in sorted(kinds):
            ways[kind] = _WAYS[kind](options, sent)
            stack.callback(ways[kind].close)
        with progress("replaying", total, quiet=options.json) as show:
            began = time.monotonic()
            for entry in entries(path):
                if entry.via not in ways:
                    continue
                _rest(ways, began + entry.t / options.speed)
                ways[entry.via].send(entry if options.as_recorded else _renewed(entry))
                show(sent["sent"], f"{entry.t:.1f} s of {last:.1f} s")
            for way in ways.values():
                way.finish()
    if options.json:
        print(msgspec.json.encode(sent).decode())
    else:
        print(f"{sent['sent']} of {total} messages accepted.")
        if sent["unroutable"]:
            print(f"pylib: {sent['unroutable']} of them reached nobody: no queue is bound to their keys", file=sys.stderr)
        if sent["refused"]:
            print(f"pylib: {sent['refused']} were refused by their broker: see its ACL", file=sys.stderr)
    return 1 if sent["refused"] else 0


def _renewed(entry: Entry) -> Entry:
    """The message as if it were sent for the first time now: with an id of its own, its life as long as it was."""
    headers = {name: value for name, value in entry.headers.items() if name not in _OF_THE_MOMENT}
    if EXPIRES_AT in entry.headers and entry.expires_s is not None:
        headers[EXPIRES_AT] = str(time.time() + entry.expires_s)
    return msgspec.structs.replace(entry, headers=headers, message_id=new_id())


def _rest(ways: dict[str, _Way], until: float) -> None:
    """Wait until that moment of the monotonic clock while the connections are served."""
    while (left := until - time.monotonic()) > 0:
        for way in ways.values():
            way.rest(min(_STEP_S, left) / len(ways))


class _Mqtt:
    """The way to an MQTT broker, with a window of messages under way."""

    def __init__(self, options: argparse.Namespace, sent: dict[str, int]) -> None:
        from pylib.tools.clients.mqtt import V5, connect_any

        self._prefix, self._retain, self._sent = options.to_mqtt, options.retain, sent
        self._client = connect_any(addresses_of(options, "mqtt"), tls_of(options, "mqtt"))
        self._modern = self._client.protocol == V5
        self._under_way: deque[int] = deque()

    def close(self) -> None:
        self._client.close()

    def send(self, entry: Entry) -> None:
        headers = {name: str(value) for name, value in entry.headers.items()}
        properties = mqtt_properties(entry.content_type, headers, entry.expires_s) if self._modern else None
        qos = entry.qos or 0
        mid = self._client.send(self._prefix + entry.address, entry.body, qos, entry.retain and self._retain, properties)
        self._under_way.append(mid)
        while len(self._under_way) > WINDOW:
            self._settle()

    def _settle(self) -> None:
        code = int(self._client.acknowledged(self._under_way.popleft()).value)
        self._sent["refused" if code >= _FAILURE else "sent"] += 1

    def rest(self, seconds: float) -> None:
        self._client.pump(seconds)

    def finish(self) -> None:
        while self._under_way:
            self._settle()


class _Amqp:
    """The way to RabbitMQ, each message with its confirm."""

    def __init__(self, options: argparse.Namespace, sent: dict[str, int]) -> None:
        from pylib.tools.clients.amqp import open_any

        self._prefix, self._sent, self._exchange = options.to_amqp, sent, exchange_of(options)
        self._stack = ExitStack()
        self._connection, _ = self._stack.enter_context(open_any(addresses_of(options, "amqp"), tls_of(options, "amqp")))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def close(self) -> None:
        self._stack.close()

    def send(self, entry: Entry) -> None:
        import pika
        from pika.exceptions import NackError, UnroutableError

        properties = pika.BasicProperties(
            content_type=entry.content_type,
            headers=cast(Any, dict(entry.headers)) or None,
            delivery_mode=2,
            message_id=entry.message_id,
            expiration=str(int(entry.expires_s * 1000)) if entry.expires_s is not None else None,
        )
        try:
            self._channel.basic_publish(self._exchange, self._prefix + entry.address, entry.body, properties, mandatory=True)
        except UnroutableError:
            self._sent["unroutable"] += 1
        except NackError:
            self._sent["refused"] += 1
            return
        self._sent["sent"] += 1

    def rest(self, seconds: float) -> None:
        self._connection.process_data_events(seconds)

    def finish(self) -> None:
        return


_Way = _Mqtt | _Amqp
_WAYS: Final[dict[str, Callable[[argparse.Namespace, dict[str, int]], _Way]]] = {"mqtt": _Mqtt, "amqp": _Amqp}
