"""MQTT topics and AMQP routing keys: what is valid, what matches, and a reversible mapping between the two.

A client that sends a malformed topic is cut off by the broker, and the good messages around it suffer (a NUL in one
topic cost every message of the connection), so topics are checked here before anything is sent.
"""

from __future__ import annotations

import re
from typing import Final

from pylib.errors import Rejected

__all__ = [
    "amqp_matches",
    "MAX_KEY_BYTES",
    "MAX_TOPIC_BYTES",
    "check_filter",
    "check_routing_key",
    "check_topic",
    "filter_to_binding",
    "key_to_topic",
    "mqtt_matches",
    "topic_to_key",
]

MAX_TOPIC_BYTES: Final = 65_535
"""Length of a UTF-8 encoded string (MQTT 5 section 1.5.4)."""

MAX_KEY_BYTES: Final = 255
"""Length of a short string (AMQP 0-9-1 section 4.2.5.3)."""

# MQTT 5 section 1.5.4 forbids NUL and surrogates, and lets a receiver hang up on control characters and on code points
# that are no characters. Mosquitto does hang up, so none of them is ever sent.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(p + 0xFFFE)}{chr(p + 0xFFFF)}" for p in range(0, 0x110000, 0x10000))
    + "]"
)
_SHOWN: Final = 60
_ESCAPES: Final = {"%": "%25", ".": "%2E", "*": "%2A", "+": "%2B", "#": "%23"}
_UNESCAPES: Final = {escape: char for char, escape in _ESCAPES.items()}
_TO_ESCAPE: Final = re.compile(r"[%.*+#]")
_ESCAPED: Final = re.compile(r"%2[5EAB3]")
_EMPTY: Final = "%_"
"""A level without a character. Distinct from every escape, and no percent sign is ever left unescaped."""


def check_topic(topic: str) -> str:
    """Return ``topic`` if a message may be published to it (MQTT 5 sections 1.5.4, 3.3.2.1 and 4.7).

    :raises Rejected: it is empty, longer than 65,535 bytes, has a wildcard, or a character that a broker hangs up on.
    """
    _check_text(topic, "MQTT topic")
    if "+" in topic or "#" in topic:
        raise Rejected(f"MQTT topic {_show(topic)} has a wildcard (+ or #), which only a subscription may have.")
    return topic


def check_filter(topic_filter: str) -> str:
    """Return ``topic_filter`` if it may be subscribed to, shared or not (MQTT 5 sections 4.7 and 4.8.2).

    :raises Rejected: with the reason.
    """
    _check_text(topic_filter, "MQTT topic filter")
    inner = topic_filter
    if topic_filter == "$share" or topic_filter.startswith("$share/"):
        _, _, rest = topic_filter.partition("/")
        group, slash, inner = rest.partition("/")
        if not group or not slash or not inner or "+" in group or "#" in group:
            raise Rejected(
                f"shared subscription {_show(topic_filter)} is not $share/<group>/<filter>, the group without + and #."
            )
    levels = inner.split("/")
    for index, level in enumerate(levels):
        if level == "#":
            if index != len(levels) - 1:
                raise Rejected(f"MQTT topic filter {_show(topic_filter)} has a # that is not its last level.")
        elif level != "+" and ("+" in level or "#" in level):
            raise Rejected(f"MQTT topic filter {_show(topic_filter)} has a wildcard that is not a whole level.")
    return topic_filter


def check_routing_key(key: str) -> str:
    """Return ``key`` if a message may be published with it. An empty key is valid.

    :raises Rejected: it is longer than 255 bytes, has a zero octet (AMQP 0-9-1 section 4.2.5.3), or is not Unicode
        text.
    """
    if "\0" in key:
        raise Rejected(f"routing key {_show(key)} has a NUL character.")
    size = _size(key, "routing key")
    if size > MAX_KEY_BYTES:
        raise Rejected(f"routing key {_show(key)} is {size} bytes long, and AMQP allows {MAX_KEY_BYTES}.")
    return key


def mqtt_matches(topic_filter: str, topic: str) -> bool:
    """Whether a subscription to ``topic_filter`` gets messages of ``topic`` (MQTT 5 section 4.7).

    Both are taken to be valid. ``sport/#`` matches ``sport``; a filter that starts with a wildcard matches no topic
    that starts with ``$``; of ``$share/group/filter`` only the filter counts.
    """
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[-1]
    if topic_filter == topic:
        return True
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    return all(want == "+" or want == level for want, level in zip(wanted, levels, strict=False))


def amqp_matches(pattern: str, key: str) -> bool:
    """Whether a queue bound to a topic exchange by ``pattern`` gets messages of ``key`` (AMQP 0-9-1 section 3.1.3.3).

    ``*`` stands for one word, ``#`` for any number of them, none included.
    """
    if pattern in (key, "#"):
        return True
    wanted, words = pattern.split("."), key.split(".")
    # How many words of the key can be used up by the words of the pattern so far.
    reached = {0}
    for want in wanted:
        if want == "#":
            reached = set(range(min(reached), len(words) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(words) and want in ("*", words[at])}
        if not reached:
            return False
    return len(words) in reached


def topic_to_key(topic: str) -> str:
    """The routing key of an MQTT topic: ``bench/dev/state`` becomes ``bench.dev.state``.

    No two topics share a key, and :func:`key_to_topic` is the way back: ``.``, ``*`` and ``%`` within a level become
    ``%2E``, ``%2A`` and ``%25``, and an empty level becomes ``%_``.

    :raises Rejected: the topic is not valid, or its key would be longer than 255 bytes.
    """
    if (
        len(topic) <= MAX_KEY_BYTES
        and topic.isascii()
        and topic.isprintable()
        and not ("." in topic or "//" in topic or "%" in topic or "*" in topic or "+" in topic or "#" in topic)
        and topic[:1] not in "/"
        and topic[-1] != "/"
    ):
        return topic.replace("/", ".")
    check_topic(topic)
    key = ".".join(_escape(level) for level in topic.split("/"))
    size = len(key.encode())
    if size > MAX_KEY_BYTES:
        raise Rejected(
            f"MQTT topic {_show(topic)} becomes a routing key of {size} bytes, and AMQP allows {MAX_KEY_BYTES}: "
            "shorten the topic."
        )
    return key


def key_to_topic(key: str) -> str:
    """The MQTT topic of a routing key, the inverse of :func:`topic_to_key`.

    :raises Rejected: no topic has this key: it has a ``/``, an unescaped ``*``, ``+``, ``#`` or ``%``, an empty word,
        or a character that is not valid in a topic.
    """
    if len(key) > MAX_KEY_BYTES or not key.isascii():
        check_routing_key(key)
    if not key or "%" in key or _ODD_KEY.search(key):
        return check_topic("/".join(_unescape(word, key) for word in key.split(".")))
    topic = key.replace(".", "/")
    return topic if topic.isascii() and topic.isprintable() else check_topic(topic)


def filter_to_binding(topic_filter: str) -> str:
    """The binding key of a topic exchange that matches what the filter matches, on keys made by :func:`topic_to_key`.

    One difference remains: a leading wildcard also matches keys of topics that start with ``$``.

    :raises Rejected: the filter is not valid, is shared, or its binding key would be longer than 255 bytes.
    """
    check_filter(topic_filter)
    if topic_filter.startswith("$share/"):
        raise Rejected(f"shared subscription {_show(topic_filter)} has no binding key: share a queue instead.")
    words = ("*" if level == "+" else "#" if level == "#" else _escape(level) for level in topic_filter.split("/"))
    return check_routing_key(".".join(words))


_ODD_KEY: Final = re.compile(r"[/*+#]|\.\.|^\.|\.$")


def _escape(level: str) -> str:
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match.group()], level) if level else _EMPTY


def _unescape(word: str, key: str) -> str:
    if word == _EMPTY:
        return ""
    topic_level = _ESCAPED.sub(lambda match: _UNESCAPES[match.group()], word)
    # The only canonical spelling of a level is the one that _escape() gives; anything else would make two keys one
    # topic.
    if not word or "/" in word or _escape(topic_level) != word:
        raise Rejected(
            f"routing key {_show(key)} stands for no MQTT topic: no word may be empty nor have / * + # or a bare %."
        )
    return topic_level


def _check_text(text: str, kind: str) -> None:
    if not text:
        raise Rejected(f"{kind} is empty; it needs at least one character.")
    found = _FORBIDDEN.search(text)
    if found is not None:
        code = ord(found.group())
        name = "a NUL character" if code == 0 else f"the character U+{code:04X}"
        raise Rejected(f"{kind} {_show(text)} has {name} at position {found.start() + 1}, on which brokers hang up.")
    # No character takes more than four bytes, and half surrogates were refused above.
    size = len(text.encode()) if len(text) > MAX_TOPIC_BYTES // 4 else 0
    if size > MAX_TOPIC_BYTES:
        raise Rejected(f"{kind} {_show(text)} is {size} bytes long, and MQTT allows {MAX_TOPIC_BYTES}.")


def _size(text: str, kind: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Rejected(f"{kind} {_show(text)} is not Unicode text: it has half a surrogate pair.") from None


def _show(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
