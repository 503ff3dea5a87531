"""Exchanges: by their type and bindings they say where a message goes."""

from __future__ import annotations

from typing import Final

from pylib.embedded.amqp.broker.headers import matches
from pylib.embedded.amqp.broker.message import Message
from pylib.embedded.amqp.broker.topics import TopicTree
from pylib.embedded.amqp.wire.tables import Table

__all__ = ["TYPES", "Binding", "Exchange"]

TYPES: Final = ("direct", "fanout", "topic", "headers")
#: How many routing keys an exchange remembers the way of.
REMEMBERED_KEYS = 1_000


class Binding:
    """A way from an exchange to a queue or another exchange."""

    __slots__ = ("arguments", "destination", "key", "kind", "source")

    def __init__(self, source: str, kind: str, destination: str, key: str, arguments: Table) -> None:
        self.source = source
        self.kind = kind  # "queue" or "exchange"
        self.destination = destination
        self.key = key
        self.arguments = arguments

    def identity(self) -> tuple[str, str, str, str]:
        """What makes two bindings of one exchange the same: the order of arguments does not matter."""
        return self.kind, self.destination, self.key, repr(sorted(self.arguments.items(), key=lambda item: item[0]))


class Exchange:
    """One exchange of a virtual host."""

    def __init__(
        self, name: str, vhost: str, kind: str, *, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        self.name = name
        self.shown = f"exchange '{name}' in vhost '{vhost}'"
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        alternate = arguments.get("alternate-exchange", ("V", None))[1]
        self.alternate = alternate if isinstance(alternate, str) else None
        self.bindings: dict[tuple[str, str, str, str], Binding] = {}
        self._by_key: dict[str, list[Binding]] = {}
        self._topics: TopicTree[Binding] = TopicTree()
        self._remembered: dict[str, tuple[Binding, ...]] = {}

    def add(self, binding: Binding) -> bool:
        """False if there is such a binding."""
        identity = binding.identity()
        if identity in self.bindings:
            return False
        self.bindings[identity] = binding
        self._remembered.clear()
        if self.kind == "direct":
            self._by_key.setdefault(binding.key, []).append(binding)
        elif self.kind == "topic":
            self._topics.add(binding.key, binding)
        return True

    def remove(self, binding: Binding) -> Binding | None:
        """Take out the binding that equals this one; None if there is none."""
        found = self.bindings.pop(binding.identity(), None)
        if found is None:
            return None
        self._remembered.clear()
        if self.kind == "direct":
            row = self._by_key[found.key]
            row.remove(found)
            if not row:
                del self._by_key[found.key]
        elif self.kind == "topic":
            self._topics.remove(found.key, found)
        return found

    def route(self, message: Message) -> list[Binding]:
        """The bindings that a message matches, by any of its routing keys."""
        if self.kind == "fanout":
            return list(self.bindings.values())
        if self.kind == "headers":
            headers = message.headers or {}
            return [binding for binding in self.bindings.values() if matches(binding.arguments, headers)]
        if len(message.routing_keys) == 1:
            return list(self._ways(message.routing_keys[0]))
        return [binding for key in message.routing_keys for binding in self._ways(key)]

    def _ways(self, key: str) -> tuple[Binding, ...]:
        if self.kind == "direct":
            return tuple(self._by_key.get(key, ()))
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= REMEMBERED_KEYS:
                self._remembered.clear()
            found = self._remembered[key] = tuple(self._topics.match(key))
        return found
