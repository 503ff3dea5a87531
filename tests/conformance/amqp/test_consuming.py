"""Getting, consuming, prefetch, and settling what was delivered."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp.commands import Basic, Queue
from pamqp.commands import Channel as Chan

from tests.conformance.amqp.client import Channel, Properties
from tests.conformance.amqp.world import World


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


def no_queue(world: World, name: str) -> str:
    return f"NOT_FOUND - no queue '{name}' in vhost '{world.vhost}'"


def test_get_tells_how_many_are_left(ch: Channel) -> None:
    queue = ch.confirm().queue()
    ch.put(queue, b"1", b"2", b"3")
    ch.confirmed(3)
    assert [ch.got(queue).message_count for _ in range(3)] == [2, 1, 0]


def test_get_from_an_empty_queue_says_so(ch: Channel) -> None:
    assert ch.get(ch.queue()) is None


@pytest.mark.parametrize("method", [Basic.Get, Basic.Consume], ids=["get", "consume"])
def test_a_missing_queue_is_404(world: World, ch: Channel, method: Any) -> None:
    name = world.fresh()
    ch.refused(method(queue=name), 404, no_queue(world, name))


def test_messages_arrive_in_the_order_they_were_published(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, no_ack=True)
    bodies = [b"%d" % n for n in range(300)]
    ch.put(queue, *bodies)
    assert ch.deliveries(300) == bodies


def test_delivery_tags_count_within_a_channel(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    assert ch.got(queue).tag == 1
    ch.consume(queue)
    assert [ch.delivery().tag for _ in range(2)] == [2, 3]


def test_a_delivery_names_its_consumer_exchange_and_key(ch: Channel) -> None:
    queue = ch.queue()
    ch.bind(queue, "amq.direct", queue)
    tag = ch.consume(queue, "me")
    ch.publish("amq.direct", queue)
    method = ch.delivery().method
    assert isinstance(method, Basic.Deliver)
    assert (method.consumer_tag, method.exchange, method.routing_key, method.redelivered) == (tag, "amq.direct", queue, False)


def test_a_consumer_without_a_name_gets_one(ch: Channel) -> None:
    queue = ch.queue()
    tags = {ch.consume(queue) for _ in range(3)}
    assert len(tags) == 3
    assert all(tag.startswith("amq.ctag-") and len(tag) == len("amq.ctag-") + 22 for tag in tags)


def test_the_same_consumer_tag_twice_is_530(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, "me")
    ch.fatal(Basic.Consume(queue=queue, consumer_tag="me"), 530, "NOT_ALLOWED - attempt to reuse consumer tag 'me'")


def test_the_same_consumer_tag_on_another_channel_is_fine(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, "me")
    assert ch.connection.channel().consume(queue, "me") == "me"


def test_consumers_are_served_in_turn(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, "a", no_ack=True)
    ch.consume(queue, "b", no_ack=True)
    ch.put(queue, *(b"%d" % n for n in range(6)))
    tags = [ch.delivery().consumer_tag for _ in range(6)]
    assert tags in (["a", "b"] * 3, ["b", "a"] * 3)


def test_a_consumer_with_a_higher_priority_is_served_first(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, "low", no_ack=True, arguments={"x-priority": -1})
    ch.consume(queue, "high", no_ack=True, arguments={"x-priority": 5})
    ch.put(queue, *(b"%d" % n for n in range(4)))
    assert [ch.delivery().consumer_tag for _ in range(4)] == ["high"] * 4


def test_a_busy_consumer_lets_the_lower_priority_have_a_turn(ch: Channel) -> None:
    queue = ch.queue()
    ch.qos(1)
    ch.consume(queue, "low", no_ack=False, arguments={"x-priority": 1})
    ch.consume(queue, "high", no_ack=False, arguments={"x-priority": 5})
    ch.put(queue, b"1", b"2")
    assert [ch.delivery().consumer_tag for _ in range(2)] == ["high", "low"]


def test_an_exclusive_consumer_is_alone_403(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue, exclusive=True)
    ch.refused(
        Basic.Consume(queue=queue),
        403,
        f"ACCESS_REFUSED - queue '{queue}' in vhost '{world.vhost}' in exclusive use",
    )


def test_an_exclusive_consumer_comes_only_where_nobody_is_403(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue)
    ch.refused(
        Basic.Consume(queue=queue, exclusive=True),
        403,
        f"ACCESS_REFUSED - queue '{queue}' in vhost '{world.vhost}' in exclusive use",
    )


def test_after_an_exclusive_consumer_left_others_may_come(ch: Channel) -> None:
    queue = ch.queue()
    ch.cancel(ch.consume(queue, exclusive=True))
    ch.consume(queue)


def test_a_cancelled_consumer_gets_nothing_more(ch: Channel) -> None:
    queue = ch.queue()
    ch.cancel(ch.consume(queue))
    ch.put(queue, b"x")
    ch.nothing_came()
    assert ch.drain(queue) == [b"x"]


def test_what_a_cancelled_consumer_has_in_hand_may_still_be_settled(ch: Channel) -> None:
    queue = ch.queue()
    tag = ch.consume(queue)
    ch.put(queue, b"1", b"2")
    first, second = ch.delivery(), ch.delivery()
    ch.cancel(tag)
    ch.ack(first.tag)
    ch.nack(second.tag)
    assert ch.got(queue).body == b"2"


def test_cancelling_an_unknown_consumer_is_fine(ch: Channel) -> None:
    ch.cancel("nobody")


def test_a_consumer_is_told_when_its_queue_is_deleted(ch: Channel) -> None:
    queue = ch.queue()
    tag = ch.consume(queue)
    ch.delete(queue)
    assert ch.cancelled() == tag


def test_the_answer_to_a_delete_comes_before_the_notice_on_the_same_channel(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue)
    ch.send(Queue.Delete(queue=queue))
    assert [type(ch.connection.expect_any().frame) for _ in range(2)] == [Queue.DeleteOk, Basic.Cancel]


def test_a_client_that_does_not_know_that_notice_gets_none(world: World) -> None:
    ch = world.channel(properties={})
    queue = ch.queue()
    ch.consume(queue)
    ch.delete(queue)
    ch.settle()
    assert not ch.inbox.cancels


# ------------------------------------------------------------------------------------------------------------- prefetch


def test_prefetch_bounds_what_is_out(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    ch.qos(2)
    ch.consume(queue)
    first = ch.delivery()
    ch.delivery()
    ch.nothing_came()
    ch.ack(first.tag)
    assert ch.delivery().body == b"3"


def test_prefetch_zero_is_no_bound(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, *(b"%d" % n for n in range(100)))
    ch.qos(0)
    ch.consume(queue)
    assert len(ch.deliveries(100)) == 100


def test_prefetch_counts_for_each_consumer(ch: Channel) -> None:
    one, two = ch.queue(), ch.queue()
    for queue in (one, two):
        ch.put(queue, b"1", b"2")
    ch.qos(1)
    ch.consume(one)
    ch.consume(two)
    ch.deliveries(2)
    ch.nothing_came()


def test_prefetch_of_the_channel_counts_for_all_consumers(ch: Channel) -> None:
    one, two = ch.queue(), ch.queue()
    for queue in (one, two):
        ch.put(queue, b"1", b"2")
    ch.qos(1, whole_channel=True)
    ch.consume(one)
    ch.consume(two)
    first = ch.delivery()
    ch.nothing_came()
    ch.ack(first.tag)
    ch.delivery()


def test_prefetch_does_not_bound_consumers_that_do_not_acknowledge(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    ch.qos(1)
    ch.consume(queue, no_ack=True)
    assert ch.deliveries(3) == [b"1", b"2", b"3"]


def test_prefetch_does_not_bound_get(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2")
    ch.qos(1)
    assert [ch.got(queue, no_ack=False).body for _ in range(2)] == [b"1", b"2"]


def test_a_new_prefetch_is_for_consumers_that_come_later(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    ch.qos(1)
    ch.consume(queue)
    ch.qos(10)
    ch.delivery()
    ch.nothing_came()


def test_a_prefetch_in_bytes_is_540(ch: Channel) -> None:
    ch.fatal(Basic.Qos(100, 0, False), 540, "NOT_IMPLEMENTED - prefetch_size!=0 (100)")


def test_the_busy_consumer_is_passed_over(world: World) -> None:
    one, two = world.channel(), world.channel()
    queue = one.queue(world.fresh(), durable=True)
    for ch in (one, two):
        ch.qos(1)
        ch.consume(queue)
    one.put(queue, b"1", b"2", b"3")
    in_hand = one.delivery()
    second = two.delivery()
    two.ack(second.tag)
    assert two.delivery().body == b"3"
    one.ack(in_hand.tag)
    two.delete(queue)


# -------------------------------------------------------------------------------------------------------------- settling


def settled(ch: Channel, queue: str) -> list[bytes]:
    """Open the channel anew and get what is still in the queue."""
    ch.close()
    ch.open()
    return ch.drain(queue)


def test_what_is_acknowledged_does_not_come_back(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    tags = [ch.got(queue, no_ack=False).tag for _ in range(3)]
    ch.ack(tags[1])
    assert settled(ch, queue) == [b"1", b"3"]


def test_acknowledging_several_takes_all_up_to_that_one(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    tags = [ch.got(queue, no_ack=False).tag for _ in range(3)]
    ch.ack(tags[1], multiple=True)
    assert settled(ch, queue) == [b"3"]


def test_acknowledging_several_with_tag_zero_takes_all(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    for _ in range(3):
        ch.got(queue, no_ack=False)
    ch.ack(0, multiple=True)
    assert settled(ch, queue) == []


def test_what_was_not_acknowledged_comes_back_redelivered_in_its_place(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3", b"4")
    second = ch.connection.channel()
    for _ in range(2):
        second.got(queue, no_ack=False)
    second.close()
    messages = [ch.got(queue) for _ in range(4)]
    assert [m.body for m in messages] == [b"1", b"2", b"3", b"4"]
    assert [m.redelivered for m in messages] == [True, True, False, False]


def test_what_a_lost_connection_had_in_hand_goes_to_the_next(world: World) -> None:
    one, two = world.channel(), world.channel()
    queue = one.queue(world.fresh(), durable=True)
    one.put(queue, b"1")
    one.got(queue, no_ack=False)
    one.connection.close()
    two.consume(queue)
    message = two.delivery()
    assert (message.body, message.redelivered) == (b"1", True)
    two.delete(queue)


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_a_message_put_back_is_redelivered_in_its_place(ch: Channel, how: str) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    first, second = ch.got(queue, no_ack=False), ch.got(queue, no_ack=False)
    getattr(ch, how)(first.tag, requeue=True)
    ch.settle()
    again = ch.got(queue)
    assert (again.body, again.redelivered) == (b"1", True)
    ch.ack(second.tag)
    assert ch.drain(queue) == [b"3"]


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_a_message_refused_for_good_is_gone(ch: Channel, how: str) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2")
    getattr(ch, how)(ch.got(queue, no_ack=False).tag, requeue=False)
    assert settled(ch, queue) == [b"2"]


def test_several_are_put_back_in_their_order(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3", b"4")
    tags = [ch.got(queue, no_ack=False).tag for _ in range(3)]
    ch.nack(tags[-1], multiple=True)
    ch.settle()
    assert ch.drain(queue) == [b"1", b"2", b"3", b"4"]


def test_putting_back_in_another_order_makes_no_difference(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2", b"3")
    tags = [ch.got(queue, no_ack=False).tag for _ in range(3)]
    for tag in (tags[1], tags[2], tags[0]):
        ch.nack(tag)
    ch.settle()
    assert ch.drain(queue) == [b"1", b"2", b"3"]


def test_all_may_be_put_back_with_tag_zero(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2")
    for _ in range(2):
        ch.got(queue, no_ack=False)
    ch.nack(0, multiple=True)
    ch.settle()
    assert ch.drain(queue) == [b"1", b"2"]


@pytest.mark.parametrize(
    "method",
    [Basic.Ack(9), Basic.Nack(9), Basic.Reject(9), Basic.Ack(9, True), Basic.Nack(9, True), Basic.Reject(0), Basic.Ack(0)],
    ids=["ack", "nack", "reject", "ack multiple", "nack multiple", "reject 0", "ack 0"],
)
def test_an_unknown_delivery_tag_is_406(ch: Channel, method: Any) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    ch.got(queue, no_ack=False)
    ch.refused(method, 406, f"PRECONDITION_FAILED - unknown delivery tag {method.delivery_tag}")


def test_acknowledging_twice_is_406(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    tag = ch.got(queue, no_ack=False).tag
    ch.ack(tag)
    ch.refused(Basic.Ack(tag), 406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")


def test_acknowledging_what_needed_none_is_406(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    tag = ch.got(queue, no_ack=True).tag
    ch.refused(Basic.Ack(tag), 406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")


def test_acknowledging_on_another_channel_is_406(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    tag = ch.got(queue, no_ack=False).tag
    ch.connection.channel().refused(Basic.Ack(tag), 406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")


def test_acknowledging_all_when_nothing_is_out_is_fine(ch: Channel) -> None:
    ch.ack(0, multiple=True)
    ch.nack(0, multiple=True)
    ch.queue()


def test_recover_puts_all_back(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2")
    ch.got(queue, no_ack=False)
    ch.got(queue, no_ack=False)
    ch.call(Basic.Recover(True), Basic.RecoverOk)
    ch.settle()
    messages = [ch.got(queue) for _ in range(2)]
    assert [(m.body, m.redelivered) for m in messages] == [(b"1", True), (b"2", True)]


def test_recover_delivers_to_the_consumer_again(ch: Channel) -> None:
    queue = ch.queue()
    ch.consume(queue)
    ch.put(queue, b"1")
    ch.delivery()
    ch.call(Basic.Recover(True), Basic.RecoverOk)
    again = ch.delivery()
    assert (again.body, again.redelivered, again.tag) == (b"1", True, 2)


def test_recover_to_the_same_consumer_is_540(ch: Channel) -> None:
    ch.fatal(Basic.Recover(False), 540, "NOT_IMPLEMENTED - requeue=false")


def test_a_deleted_queue_takes_what_is_out_with_it(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    tag = ch.got(queue, no_ack=False).tag
    ch.delete(queue)
    ch.ack(tag)
    ch.queue()


def _one(name: str, text: str) -> dict[str, Any]:
    return {name: text}


@pytest.mark.parametrize(
    "name",
    ["content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "message_type", "app_id"],
)
def test_a_text_property_arrives_as_it_was(ch: Channel, name: str) -> None:
    queue = ch.queue()
    for text in ("text", "", "größe 门铃", "x" * 255):
        ch.put(queue, b"x", properties=Properties(**_one(name, text)))
        got = getattr(ch.got(queue).properties, name)
        assert (got or "") == text


def test_a_deleted_queue_that_was_consumed_on_two_channels_notifies_both(ch: Channel) -> None:
    queue = ch.queue()
    second = ch.connection.channel()
    ch.send(Basic.Consume(queue=queue, consumer_tag="a"))
    ch.wait_for(Basic.ConsumeOk)
    second.send(Basic.Consume(queue=queue, consumer_tag="b"))
    second.wait_for(Basic.ConsumeOk)
    ch.send(Queue.Delete(queue=queue))
    names = set()
    for _ in range(3):
        got = ch.connection.expect_any()
        if isinstance(got.frame, Basic.Cancel):
            names.add((got.channel, got.frame.consumer_tag))
        else:
            assert isinstance(got.frame, Queue.DeleteOk)
    assert names == {(1, "a"), (2, "b")}


def test_a_closed_channel_gives_back_what_it_had(ch: Channel) -> None:
    queue = ch.queue()
    second = ch.connection.channel()
    ch.put(queue, b"x")
    ch.settle()
    second.got(queue, no_ack=False)
    second.send(Queue.Declare(queue="missing", passive=True))
    second.wait_for(Chan.Close)
    second.send(Chan.CloseOk())
    assert ch.got(queue).redelivered
