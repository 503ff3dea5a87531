"""``pylib send``: publish one message and say whether the broker accepted it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pylib.brokers.topics import check_routing_key, check_topic
from pylib.errors import ConfigError, Rejected
from pylib.tools.clients.options import add_addresses, addresses_of, exchange_of, tls_of
from pylib.tools.place import add_place

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

__all__ = ["Sending", "add_to", "mqtt_properties"]

_DESCRIPTION = (
    "Publishes one message, waits for the broker's acceptance (PUBACK, publisher confirm) and says so; a message that "
    "nobody gets is not sent in silence. PAYLOAD is text, @FILE, or - for standard input."
)
#: Bytes of a payload that is read from a file or standard input.
MOST_PAYLOAD: Final = 64 * 1024 * 1024
_NO_SUBSCRIBERS: Final = 0x10  # MQTT 5 section 3.4.2.1
_FAILURE: Final = 0x80


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a message: ``accepted`` by the broker, ``routed`` to anybody (None: it does not say)."""

    via: str
    address: str
    accepted: bool
    routed: bool | None
    words: str


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("send", help="publish one message", description=_DESCRIPTION)
    parser.add_argument("via", choices=("mqtt", "amqp"), help="by which broker")
    parser.add_argument("address", metavar="ADDRESS", help="topic, or routing key")
    parser.add_argument("payload", metavar="PAYLOAD", help="text, @FILE, or - for standard input")
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=1, help="mqtt: default 1")
    parser.add_argument("--retain", action="store_true", help="mqtt: the broker keeps it for later subscribers")
    parser.add_argument("--expires", type=float, metavar="S", help="seconds after which it must not be delivered any more")
    parser.add_argument("--content-type", metavar="TYPE", help="such as application/json (default: by what the payload is)")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="may be given several times")
    parser.add_argument("--json", action="store_true", help="say what became of it as JSON")
    add_place(parser)
    add_addresses(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    body = _payload(options.payload)
    headers = _headers(options.header)
    kind = options.content_type or _kind(body)
    done = (_mqtt if options.via == "mqtt" else _amqp)(options, body, headers, kind)
    if options.json:
        print(msgspec.json.encode(done).decode())
    elif done.accepted and done.routed is not False:
        print(done.words)
    else:
        print(f"pylib: {done.words}", file=sys.stderr)
    return 0 if done.accepted and done.routed is not False else 1


def _mqtt(options: argparse.Namespace, body: bytes, headers: dict[str, str], kind: str | None) -> Sending:
    from pylib.tools.clients.mqtt import V5, connect_any

    topic = check_topic(options.address)
    with connect_any(addresses_of(options, "mqtt"), tls_of(options, "mqtt")) as client:
        properties = mqtt_properties(kind, headers, options.expires) if client.protocol == V5 else None
        code = client.publish(topic, body, options.qos, options.retain, properties)
        if code >= _FAILURE:
            reason = {0x87: "not authorized; see the broker's ACL", 0x97: "quota exceeded"}.get(
                code, f"reason code 0x{code:02X}"
            )
            return Sending(via="mqtt", address=topic, accepted=False, routed=None, words=f"{client.who} refused it: {reason}")
        where = f"{client.who} ({'MQTT 5' if client.protocol == V5 else 'MQTT 3.1.1'})"
        if options.qos == 0:
            return Sending(
                via="mqtt", address=topic, accepted=True, routed=None, words=f"sent to {where}; QoS 0 is not acknowledged"
            )
        word = "PUBACK" if options.qos == 1 else "PUBCOMP"
        lost = [] if client.protocol == V5 else [n for n, v in (("--header", headers), ("--expires", options.expires)) if v]
        note = f"; MQTT 3.1.1 has no place for {' and '.join(lost)}, left out" if lost else ""
        if code == _NO_SUBSCRIBERS and not options.retain:
            text = f"{where} accepted it ({word}) and nobody is subscribed to {topic!r}, so nobody gets it{note}"
            return Sending(via="mqtt", address=topic, accepted=True, routed=False, words=text)
        return Sending(
            via="mqtt",
            address=topic,
            accepted=True,
            routed=True if code == 0 and client.protocol == V5 and options.qos == 1 else None,
            words=f"accepted by {where} ({word}){note}",
        )


def _amqp(options: argparse.Namespace, body: bytes, headers: dict[str, str], kind: str | None) -> Sending:
    import pika
    from pika.exceptions import NackError, UnroutableError

    from pylib.brokers.identity import new_id
    from pylib.tools.clients.amqp import open_any, who

    key, exchange = check_routing_key(options.address), exchange_of(options)
    properties = pika.BasicProperties(
        content_type=kind,
        headers=dict(headers) or None,
        delivery_mode=2,
        message_id=new_id(),
        expiration=str(int(options.expires * 1000)) if options.expires is not None else None,
    )
    with open_any(addresses_of(options, "amqp"), tls_of(options, "amqp")) as (connection, address):
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except UnroutableError:
            text = f"{who(address)} has no queue bound to routing key {key!r} on exchange {exchange!r}, so nobody gets it"
            return Sending(via="amqp", address=key, accepted=True, routed=False, words=text)
        except NackError:
            text = f"{who(address)} refused it (basic.nack): a queue is full or failed"
            return Sending(via="amqp", address=key, accepted=False, routed=True, words=text)
        return Sending(
            via="amqp", address=key, accepted=True, routed=True, words=f"accepted by {who(address)} (publisher confirm)"
        )


def mqtt_properties(kind: str | None, headers: dict[str, str], expires_s: float | None) -> Properties:
    """What travels beside the payload on MQTT 5 (section 3.3.2.3)."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    if kind is not None:
        properties.ContentType = kind
    if expires_s is not None:
        properties.MessageExpiryInterval = max(1, round(expires_s))
    if headers:
        properties.UserProperty = list(headers.items())
    return properties


def _payload(text: str) -> bytes:
    if text == "-":
        body = sys.stdin.buffer.read(MOST_PAYLOAD + 1)
    elif text.startswith("@"):
        try:
            with Path(text[1:]).open("rb") as file:
                body = file.read(MOST_PAYLOAD + 1)
        except OSError as error:
            raise ConfigError(f"{text[1:]} cannot be read: {error.strerror}") from None
    else:
        return text.encode()
    if len(body) > MOST_PAYLOAD:
        raise Rejected(f"the payload has more than {MOST_PAYLOAD} bytes")
    return body


def _headers(written: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for each in written:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise ConfigError(f"--header {name}: write NAME=VALUE")
        headers[name] = value
    return headers


def _kind(body: bytes) -> str | None:
    """JSON says so; of anything else only the sender knows what it is."""
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return "application/json" if body[:1] in (b"{", b"[") else None
