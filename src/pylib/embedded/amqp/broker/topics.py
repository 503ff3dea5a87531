"""Topic patterns in a tree of words: `*` is one word, `#` any number of them (AMQP 0-9-1, section 3.1.3.3)."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["TopicTree"]

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("below", "here", "many")

    def __init__(self, many: bool) -> None:
        self.many = many  # the node of a `#`
        self.below: dict[str, _Node[T]] = {}
        self.here: list[T] = []


class TopicTree(Generic[T]):
    """Values by pattern. A look-up visits each pair of node and word once, however many `#` a pattern has."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node(False)

    def add(self, pattern: str, value: T) -> None:
        node = self._root
        for word in _words(pattern):
            if word not in node.below:
                node.below[word] = _Node(word == "#")
            node = node.below[word]
        node.here.append(value)

    def remove(self, pattern: str, value: T) -> None:
        path = [self._root]
        words = _words(pattern)
        for word in words:
            path.append(path[-1].below[word])
        path[-1].here.remove(value)
        for parent, word in zip(reversed(path[:-1]), reversed(words), strict=True):
            node = parent.below[word]
            if node.here or node.below:
                break
            del parent.below[word]

    def match(self, key: str) -> list[T]:
        """The values of all patterns that match a routing key."""
        words = _words(key)
        count = len(words)
        found: list[T] = []
        seen: set[tuple[int, int]] = set()
        todo: list[tuple[_Node[T], int]] = [(self._root, 0)]
        while todo:
            node, at = todo.pop()
            if (id(node), at) in seen:
                continue
            seen.add((id(node), at))
            if at == count:
                found.extend(node.here)
            else:
                if node.many:  # it takes one word more, or, below, none
                    todo.append((node, at + 1))
                for word in {words[at], "*"}:
                    below = node.below.get(word)
                    if below is not None and not below.many:
                        todo.append((below, at + 1))
            many = node.below.get("#")
            if many is not None:
                todo.append((many, at))
        return found


def _words(key: str) -> list[str]:
    return key.split(".") if key else []
