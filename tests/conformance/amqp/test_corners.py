"""Corners in which two features meet."""

from __future__ import annotations

import pytest
from pamqp.commands import Basic, Exchange, Queue, Tx
from pamqp.commands import Channel as Chan

from tests.conformance.amqp.client import Channel, Properties
from tests.conformance.amqp.world import World


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


def test_a_get_beside_an_exclusive_consumer_works(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, exclusive=True)
    assert ch.get(queue) is None


def test_a_shared_queue_declared_again_as_exclusive_is_405(world: World, ch: Channel) -> None:
    name = ch.queue(world.fresh(), auto_delete=True)
    ch.send(Queue.Declare(queue=name, exclusive=True, auto_delete=True))
    close = ch.wait_for(Chan.Close)
    assert close.reply_code == 405
    ch.send(Chan.CloseOk())
    ch.open()
    ch.delete(name)


def test_one_full_queue_of_several_makes_a_nack(world: World, ch: Channel) -> None:
    full = ch.confirm().queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    roomy = ch.queue()
    exchange = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    for queue in (full, roomy):
        ch.bind(queue, exchange)
    ch.publish(exchange, "", b"1")
    ch.confirmed(1)
    ch.publish(exchange, "", b"2")
    assert ch.wait_for(Basic.Nack).delivery_tag == 2
    assert ch.drain(roomy) == [b"1", b"2"]


def test_a_consumer_priority_that_is_no_number_is_406(ch: Channel) -> None:
    queue = ch.queue()
    ch.send(Basic.Consume(queue=queue, arguments={"x-priority": "high"}))
    assert ch.wait_for(Chan.Close).reply_code == 406


def test_an_auto_delete_exchange_goes_with_its_last_exchange_binding(world: World, ch: Channel) -> None:
    source = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    destination = ch.exchange(world.fresh("x"), "fanout")
    ch.call(Exchange.Bind(destination=destination, source=source), Exchange.BindOk)
    ch.call(Exchange.Delete(exchange=destination), Exchange.DeleteOk)
    text = f"NOT_FOUND - no exchange '{source}' in vhost '{world.vhost}'"
    ch.refused(Exchange.Declare(exchange=source, passive=True), 404, text)


def test_a_rejection_in_a_transaction_waits_for_the_commit(ch: Channel) -> None:
    dead = ch.queue()
    queue = ch.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.put(queue, b"1")
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    assert ch.get(dead) is None
    ch.call(Tx.Commit(), Tx.CommitOk)
    ch.consume(dead, no_ack=True)
    assert ch.delivery().body == b"1"


def test_an_unknown_tag_in_a_transaction_is_406_at_once(ch: Channel) -> None:
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.refused(Basic.Ack(7), 406, "PRECONDITION_FAILED - unknown delivery tag 7")


def test_a_missing_exchange_in_a_transaction_is_404_at_once(world: World, ch: Channel) -> None:
    name = world.fresh("x")
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.publish(name, "k")
    ch.refused(None, 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'", about=Basic.Publish)


def test_dead_letters_keep_their_cc_and_lose_it_with_a_key_of_the_queue(ch: Channel) -> None:
    dead = ch.queue()
    queue = ch.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.put(queue, b"x", properties=Properties(headers={"CC": ["somewhere"]}))
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    ch.consume(dead, no_ack=True)
    headers = ch.delivery().headers
    assert "CC" not in headers
    assert headers["x-death"][0]["routing-keys"] == [queue, "somewhere"]


def test_a_dead_letter_is_bounded_by_the_limits_of_its_new_queue(ch: Channel) -> None:
    dead = ch.queue(arguments={"x-max-length": 1})
    queue = ch.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.put(queue, b"1", b"2")
    for _ in range(2):
        ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    ch.settle()
    assert ch.drain(dead) == [b"2"]


def test_cancelling_does_not_give_back_what_is_out(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1")
    tag = ch.consume(queue)
    delivery = ch.delivery()
    ch.cancel(tag)
    assert ch.get(queue) is None
    ch.nack(delivery.tag)
    ch.settle()
    assert ch.got(queue).redelivered


def test_a_prefetch_of_the_channel_raised_lets_more_through(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    ch.qos(1, whole_channel=True)
    ch.consume(queue)
    ch.delivery()
    ch.nothing_came()
    ch.qos(3, whole_channel=True)
    assert ch.deliveries(2) == [b"2", b"3"]


def test_purging_makes_no_dead_letters(ch: Channel) -> None:
    dead = ch.queue()
    queue = ch.confirm().queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.put(queue, b"1")
    ch.confirmed(1)
    assert ch.call(Queue.Purge(queue=queue), Queue.PurgeOk).message_count == 1
    ch.settle()
    assert ch.get(dead) is None


def test_a_get_beside_a_single_active_consumer_on_a_classic_queue_works(world: World, ch: Channel) -> None:
    queue = ch.queue(world.fresh(), exclusive=True, arguments={"x-single-active-consumer": True})
    ch.put(queue, b"1")
    assert ch.got(queue).body == b"1"


def test_a_header_table_with_the_same_binding_twice_is_one_binding(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "headers", auto_delete=True)
    queue = ch.queue()
    for _ in range(2):
        ch.bind(queue, name, "", {"x-match": "all", "a": 1})
    ch.publish(name, "", b"x", Properties(headers={"a": 1}))
    assert ch.drain(queue) == [b"x"]


def test_the_same_consumer_tag_may_be_used_again_after_a_cancel(ch: Channel) -> None:
    queue = ch.queue()
    for _ in range(2):
        assert ch.consume(queue, "me") == "me"
        ch.cancel("me")


def test_replies_are_not_got_only_consumed_404(world: World, ch: Channel) -> None:
    name = "amq.rabbitmq.reply-to"
    ch.refused(Basic.Get(queue=name, no_ack=True), 404, f"NOT_FOUND - no queue '{name}' in vhost '{world.vhost}'")


def test_a_reply_consumer_may_be_cancelled_and_set_again(ch: Channel) -> None:
    for _ in range(2):
        ch.cancel(ch.consume("amq.rabbitmq.reply-to", no_ack=True))
