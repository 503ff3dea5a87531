"""A message that a command has seen, wherever it was, and how it is shown: decoded, without secrets, one line or JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from pylib.config.redaction import HIDDEN, looks_secret
from pylib.errors import ConfigError
from pylib.tools.preview import preview, safe_value, visible

__all__ = ["Seen", "add_where", "from_amqp", "from_mqtt", "matcher", "shown_json", "shown_line"]

_LINE: Final = 400
_MISSING: Final = object()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it passed. ``at`` is when it was seen, in seconds since the epoch; ``via`` is mqtt, amqp or pipe."""

    via: str
    address: str
    body: bytes
    at: float
    content_type: str | None = None
    headers: dict[str, object] = {}
    qos: int | None = None
    retain: bool = False
    message_id: str | None = None
    expires_s: float | None = None
    dup: bool = False


def from_mqtt(message: Any) -> Seen:
    """From paho's message."""
    properties = message.properties
    return Seen(
        via="mqtt",
        address=message.topic,
        body=bytes(message.payload),
        at=time.time(),
        content_type=getattr(properties, "ContentType", None),
        headers=dict(getattr(properties, "UserProperty", None) or ()),
        qos=message.qos,
        retain=bool(message.retain),
        expires_s=getattr(properties, "MessageExpiryInterval", None),
        dup=bool(message.dup),
    )


def from_amqp(method: Any, properties: Any, body: bytes) -> Seen:
    """From pika's three parts."""
    expires = properties.expiration
    return Seen(
        via="amqp",
        address=method.routing_key,
        body=bytes(body),
        at=time.time(),
        content_type=properties.content_type,
        headers={name: _plain(value) for name, value in (properties.headers or {}).items()},
        message_id=properties.message_id,
        expires_s=int(expires) / 1000 if expires and str(expires).isdecimal() else None,
        dup=bool(method.redelivered),
    )


def shown_line(seen: Seen) -> str:
    """On one line of a terminal: when, where, what."""
    body = preview(seen.body, seen.content_type)
    if body.kind in ("JSON", "MessagePack"):
        text = json.dumps(body.value, ensure_ascii=False)
    else:
        text = body.text.replace("\n", "\\n") if body.kind != "empty" else "(empty)"
    text = visible(text)
    text = text if len(text) <= _LINE else f"{text[:_LINE]}... ({len(seen.body)} bytes)"
    marks = "".join(f" {mark}" for mark, on in (("retained", seen.retain), ("again", seen.dup)) if on)
    headers = "".join(f" {visible(name)}={safe_value(value, name)}" for name, value in seen.headers.items())
    when = datetime.fromtimestamp(seen.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    return f"{when} {visible(seen.address)}{marks}{headers}  {text}"


def shown_json(seen: Seen) -> str:
    """As one line of JSON."""
    body = preview(seen.body, seen.content_type)
    fields: dict[str, object] = {
        "at": seen.at, "via": seen.via, "address": seen.address, "kind": body.kind, "value": body.value,
        "content_type": seen.content_type, "message_id": seen.message_id, "qos": seen.qos, "retained": seen.retain,
        "redelivered": seen.dup, "expires_s": seen.expires_s, "size": len(seen.body),
        "headers": {name: HIDDEN if looks_secret(name) else value for name, value in seen.headers.items()},
    }  # fmt: skip
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None}, enc_hook=repr).decode()


def add_where(parser: argparse.ArgumentParser) -> None:
    """Add ``--where``."""
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE",
        help="only messages whose body has this value there (a.b for one within another; KEY!=VALUE for any other); "
        "may be given several times",
    )  # fmt: skip


def matcher(conditions: list[str]) -> Callable[[Seen], bool]:
    """Whether a message has the values that ``--where`` wants. Raises ConfigError for a condition without ``=``."""
    wanted: list[tuple[list[str], str, bool]] = []
    for condition in conditions:
        key, sign, value = condition.partition("=")
        if not sign or not key.rstrip("!"):
            raise ConfigError(f"--where {condition}: write KEY=VALUE or KEY!=VALUE")
        wanted.append((key.removesuffix("!").split("."), value, not key.endswith("!")))

    def matches(seen: Seen) -> bool:
        if not wanted:
            return True
        value = preview(seen.body, seen.content_type).value
        return all((_same(_dig(value, path), text)) is equal for path, text, equal in wanted)

    return matches


def _dig(value: object, path: list[str]) -> object:
    for step in path:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def _same(value: object, text: str) -> bool:
    if value is _MISSING:
        return False
    if isinstance(value, str) and value == text:
        return True
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


def _plain(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
