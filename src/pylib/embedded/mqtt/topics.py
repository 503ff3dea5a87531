"""Topics and filters: which are valid, and who gets a message (section 4.7).

``pylib.brokers.topics`` says the same for what we send; brokers and embedded brokers meet on the wire only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

__all__ = ["MOST_LEVELS", "Subscriptions", "check_filter", "check_text", "check_topic", "matches", "shared_group"]

S = TypeVar("S")

#: Levels in a topic or filter. Mosquitto's own limit: a message is matched level by level.
MOST_LEVELS: Final = 200

# Section 1.5.3: NUL and surrogates are forbidden, and a receiver may hang up on control characters and on code points that
# are no characters. Mosquitto does, and so do we.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(p + 0xFFFE)}{chr(p + 0xFFFF)}" for p in range(0, 0x110000, 0x10000))
    + "]"
)


def check_text(text: str) -> str:
    """What is wrong with a text on the wire (section 1.5.3), or nothing."""
    if text.isascii() and text.isprintable():
        return ""
    return "a text with a character that is not allowed (section 1.5.3)" if _FORBIDDEN.search(text) else ""


def check_topic(topic: str) -> str:
    """What is wrong with the topic of a message (section 4.7), or nothing."""
    if not topic:
        return "an empty topic (section 4.7.3)"
    if "+" in topic or "#" in topic:
        return "a topic with a wildcard (section 3.3.2.1)"
    return _too_deep(topic)


def check_filter(topic_filter: str) -> str:
    """What is wrong with the filter of a subscription (section 4.7.1), or nothing."""
    if not topic_filter:
        return "an empty filter (section 4.7.3)"
    if topic_filter == "$share" or topic_filter.startswith("$share/"):
        group, _, inner = topic_filter[7:].partition("/")
        if not group or not inner or "+" in group or "#" in group:
            return "a shared subscription that is not $share/<group>/<filter>"
        topic_filter = inner
    levels = topic_filter.split("/")
    for index, level in enumerate(levels):
        if ("#" in level and (level != "#" or index != len(levels) - 1)) or ("+" in level and level != "+"):
            return "a filter with a wildcard that is not a whole level (section 4.7.1)"
    return _too_deep(topic_filter)


def shared_group(topic_filter: str) -> tuple[str, str]:
    """The group of a shared subscription, or "", and the filter proper."""
    if topic_filter.startswith("$share/"):
        _, group, inner = topic_filter.split("/", 2)
        return group, inner
    return "", topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a subscription to ``topic_filter`` gets messages of ``topic``. Both are taken to be valid."""
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False  # section 4.7.2
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    return all(want in ("+", level) for want, level in zip(wanted, levels, strict=False))


class _Node(Generic[S]):
    __slots__ = ("children", "groups", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node[S]] = {}
        self.subscribers: dict[S, int] = {}
        self.groups: dict[str, dict[S, int]] = {}

    @property
    def empty(self) -> bool:
        return not (self.children or self.subscribers or self.groups)


class Subscriptions(Generic[S]):
    """All subscriptions as a tree of levels, so that a message costs what matches it and not what exists."""

    def __init__(self) -> None:
        self._root: _Node[S] = _Node()

    def add(self, topic_filter: str, subscriber: S, qos: int) -> None:
        """Subscribe, or change the QoS of a subscription."""
        group, topic_filter = shared_group(topic_filter)
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        members = node.groups.setdefault(group, {}) if group else node.subscribers
        members[subscriber] = qos

    def remove(self, topic_filter: str, subscriber: S) -> None:
        """End a subscription, if there is one."""
        group, topic_filter = shared_group(topic_filter)
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            node = path[-1].children.get(level)
            if node is None:
                return
            path.append(node)
        members = path[-1].groups.get(group, {}) if group else path[-1].subscribers
        members.pop(subscriber, None)
        if group and not members:
            path[-1].groups.pop(group, None)
        for parent, level, node in zip(path[-2::-1], reversed(levels), path[:0:-1], strict=True):
            if not node.empty:
                break
            del parent.children[level]

    def matching(self, topic: str) -> tuple[dict[S, int], list[dict[S, int]]]:
        """Who gets a message: each subscriber once, at the highest QoS of its matching subscriptions (section 3.3.5), and
        the shared groups, of which one member gets it."""
        found: dict[S, int] = {}
        groups: list[dict[S, int]] = []
        for node in self._nodes(topic):
            for subscriber, qos in node.subscribers.items():
                if qos > found.get(subscriber, -1):
                    found[subscriber] = qos
            groups += node.groups.values()
        return found, groups

    def _nodes(self, topic: str) -> Iterator[_Node[S]]:
        reached = [self._root]
        wild = topic[0] != "$"  # section 4.7.2
        for level in topic.split("/"):
            following = []
            for node in reached:
                children = node.children
                if wild:
                    if "#" in children:
                        yield children["#"]
                    if "+" in children:
                        following.append(children["+"])
                if level in children:
                    following.append(children[level])
            reached, wild = following, True
            if not reached:
                return
        for node in reached:
            yield node
            if "#" in node.children:
                yield node.children["#"]  # sport/# matches sport (section 4.7.1.2)


def _too_deep(topic: str) -> str:
    return f"a topic of more than {MOST_LEVELS} levels" if topic.count("/") >= MOST_LEVELS else ""
