"""The brokers of an application: where handlers are registered and messages are made."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pylib.application.binding import Binding, Handler, Middleware
from pylib.application.messages import Message
from pylib.brokers.port import Delivery, Header
from pylib.brokers.topics import amqp_matches, check_filter, check_routing_key, mqtt_matches
from pylib.errors import ConfigError, Rejected
from pylib.runtime.member import DEFAULT_DEADLINE

__all__ = ["Broker", "Registration", "share", "wrapped"]

log = logging.getLogger("pylib.application")

F = TypeVar("F", bound=Handler)

MOST_REMEMBERED: Final = 10_000
"""Addresses whose handlers are remembered, so that they are not matched for every message."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One handler: which addresses, which function, on how many workers."""

    name: str
    pattern: str
    binding: Binding
    workers: int
    key: Callable[[Delivery], object]
    deadline: float

    def pipe(self, delivery: Delivery) -> str:
        """The name of the pipe of the worker that gets this delivery: one key always has the same worker."""
        if self.workers == 1 or self.binding.is_async:
            return self.name
        return f"{self.name}#{share(self.order(delivery), self.workers) + 1}"

    def order(self, delivery: Delivery) -> str:
        """What keeps this delivery in order, among workers and when something fails. Any thread."""
        try:
            return str(self.key(delivery))
        except Exception as error:  # what keeps messages in order is no reason to lose one
            log.error("The key of handler %s failed on a message on %s (%s: %s); it is kept in order by its address.",
                      self.name, delivery.address, type(error).__name__, error)  # fmt: skip
            return delivery.address

    def pipes(self) -> list[str]:
        """The names of all its pipes."""
        if self.workers == 1 or self.binding.is_async:
            return [self.name]
        return [f"{self.name}#{number}" for number in range(1, self.workers + 1)]


class Broker:
    """One broker of an application. Made by ``Application.mqtt`` and ``Application.rabbitmq``."""

    def __init__(self, name: str, kind: str, exchange_kind: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.kind = kind
        self.options = dict(options)
        self.registrations: list[Registration] = []
        self.sealed = False
        self._orders: dict[str, Callable[[Delivery], str]] = {}
        self._matches = _matcher(kind, exchange_kind)
        # Which handlers an address goes to, remembered: addresses are few, and matching is not free.
        self._found: dict[str, list[Registration]] = {}

    def on(
        self, pattern: str, *, workers: int = 1, key: Callable[[Delivery], object] | None = None, name: str | None = None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> Callable[[F], F]:  # fmt: skip
        """Register a function for the messages on a topic filter or binding key. Returns the function as it is.

        :param workers: threads that share the work (for ``async def``: calls under way at once); the messages of one key
            always go to the same one and keep their order.
        :param key: what keeps messages in order among workers, the topic or routing key by default.
        :param name: of the handler, the function's by default: names its threads, and its failed messages after a restart.
        :param deadline: seconds that one call may take. A plain function that takes longer is reported as hung and the
            application stops, since a thread cannot be ended; an ``async def`` is cancelled and its message fails.
        :raises ConfigError: the pattern is none, or the function cannot be called with a message.
        """
        if self.kind == "mqtt":
            _check_filter(pattern)
        else:
            _check_binding_key(pattern)
        if workers < 1:
            raise ConfigError(f"handler on {pattern!r}: workers is {workers}, but somebody has to do the work")
        if not deadline > 0:
            raise ConfigError(f"handler on {pattern!r}: deadline is {deadline} seconds, and a call takes longer than that")

        def register(function: F) -> F:
            binding = Binding(function, self.kind)
            own = name or binding.name
            where = f"handler {own} on {self.name}"
            if self.sealed:
                raise ConfigError(f"{where}: the application has started; register handlers before run()")
            if "#" in own:
                raise ConfigError(f"{where}: a handler's name has no '#', which numbers its workers")
            if any(each.name == own for each in self.registrations):
                raise ConfigError(f"{self.name} has a handler named {own!r} already; give one of them another with name=")
            registration = Registration(own, pattern, binding, workers, key or _address, deadline)
            self.registrations.append(registration)
            self._orders[own] = registration.order
            return function

        return register

    def message(
        self, address: str, payload: Any = None, *, expires: float | None = None, qos: int = 1, retain: bool = False,
        headers: Mapping[str, Header] | None = None, message_id: str | None = None,
    ) -> Message:  # fmt: skip
        """A message to this broker, for a handler to return. Sends nothing by itself; any thread.

        :param address: MQTT topic or routing key.
        :param payload: bytes go as they are. On MQTT text too, None as an empty payload, the rest as JSON; on RabbitMQ
            everything else as MessagePack.
        :param expires: seconds from its sending after which it must not be delivered any more.
        """
        return Message(
            broker=self.name, address=address, payload=payload, expires=expires, qos=qos, retain=retain, headers=headers,
            message_id=message_id,
        )  # fmt: skip

    def route(self, delivery: Delivery) -> Sequence[tuple[str, object]]:
        """Which pipes a delivery goes down: one for each handler whose pattern it matches."""
        address = delivery.address
        found = self._found.get(address)
        if found is None:
            if len(self._found) >= MOST_REMEMBERED:
                self._found.clear()
            found = self._found[address] = [each for each in self.registrations if self._matches(each.pattern, address)]
        return [(each.pipe(delivery), delivery) for each in found]

    def order_key(self, pipe: str, delivery: Delivery) -> str:
        """What keeps a delivery in order in a pipe when something fails: the ``key`` of the handler whose pipe it is."""
        order = self._orders.get(pipe.partition("#")[0])
        return order(delivery) if order is not None else delivery.address


def share(key: object, workers: int) -> int:
    """Which of so many workers has the messages of a key: the same one in every run."""
    return zlib.crc32(str(key).encode(errors="replace")) % workers


def wrapped(binding: Binding, around: Sequence[Middleware]) -> Callable[[Delivery], Any]:
    """A handler inside its middleware, the first one outermost."""
    call: Callable[[Delivery], Any] = binding.call
    for middleware in reversed(around):
        call = _around(middleware, call)
    return call


def _around(middleware: Middleware, inner: Callable[[Delivery], Any]) -> Callable[[Delivery], Any]:
    return lambda delivery: middleware(inner, delivery)


def _address(delivery: Delivery) -> str:
    return delivery.address


def _check_filter(pattern: str) -> None:
    try:
        check_filter(pattern)
    except Rejected as error:
        raise ConfigError(str(error)) from None


def _check_binding_key(pattern: str) -> None:
    try:
        check_routing_key(pattern)
    except Rejected as error:
        raise ConfigError(str(error)) from None
    odd = next((word for word in pattern.split(".") if len(word) > 1 and ("*" in word or "#" in word)), None)
    if odd is not None:
        raise ConfigError(f"binding key {pattern!r} has the word {odd!r}: * and # stand for whole words, between dots")
    if "/" in pattern:
        raise ConfigError(f"binding key {pattern!r} has a slash: words of a routing key are separated by dots")


def _matcher(kind: str, exchange_kind: str) -> Callable[[str, str], bool]:
    if kind == "mqtt":
        return mqtt_matches
    if exchange_kind == "topic":
        return amqp_matches
    if exchange_kind == "direct":
        return lambda pattern, address: pattern == address
    return lambda pattern, address: True  # fanout and headers exchanges do not look at the routing key
