"""Methods on exchanges, queues and bindings: what the client wrote becomes a call on its virtual host."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pamqp import base, commands

from pylib.embedded.amqp.broker.core import REPLY_TO
from pylib.embedded.amqp.wire.errors import fail
from pylib.embedded.amqp.wire.tables import Table

if TYPE_CHECKING:
    from pylib.embedded.amqp.session.channel import Channel


def name_of(value: object) -> str:
    """A name as RabbitMQ takes it: without line breaks."""
    return str(value).replace("\r", "").replace("\n", "")


def table(value: object) -> Table:
    """The arguments of a method, with their types."""
    return cast("Table", value)


def queue_name(channel: Channel, name: object) -> str:
    """The queue a method means: the one it names, or the last one that was declared. Fails with 404."""
    found = name_of(name) or channel.last_queue
    if not found:
        fail(404, "no previously declared queue")
    return found


def _answer(channel: Channel, nowait: object, kind: type[base.Frame], **values: object) -> None:
    if not nowait:
        channel.reply(kind, **values)


def declare_exchange(channel: Channel, method: commands.Exchange.Declare) -> None:
    name = name_of(method.exchange)
    if method.passive:
        channel.vhost.check_exchange(name)
    else:
        channel.vhost.declare_exchange(
            name, str(method.exchange_type), durable=bool(method.durable), auto_delete=bool(method.auto_delete),
            internal=bool(method.internal), arguments=table(method.arguments),
        )  # fmt: skip
    _answer(channel, method.nowait, commands.Exchange.DeclareOk)


def delete_exchange(channel: Channel, method: commands.Exchange.Delete) -> None:
    channel.vhost.delete_exchange(name_of(method.exchange), if_unused=bool(method.if_unused))
    _answer(channel, method.nowait, commands.Exchange.DeleteOk)


def bind_exchange(channel: Channel, method: commands.Exchange.Bind) -> None:
    source, destination = name_of(method.source), name_of(method.destination)
    channel.vhost.bind(source, "exchange", destination, str(method.routing_key), table(method.arguments), channel.connection)
    _answer(channel, method.nowait, commands.Exchange.BindOk)


def unbind_exchange(channel: Channel, method: commands.Exchange.Unbind) -> None:
    source, destination = name_of(method.source), name_of(method.destination)
    channel.vhost.unbind(source, "exchange", destination, str(method.routing_key), table(method.arguments), channel.connection)
    _answer(channel, method.nowait, commands.Exchange.UnbindOk)


def declare_queue(channel: Channel, method: commands.Queue.Declare) -> None:
    name = name_of(method.queue)
    owner = channel.connection
    ready, consumers = 0, 0
    if name.startswith(REPLY_TO):
        if not channel.core.knows_reply_address(name):
            fail(404, f"no queue '{name}' in vhost '{channel.vhost.name}'")
        consumers = 1
    else:
        if method.passive:
            queue = channel.vhost.queue(name, owner)
            queue.touch()
        else:
            queue = channel.vhost.declare_queue(
                name, durable=bool(method.durable), exclusive=bool(method.exclusive),
                auto_delete=bool(method.auto_delete), arguments=table(method.arguments), owner=owner,
            )  # fmt: skip
        name, ready, consumers = queue.name, queue.ready, queue.consumers.count
    channel.last_queue = name
    _answer(channel, method.nowait, commands.Queue.DeclareOk, queue=name, message_count=ready, consumer_count=consumers)


def _bound_key(channel: Channel, queue: object, key: object) -> str:
    """Section 1.7.2.3.6: without a queue and a key, both are the name of the last declared queue."""
    if not str(queue) and not str(key):
        return queue_name(channel, queue)
    return str(key)


def bind_queue(channel: Channel, method: commands.Queue.Bind) -> None:
    key = _bound_key(channel, method.queue, method.routing_key)
    name = queue_name(channel, method.queue)
    channel.vhost.bind(name_of(method.exchange), "queue", name, key, table(method.arguments), channel.connection)
    _answer(channel, method.nowait, commands.Queue.BindOk)


def unbind_queue(channel: Channel, method: commands.Queue.Unbind) -> None:
    key = _bound_key(channel, method.queue, method.routing_key)
    name = queue_name(channel, method.queue)
    channel.vhost.unbind(name_of(method.exchange), "queue", name, key, table(method.arguments), channel.connection)
    channel.reply(commands.Queue.UnbindOk)


def purge_queue(channel: Channel, method: commands.Queue.Purge) -> None:
    queue = channel.vhost.queue(queue_name(channel, method.queue), channel.connection)
    _answer(channel, method.nowait, commands.Queue.PurgeOk, message_count=queue.purge())


def delete_queue(channel: Channel, method: commands.Queue.Delete) -> None:
    name = queue_name(channel, method.queue)
    unused, empty = bool(method.if_unused), bool(method.if_empty)
    with channel.deliveries.notices_after():
        count = channel.vhost.delete_queue(name, if_unused=unused, if_empty=empty, owner=channel.connection)
        _answer(channel, method.nowait, commands.Queue.DeleteOk, message_count=count)
