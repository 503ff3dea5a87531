"""Queues: declaring, sharing, binding, purging, deleting, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp.commands import Basic, Exchange, Queue
from pamqp.commands import Channel as Chan

from tests.conformance.amqp.client import Channel
from tests.conformance.amqp.wire import METHOD, frames_of, raw_frame, raw_method
from tests.conformance.amqp.world import World


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


def no_queue(world: World, name: str) -> str:
    return f"NOT_FOUND - no queue '{name}' in vhost '{world.vhost}'"


def test_a_queue_without_a_name_gets_one(ch: Channel) -> None:
    names = {ch.queue() for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("amq.gen-") and len(name) == len("amq.gen-") + 22 for name in names)


def test_the_last_declared_queue_is_meant_by_an_empty_name(ch: Channel) -> None:
    queue = ch.queue()
    ch.call(Queue.Bind(queue="", exchange="amq.direct", routing_key=queue), Queue.BindOk)
    ch.publish("amq.direct", queue, b"x")
    assert ch.got("").body == b"x"
    ch.consume("")
    assert ch.look(queue).consumer_count == 1
    assert ch.call(Queue.Purge(queue=""), Queue.PurgeOk).message_count == 0
    ch.call(Queue.Delete(queue=""), Queue.DeleteOk)


def test_an_empty_binding_key_with_the_last_queue_is_the_empty_key_or_its_name(ch: Channel) -> None:
    queue = ch.queue()
    ch.call(Queue.Bind(queue="", exchange="amq.direct", routing_key=""), Queue.BindOk)
    ch.publish("amq.direct", queue, b"by name")
    assert ch.drain(queue) == [b"by name"]


def test_an_empty_name_before_any_queue_was_declared_is_404(ch: Channel) -> None:
    ch.refused(Queue.Bind(queue="", exchange="amq.direct"), 404, "NOT_FOUND - no previously declared queue")


@pytest.mark.parametrize("flags", [{"durable": True}, {"auto_delete": True}, {"exclusive": True}], ids=str)
def test_declaring_twice_with_the_same_values_is_fine(world: World, ch: Channel, flags: dict[str, Any]) -> None:
    name = world.fresh()
    assert ch.queue(name, **flags) == ch.queue(name, **flags) == name
    ch.delete(name)


def test_declare_ok_counts_messages_and_consumers(ch: Channel) -> None:
    queue = ch.confirm().queue()
    ch.put(queue, b"1", b"2", b"3")
    ch.confirmed(3)
    looked = ch.look(queue)
    assert (looked.queue, looked.message_count, looked.consumer_count) == (queue, 3, 0)
    ch.qos(1)
    ch.consume(queue)
    ch.delivery()
    looked = ch.look(queue)
    # The one that is out is not ready any more.
    assert (looked.message_count, looked.consumer_count) == (2, 1)


INEQUIVALENT: list[tuple[str, dict[str, Any], str, str]] = [
    ("durable", {"durable": True}, "true", "false"),
    ("auto_delete", {"auto_delete": False}, "false", "true"),
    ("x-message-ttl", {"arguments": {"x-message-ttl": 5}}, "the value '5' of type 'byte'", "none"),
    ("x-max-length", {"arguments": {"x-max-length": 5}}, "the value '5' of type 'byte'", "none"),
    ("x-expires", {"arguments": {"x-expires": 50000}}, "the value '50000' of type 'unsignedshort'", "none"),
    ("x-dead-letter-exchange", {"arguments": {"x-dead-letter-exchange": "x"}}, "the value 'x' of type 'longstr'", "none"),
]


@pytest.mark.parametrize(("argument", "change", "received", "current"), INEQUIVALENT, ids=[row[0] for row in INEQUIVALENT])
def test_declaring_again_with_another_value_is_406(
    world: World, ch: Channel, argument: str, change: dict[str, Any], received: str, current: str
) -> None:
    name = ch.queue(world.fresh(), auto_delete=True)
    again: dict[str, Any] = {"queue": name, "auto_delete": True} | change
    quoted = (f"'{received}'", f"'{current}'") if not received.startswith("the value") else (received, current)
    ch.refused(
        Queue.Declare(**again),
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{name}' in vhost '{world.vhost}': "
        f"received {quoted[0]} but current is {quoted[1]}",
    )
    ch.open()
    ch.delete(name)


def test_an_argument_left_out_is_inequivalent_too(world: World, ch: Channel) -> None:
    name = ch.queue(world.fresh(), auto_delete=True, arguments={"x-max-length": 7})
    ch.refused(
        Queue.Declare(queue=name, auto_delete=True),
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{name}' in vhost '{world.vhost}': "
        "received none but current is the value '7' of type 'byte'",
    )
    ch.open()
    ch.delete(name)


def test_an_argument_nobody_knows_is_no_difference(world: World, ch: Channel) -> None:
    name = ch.queue(world.fresh(), auto_delete=True)
    ch.queue(name, auto_delete=True, arguments={"x-made-up": 1})
    ch.delete(name)


BAD_ARGUMENTS: list[tuple[str, Any, str]] = [
    ("x-message-ttl", -1, "{value_negative,-1}"),
    ("x-message-ttl", "soon", "expected integer, got longstr"),
    ("x-expires", 0, "{value_zero,0}"),
    ("x-expires", -5, "{value_negative,-5}"),
    ("x-max-length", -1, "{value_negative,-1}"),
    ("x-max-length-bytes", -1, "{value_negative,-1}"),
    ("x-max-priority", -1, "{value_negative,-1}"),
    ("x-max-priority", 256, "{max_value_exceeded,256}"),
    ("x-overflow", "explode", "invalid_overflow"),
    ("x-dead-letter-exchange", 5, "invalid type 'byte'"),
    ("x-single-active-consumer", "yes", "{unacceptable_type,longstr}"),
    ("x-queue-type", "stack", "unsupported queue type 'stack'"),
]


@pytest.mark.parametrize(("argument", "value", "reason"), BAD_ARGUMENTS, ids=[f"{a}={v}" for a, v, _ in BAD_ARGUMENTS])
def test_an_argument_that_makes_no_sense_is_406(world: World, ch: Channel, argument: str, value: Any, reason: str) -> None:
    name = world.fresh()
    ch.send(Queue.Declare(queue=name, exclusive=True, arguments={argument: value}))
    close = ch.wait_for(Chan.Close)
    assert close.reply_code == 406
    assert f"'{argument}'" in close.reply_text
    assert f"'{name}'" in close.reply_text
    assert reason in close.reply_text


def test_a_dead_letter_key_without_an_exchange_is_406(world: World, ch: Channel) -> None:
    name = world.fresh()
    ch.refused(
        Queue.Declare(queue=name, exclusive=True, arguments={"x-dead-letter-routing-key": "k"}),
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue '{name}' in vhost '{world.vhost}': "
        "routing_key_but_no_dlx_defined",
    )


@pytest.mark.parametrize("name", ["amq.mine", "amq."])
def test_a_reserved_name_is_403(ch: Channel, name: str) -> None:
    ch.refused(
        Queue.Declare(queue=name, exclusive=True),
        403,
        f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'",
    )


def test_a_passive_declare_of_a_missing_queue_is_404(world: World, ch: Channel) -> None:
    name = world.fresh()
    ch.refused(Queue.Declare(queue=name, passive=True), 404, no_queue(world, name))


EXCLUSIVE = [
    Queue.Declare(queue="q", passive=True),
    Queue.Declare(queue="q", exclusive=True),
    Queue.Bind(queue="q", exchange="amq.direct"),
    Queue.Purge(queue="q"),
    Queue.Delete(queue="q"),
    Basic.Get(queue="q"),
    Basic.Consume(queue="q"),
]


@pytest.mark.parametrize("method", EXCLUSIVE, ids=lambda m: f"{m.name}{' passive' if getattr(m, 'passive', False) else ''}")
def test_an_exclusive_queue_is_locked_for_other_connections_405(world: World, ch: Channel, method: Any) -> None:
    name = world.channel().queue(world.fresh())
    values = dict(method) | {"queue": name}
    ch.refused(
        type(method)(**values),
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '{world.vhost}'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of the original "
        "declaration.",
    )


def test_an_exclusive_queue_is_published_to_by_everybody(world: World, ch: Channel) -> None:
    other = world.channel().confirm()
    queue = ch.queue()
    other.put(queue, b"hello")
    other.confirmed(1)
    assert ch.got(queue).body == b"hello"


def test_an_exclusive_queue_is_shared_by_the_channels_of_its_connection(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    ch.settle()
    assert ch.connection.channel().got(queue).body == b"x"


def test_an_exclusive_queue_outlives_its_channel(ch: Channel) -> None:
    second = ch.connection.channel()
    queue = second.queue()
    second.close()
    assert ch.ready(queue) == 0


def test_an_auto_delete_queue_goes_with_its_last_consumer(world: World, ch: Channel) -> None:
    name = ch.queue(world.fresh(), auto_delete=True)
    first, second = ch.consume(name), ch.consume(name)
    ch.cancel(first)
    assert ch.look(name).consumer_count == 1
    ch.cancel(second)
    ch.refused(Queue.Declare(queue=name, passive=True), 404, no_queue(world, name))


def test_an_auto_delete_queue_without_a_consumer_stays(world: World, ch: Channel) -> None:
    name = ch.queue(world.fresh(), auto_delete=True)
    assert ch.get(name) is None
    assert world.channel().ready(name) == 0
    ch.delete(name)


def test_an_auto_delete_queue_goes_with_the_channel_of_its_consumer(world: World, ch: Channel) -> None:
    second = ch.connection.channel()
    name = second.queue(world.fresh(), auto_delete=True)
    second.consume(name)
    second.close()
    ch.refused(Queue.Declare(queue=name, passive=True), 404, no_queue(world, name))


def test_purging_counts_and_leaves_what_is_out(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    out = ch.got(queue, no_ack=False)
    assert ch.call(Queue.Purge(queue=queue), Queue.PurgeOk).message_count == 2
    ch.nack(out.tag)
    assert ch.got(queue).body == b"1"


def test_purging_a_missing_queue_is_404(world: World, ch: Channel) -> None:
    name = world.fresh()
    ch.refused(Queue.Purge(queue=name), 404, no_queue(world, name))


def test_deleting_counts_what_was_ready(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2")
    assert ch.delete(queue) == 2


def test_deleting_a_missing_queue_is_fine(world: World, ch: Channel) -> None:
    assert ch.delete(world.fresh()) == 0


def test_deleting_a_used_queue_if_unused_is_406(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue)
    ch.refused(
        Queue.Delete(queue=queue, if_unused=True),
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '{world.vhost}' in use",
    )


def test_deleting_a_full_queue_if_empty_is_406(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1")
    ch.refused(
        Queue.Delete(queue=queue, if_empty=True),
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '{world.vhost}' not empty",
    )


def test_deleting_an_unused_and_empty_queue_on_both_conditions_works(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.call(Queue.Delete(queue=queue, if_unused=True, if_empty=True), Queue.DeleteOk)
    ch.refused(Queue.Declare(queue=queue, passive=True), 404, no_queue(world, queue))


def test_a_deleted_queue_loses_its_bindings(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.bind(queue, "amq.direct", queue)
    ch.delete(queue)
    ch.publish("amq.direct", queue, b"back", mandatory=True)
    assert ch.returned().body == b"back"


def test_binding_a_missing_queue_is_404(world: World, ch: Channel) -> None:
    name = world.fresh()
    ch.refused(Queue.Bind(queue=name, exchange="amq.direct"), 404, no_queue(world, name))


def test_binding_to_a_missing_exchange_is_404(world: World, ch: Channel) -> None:
    name = world.fresh("x")
    queue = ch.queue()
    ch.refused(Queue.Bind(queue=queue, exchange=name), 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'")


def test_unbinding_what_is_not_bound_is_fine(world: World, ch: Channel) -> None:
    ch.unbind(ch.queue(), "amq.direct", "never")


@pytest.mark.parametrize("start", ["", "a:b/c d.e-f_g@h ", "türklingel 门铃 "], ids=["long", "signs", "letters"])
def test_a_name_may_have_255_octets_of_any_kind(world: World, ch: Channel, start: str) -> None:
    name = start.encode() + world.fresh().encode()
    name += b"x" * (255 - len(name))
    octets = b"\x00\x00\xff" + name
    # The codec of this client knows fewer names than the protocol does.
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(50, 10, octets + b"\x04\x00\x00\x00\x00")))
    declared = ch.connection.expect_any()
    assert declared.payload == raw_method(50, 11, b"\xff" + name + bytes(8))
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(60, 40, b"\x00\x00\x00\xff" + name + b"\x00")))
    ch.send(*frames_of(b"ring", None, ch.connection.frame_max))
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(60, 70, octets + b"\x01")))
    got = ch.connection.expect_any()
    assert got.payload[:4] == raw_method(60, 71)
    assert name in got.payload


def test_a_durable_queue_outlives_its_connection(world: World) -> None:
    first = world.channel().confirm()
    name = first.queue(world.fresh(), durable=True)
    first.put(name, b"kept")
    first.confirmed(1)
    first.connection.shut()
    second = world.channel()
    assert second.drain(name) == [b"kept"]
    second.delete(name)


def test_an_exchange_is_deleted_and_its_queue_stays(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "fanout")
    queue = ch.queue()
    ch.bind(queue, name)
    ch.call(Exchange.Delete(exchange=name), Exchange.DeleteOk)
    assert ch.ready(queue) == 0
