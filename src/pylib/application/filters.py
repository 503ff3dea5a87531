"""Which topic filters to subscribe to, so that each message comes once however many handlers want it.

A broker may deliver a message once for each subscription that it matches (MQTT 5 section 3.3.4), and Mosquitto does. Which
handlers a message is for is found out here, so it is enough, and right, to have it once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pylib.errors import ConfigError

__all__ = ["disjoint"]

log = logging.getLogger("pylib.application")


def disjoint(filters: Iterable[str], who: str) -> list[str]:
    """Filters that match whatever one of the given ones matches, and of which no topic matches two.

    Of ``a/#`` and ``a/b`` the first is enough; ``a/+`` and ``+/b`` become ``+/+``, which is said in the log, since more
    comes than was asked for.

    :raises ConfigError: a shared subscription overlaps with another filter: it cannot be known for whom a message came.
    """
    found: list[str] = []
    for each in filters:
        shared = each.startswith("$share/")
        while True:
            other = next((one for one in found if one == each or _overlap(_inner(one), _inner(each))), None)
            if other is None or other == each:
                break
            if shared or other.startswith("$share/"):
                raise ConfigError(
                    f"{who}: {other} and {each} overlap, and one of them is shared; give each a connection of its own: "
                    "app.mqtt(..., name=...)"
                )
            joint = _join(other, each)
            if joint not in (other, each):
                log.warning(
                    "%s: %s and %s overlap; subscribing to %s, so that each message comes once.", who, other, each, joint
                )
            found.remove(other)
            each = joint
        if other is None:
            found.append(each)
    return found


def _inner(topic_filter: str) -> str:
    return topic_filter.split("/", 2)[-1] if topic_filter.startswith("$share/") else topic_filter


def _overlap(one: str, other: str) -> bool:
    """Whether some topic matches both (MQTT 5 section 4.7)."""
    first, second = one.split("/"), other.split("/")
    # A wildcard at the start matches no topic that starts with $, so such a pair has nothing in common.
    if any(a.startswith("$") and b in ("+", "#") for a, b in ((first[0], second[0]), (second[0], first[0]))):
        return False
    for a, b in zip(first, second, strict=False):
        if "#" in (a, b):
            return True
        if a != b and "+" not in (a, b):
            return False
    # What is left of the longer one: only # matches no further level at all.
    rest = first[len(second) :] or second[len(first) :]
    return not rest or rest[0] == "#"


def _join(one: str, other: str) -> str:
    """The narrowest filter that matches whatever either matches."""
    first, second = one.split("/"), other.split("/")
    levels: list[str] = []
    for a, b in zip(first, second, strict=False):
        if "#" in (a, b):
            return "/".join([*levels, "#"])
        levels.append(a if a == b else "+")
    if len(first) != len(second):
        levels.append("#")
    return "/".join(levels)
