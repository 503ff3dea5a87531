"""A virtual host: its exchanges, queues and bindings, and what may be done with them.

Every refusal is an AmqpError with the code and text of RabbitMQ 3.10.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from pylib.embedded.amqp.broker import arguments as args
from pylib.embedded.amqp.broker.dead_letters import DeadLetters, dead_letter, is_cycle
from pylib.embedded.amqp.broker.exchange import TYPES, Binding, Exchange
from pylib.embedded.amqp.broker.headers import check_binding
from pylib.embedded.amqp.broker.message import Message
from pylib.embedded.amqp.broker.queue import Queue
from pylib.embedded.amqp.wire.errors import AmqpError, fail
from pylib.embedded.amqp.wire.tables import TYPE_NAMES, Table

if TYPE_CHECKING:
    from pylib.embedded.amqp.broker.core import Core

__all__ = ["VirtualHost"]

_DEFAULT_EXCHANGES = (
    ("", "direct"), ("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic"),
    ("amq.headers", "headers"), ("amq.match", "headers"), ("amq.rabbitmq.trace", "topic"),
)  # fmt: skip


class VirtualHost:
    """Belongs to the thread of its server, as everything in it."""

    def __init__(self, name: str, core: Core) -> None:
        self.name = name
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self._core = core
        self._dead_letters = DeadLetters(self._publish_dead, core.agenda)
        # Bindings by where they lead, so that the end of a queue does not look through all exchanges.
        self._leading_to: dict[tuple[str, str], dict[int, Binding]] = {}
        self.add_defaults()

    def add_defaults(self) -> None:
        """The exchanges that are always there."""
        for name, kind in _DEFAULT_EXCHANGES:
            self.exchanges[name] = Exchange(
                name, self.name, kind, durable=True, auto_delete=False, internal=name == "amq.rabbitmq.trace", arguments={}
            )

    # -- exchanges ---------------------------------------------------------------------------------------------------

    def exchange(self, name: str) -> Exchange:
        """Fails with 404."""
        found = self.exchanges.get(name)
        if found is None:
            fail(404, f"no exchange '{name}' in vhost '{self.name}'")
        return found

    def declare_exchange(
        self, name: str, kind: str, *, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        if kind not in TYPES:
            fail(503, f"unknown exchange type '{kind}'")
        _not_the_default(name)
        found = self.exchanges.get(name)
        if found is None:
            _not_reserved("exchange", name)
            shown = f"exchange '{name}' in vhost '{self.name}'"
            _check_name_argument(arguments, "alternate-exchange", shown)
            if len(self.exchanges) >= self._core.limits.exchanges:
                fail(530, f"cannot declare {shown}: the limit of {self._core.limits.exchanges} exchanges is reached")
            found = Exchange(
                name, self.name, kind, durable=durable, auto_delete=auto_delete, internal=internal, arguments=arguments
            )
            self.exchanges[name] = found
        args.assert_field(found.shown, "type", kind, found.kind)
        args.assert_field(found.shown, "durable", durable, found.durable)
        args.assert_field(found.shown, "auto_delete", auto_delete, found.auto_delete)
        args.assert_field(found.shown, "internal", internal, found.internal)
        args.assert_equal_arguments(found.shown, arguments, found.arguments, ("alternate-exchange",))

    def check_exchange(self, name: str) -> None:
        """A passive declare."""
        _not_the_default(name)
        self.exchange(name)

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        _not_the_default(name)
        if name.startswith("amq."):
            fail(403, f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed")
        found = self.exchanges.get(name)
        if found is None:
            return
        if if_unused and found.bindings:
            fail(406, f"{found.shown} in use")
        self._remove_exchange(found)

    def _remove_exchange(self, exchange: Exchange) -> None:
        if self.exchanges.get(exchange.name) is not exchange:
            return
        del self.exchanges[exchange.name]
        for binding in list(exchange.bindings.values()):
            self._forget(binding)
        self._remove_bindings_to("exchange", exchange.name)

    # -- bindings ----------------------------------------------------------------------------------------------------

    def bind(self, source: str, kind: str, destination: str, key: str, arguments: Table, owner: object) -> None:
        """``kind`` is what the destination is: "queue" or "exchange"."""
        exchange = self._ends(source, kind, destination)
        if exchange is None:
            if source not in self.exchanges:
                fail(404, f"no exchange '{source}' in vhost '{self.name}'")
            fail(404, f"no {kind} '{destination}' in vhost '{self.name}'")
        if kind == "queue":
            self.check_access(self.queues[destination], owner)
        if exchange.kind == "headers":
            check_binding(arguments)
        if self._core.bindings >= self._core.limits.bindings:
            fail(530, f"cannot bind {exchange.shown}: the limit of {self._core.limits.bindings} bindings is reached")
        binding = Binding(source, kind, destination, key, arguments)
        if exchange.add(binding):
            self._core.bindings += 1
            self._leading_to.setdefault((kind, destination), {})[id(binding)] = binding

    def unbind(self, source: str, kind: str, destination: str, key: str, arguments: Table, owner: object) -> None:
        """To take out a binding that is not there is no error."""
        exchange = self._ends(source, kind, destination)
        binding = Binding(source, kind, destination, key, arguments)
        if exchange is None or binding.identity() not in exchange.bindings:
            return
        if kind == "queue":
            self.check_access(self.queues[destination], owner)
        removed = exchange.remove(binding)
        if removed is not None:
            self._forget(removed)
            self._after_unbinding(exchange)

    def _ends(self, source: str, kind: str, destination: str) -> Exchange | None:
        """The exchange at the source, if both ends are there."""
        if kind == "exchange":
            _not_the_default(destination)
        _not_the_default(source)
        there = destination in (self.queues if kind == "queue" else self.exchanges)
        return self.exchanges.get(source) if there else None

    def _forget(self, binding: Binding) -> None:
        self._core.bindings -= 1
        row = self._leading_to.get((binding.kind, binding.destination))
        if row is not None:
            row.pop(id(binding), None)
            if not row:
                del self._leading_to[binding.kind, binding.destination]

    def _remove_bindings_to(self, kind: str, destination: str) -> None:
        for binding in list(self._leading_to.get((kind, destination), {}).values()):
            exchange = self.exchanges.get(binding.source)
            if exchange is not None and exchange.remove(binding) is not None:
                self._forget(binding)
                self._after_unbinding(exchange)

    def _after_unbinding(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.bindings:
            self._remove_exchange(exchange)

    # -- queues ------------------------------------------------------------------------------------------------------

    def queue(self, name: str, owner: object) -> Queue:
        """Fails with 404, and with 405 for one that is exclusive to another connection."""
        found = self.queues.get(name)
        if found is None:
            fail(404, f"no queue '{name}' in vhost '{self.name}'")
        self.check_access(found, owner)
        return found

    def check_access(self, queue: Queue, owner: object) -> None:
        """Fails with 405."""
        if queue.owner is not None and queue.owner is not owner:
            _locked(queue)

    def declare_queue(
        self, name: str, *, durable: bool, exclusive: bool, auto_delete: bool, arguments: Table, owner: object
    ) -> Queue:
        kind = arguments.get("x-queue-type", ("S", "classic"))[1]
        if not name:
            if kind in ("quorum", "stream"):
                fail(406, f"Cannot declare a server-named queue for type rabbit_{kind}_queue")
            name = f"amq.gen-{secrets.token_urlsafe(16)}"
        else:
            _not_reserved("queue", name)
        durable = durable and not exclusive
        found = self.queues.get(name)
        if found is not None:
            if found.owner is not owner if exclusive else found.owner is not None:
                _locked(found)
            args.assert_field(found.shown, "durable", durable, found.durable)
            args.assert_field(found.shown, "auto_delete", auto_delete, found.auto_delete)
            keys = args.equivalence_keys(found.options.quorum)
            args.assert_equal_arguments(found.shown, arguments, found.arguments, keys)
            found.touch()
            return found
        shown = f"queue '{name}' in vhost '{self.name}'"
        _check_name_argument(arguments, "x-dead-letter-exchange", shown)
        options = args.queue_options(shown, arguments)
        if options.quorum:
            for wrong, what in ((auto_delete, "auto-delete"), (exclusive, "exclusive-owner"), (not durable, "non-durable")):
                if wrong:
                    fail(406, f"invalid property '{what}' for {shown}")
        core = self._core
        if core.queue_count >= core.limits.queues:
            fail(530, f"cannot declare {shown}: the limit of {core.limits.queues} queues is reached")
        queue = Queue(
            name, self.name, durable=durable, auto_delete=auto_delete, owner=owner if exclusive else None,
            arguments=arguments, options=options, agenda=core.agenda, memory=core.memory, limits=core.limits,
            dead_letter=self._dead_letters.add, remove=self.remove_queue,
        )  # fmt: skip
        self.queues[name] = queue
        core.queue_count += 1
        return queue

    def delete_queue(self, name: str, *, if_unused: bool, if_empty: bool, owner: object) -> int:
        """The number of messages that went with it; 0 for a queue that is not there."""
        found = self.queues.get(name)
        if found is None:
            return 0
        self.check_access(found, owner)
        if found.options.quorum and (if_unused or if_empty):
            what = "if-unused" if if_unused else "if-empty"
            fail(
                540,
                f"cannot delete {found.shown}. queue.delete operations with {what} flag set are not supported by quorum "
                "queues",
            )
        if if_empty and found.ready:
            fail(406, f"{found.shown} not empty")
        if if_unused and found.consumers.count:
            fail(406, f"{found.shown} in use")
        return self.remove_queue(found)

    def remove_queue(self, queue: Queue) -> int:
        """Delete a queue whatever is in it."""
        if self.queues.get(queue.name) is not queue:
            return 0
        del self.queues[queue.name]
        self._core.queue_count -= 1
        dropped = queue.delete()
        self._remove_bindings_to("queue", queue.name)
        return dropped

    # -- messages ----------------------------------------------------------------------------------------------------

    def route(self, exchange: Exchange, message: Message) -> list[Queue]:
        """The queues a message goes to, each once: through bindings, bound exchanges and alternate exchanges."""
        queues = self.queues
        if exchange.name == "":
            if len(message.routing_keys) == 1:
                queue = queues.get(message.routing_keys[0])
                return [queue] if queue is not None else []
            return [queues[key] for key in dict.fromkeys(message.routing_keys) if key in queues]
        found: dict[str, Queue] = {}
        seen = {exchange.name}
        todo = [exchange]
        while todo:
            current = todo.pop()
            bindings = current.route(message)
            further = [] if bindings or current.alternate is None else [current.alternate]
            for binding in bindings:
                if binding.kind == "queue":
                    queue = queues.get(binding.destination)
                    if queue is not None:
                        found[binding.destination] = queue
                else:
                    further.append(binding.destination)
            for name in further:
                if name not in seen:
                    seen.add(name)
                    next_one = self.exchanges.get(name)
                    if next_one is not None:
                        todo.append(next_one)
        return list(found.values())

    def _publish_dead(self, queue: Queue, message: Message, reason: str) -> None:
        options = queue.options
        exchange = self.exchanges.get(options.dead_letter_exchange or "")
        if exchange is None:
            return
        letter = dead_letter(message, queue.name, reason, exchange.name, options.dead_letter_key, int(time.time()))
        for target in self.route(exchange, letter):
            if reason == "rejected" or not is_cycle(target.name, letter.headers):
                target.publish(letter)

    def clear(self) -> None:
        """Empty it: all queues, and all exchanges but the default ones."""
        for queue in list(self.queues.values()):
            self.remove_queue(queue)
        for exchange in list(self.exchanges.values()):
            self._remove_exchange(exchange)
        self.add_defaults()


def _not_the_default(name: str) -> None:
    if not name:
        fail(403, "operation not permitted on the default exchange")


def _not_reserved(kind: str, name: str) -> None:
    if name.startswith("amq."):
        fail(403, f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def _check_name_argument(arguments: Table, key: str, shown: str) -> None:
    field = arguments.get(key)
    if field is not None and field[0] != "S":
        fail(406, f"invalid type '{TYPE_NAMES[field[0]]}' for arg '{key}' in {shown}")


def _locked(queue: Queue) -> None:
    raise AmqpError(
        405,
        f"cannot obtain exclusive access to locked {queue.shown}. It could be originally declared on another connection or "
        "the exclusive property value does not match that of the original declaration.",
    )
