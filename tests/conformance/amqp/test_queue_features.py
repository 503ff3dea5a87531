"""What queues do by themselves: time limits, length limits, dead letters, priorities, one consumer at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pamqp.commands import Basic, Queue
from pamqp.commands import Channel as Chan

from tests.conformance.amqp.client import Channel, Properties
from tests.conformance.amqp.world import World

DEAD = "dead-letters-of-the-case"


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


def with_graveyard(ch: Channel, arguments: dict[str, Any]) -> tuple[str, str]:
    """A queue whose dead letters arrive in a second one: both names."""
    dead = ch.queue()
    return ch.queue(arguments=arguments | {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}), dead


# ------------------------------------------------------------------------------------------------------- time to live


def test_a_message_past_the_queues_ttl_is_gone(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {"x-message-ttl": 50})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"late")
    assert ch.delivery().body == b"late"
    assert ch.get(queue) is None


def test_a_ttl_of_zero_delivers_at_once_or_never(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {"x-message-ttl": 0})
    ch.put(queue, b"nobody there")
    assert ch.get(queue) is None
    ch.consume(dead, no_ack=True)
    assert ch.delivery().body == b"nobody there"
    ch.consume(queue, no_ack=True)
    ch.put(queue, b"somebody there")
    assert ch.delivery().body == b"somebody there"


def test_a_messages_own_expiration_counts(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"late", properties=Properties(expiration="50"))
    message = ch.delivery()
    assert message.body == b"late"
    # It must not expire again in the next queue; what it was is kept in x-death.
    assert message.properties.expiration is None
    assert message.headers["x-death"][0]["original-expiration"] == "50"


def test_the_shorter_of_the_two_times_counts(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {"x-message-ttl": 50})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"late", properties=Properties(expiration="600000"))
    assert ch.delivery().body == b"late"


def test_a_message_that_is_out_does_not_expire(ch: Channel) -> None:
    queue = ch.queue(arguments={"x-message-ttl": 60})
    ch.put(queue, b"in hand")
    message = ch.got(queue, no_ack=False)
    ch.connection.silent_for(0.15)
    ch.ack(message.tag)
    ch.queue()


def test_a_message_that_comes_back_expires_then(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {"x-message-ttl": 60})
    ch.put(queue, b"late")
    message = ch.got(queue, no_ack=False)
    ch.connection.silent_for(0.15)
    ch.consume(dead, no_ack=True)
    ch.nack(message.tag)
    assert ch.delivery().headers["x-death"][0]["reason"] == "expired"


def test_only_the_head_of_a_queue_expires(ch: Channel) -> None:
    queue = ch.confirm().queue()
    ch.put(queue, b"stays")
    ch.put(queue, b"behind it", properties=Properties(expiration="1"))
    ch.confirmed(2)
    ch.connection.silent_for(0.1)
    assert ch.ready(queue) == 2
    assert ch.got(queue).body == b"stays"
    assert ch.get(queue) is None


@pytest.mark.parametrize("expiration", ["soon", "-1", "1.5"])
def test_an_expiration_that_is_no_time_is_406(ch: Channel, expiration: str) -> None:
    queue = ch.queue()
    ch.put(queue, b"x", properties=Properties(expiration=expiration))
    close = ch.wait_for(Chan.Close)
    assert close.reply_code == 406
    assert close.reply_text.startswith(f"PRECONDITION_FAILED - invalid expiration '{expiration}'")
    assert (close.class_id, close.method_id) == (60, 40)


def gone(ch: Channel, queue: str) -> None:
    """Wait until the queue does not exist."""
    deadline = time.monotonic() + 10
    while True:
        second = ch.connection.channel()
        second.send(Queue.Declare(queue=queue, passive=True))
        got = ch.connection.expect_any()
        if isinstance(got.frame, Chan.Close):
            assert got.frame.reply_code == 404
            second.send(Chan.CloseOk())
            return
        assert time.monotonic() < deadline
        second.close()
        ch.connection.silent_for(0.05)


def test_an_unused_queue_expires(world: World, ch: Channel) -> None:
    queue = ch.queue(world.fresh(), auto_delete=True, arguments={"x-expires": 100})
    ch.put(queue, b"with it")
    ch.connection.silent_for(0.25)
    gone(ch, queue)


def test_a_queue_with_a_consumer_does_not_expire(world: World, ch: Channel) -> None:
    queue = ch.queue(world.fresh(), exclusive=True, arguments={"x-expires": 100})
    tag = ch.consume(queue)
    ch.connection.silent_for(0.3)
    assert ch.ready(queue) == 0
    ch.cancel(tag)
    ch.connection.silent_for(0.25)
    gone(ch, queue)


# -------------------------------------------------------------------------------------------------------- length limits


def test_a_full_queue_drops_its_oldest(ch: Channel) -> None:
    queue = ch.queue(arguments={"x-max-length": 2})
    ch.put(queue, b"1", b"2", b"3", b"4")
    assert ch.drain(queue) == [b"3", b"4"]


def test_the_oldest_become_dead_letters(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {"x-max-length": 1})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"1", b"2", b"3")
    first, second = ch.delivery(), ch.delivery()
    assert (first.body, second.body) == (b"1", b"2")
    assert first.headers["x-death"][0]["reason"] == "maxlen"
    assert ch.drain(queue) == [b"3"]


def test_a_length_in_bytes_counts_bodies(ch: Channel) -> None:
    queue = ch.queue(arguments={"x-max-length-bytes": 10})
    ch.put(queue, b"12345", b"67890", b"abc")
    assert ch.drain(queue) == [b"67890", b"abc"]


def test_a_message_larger_than_the_whole_queue_is_dropped(ch: Channel) -> None:
    queue = ch.queue(arguments={"x-max-length-bytes": 10})
    ch.put(queue, b"x" * 11)
    assert ch.drain(queue) == []


def test_what_is_out_does_not_count(ch: Channel) -> None:
    queue = ch.queue(arguments={"x-max-length": 1})
    ch.put(queue, b"1")
    out = ch.got(queue, no_ack=False)
    ch.put(queue, b"2")
    assert ch.drain(queue) == [b"2"]
    ch.ack(out.tag)
    ch.queue()


def test_a_full_queue_may_reject_instead(ch: Channel) -> None:
    queue = ch.confirm().queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    ch.put(queue, b"1")
    assert ch.confirmed(1) == [("ack", 1)]
    ch.put(queue, b"2")
    message = ch.wait_for(Basic.Nack)
    assert message.delivery_tag == 2
    assert ch.drain(queue) == [b"1"]


def test_rejecting_may_make_dead_letters(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {"x-max-length": 1, "x-overflow": "reject-publish-dlx"})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"1", b"2")
    message = ch.delivery()
    assert (message.body, message.headers["x-death"][0]["reason"]) == (b"2", "maxlen")
    assert ch.drain(queue) == [b"1"]


def test_a_length_of_zero_keeps_nothing(ch: Channel) -> None:
    queue = ch.queue(arguments={"x-max-length": 0})
    ch.put(queue, b"1")
    assert ch.drain(queue) == []


# --------------------------------------------------------------------------------------------------------- dead letters


def test_a_rejected_message_becomes_a_dead_letter_with_its_story(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {})
    ch.consume(dead, no_ack=True)
    ch.publish("amq.direct", "unroutable", b"x")
    ch.bind(queue, "amq.direct", "the-key-" + queue)
    ch.publish("amq.direct", "the-key-" + queue, b"bad", Properties(headers={"mine": 1}, message_id="m"))
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    letter = ch.delivery()
    death = letter.headers["x-death"][0]
    assert letter.body == b"bad"
    assert (letter.properties.message_id, letter.headers["mine"]) == ("m", 1)
    assert {name: value for name, value in death.items() if name != "time"} == {
        "reason": "rejected",
        "queue": queue,
        "exchange": "amq.direct",
        "routing-keys": ["the-key-" + queue],
        "count": 1,
    }
    assert abs(death["time"].timestamp() - time.time()) < 60
    assert letter.headers["x-first-death-reason"] == "rejected"
    assert letter.headers["x-first-death-queue"] == queue
    assert letter.headers["x-first-death-exchange"] == "amq.direct"
    assert (letter.exchange, letter.routing_key) == ("", dead)
    assert not letter.redelivered


def test_a_nacked_message_becomes_a_dead_letter(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"1", b"2", b"3")
    tags = [ch.got(queue, no_ack=False).tag for _ in range(3)]
    ch.nack(tags[-1], multiple=True, requeue=False)
    assert ch.deliveries(3) == [b"1", b"2", b"3"]


def test_without_a_key_of_its_own_a_dead_letter_keeps_its_key(world: World, ch: Channel) -> None:
    graveyard = ch.exchange(world.fresh("x"), "topic", auto_delete=True)
    dead = ch.queue()
    ch.bind(dead, graveyard, "#")
    queue = ch.queue(arguments={"x-dead-letter-exchange": graveyard})
    ch.consume(dead, no_ack=True)
    ch.put(queue, b"x")
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    letter = ch.delivery()
    assert (letter.exchange, letter.routing_key) == (graveyard, queue)


def test_a_second_death_in_the_same_queue_is_counted(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {})
    ch.put(queue, b"x")
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    ch.consume(dead, no_ack=False)
    letter = ch.delivery()
    ch.publish("", queue, letter.body, letter.properties)
    ch.ack(letter.tag)
    again = ch.connection.channel()
    again.consume(queue)
    again.reject(again.delivery().tag, requeue=False)
    second = ch.delivery()
    assert len(second.headers["x-death"]) == 1
    assert second.headers["x-death"][0]["count"] == 2


def test_the_latest_death_stands_first(ch: Channel) -> None:
    last = ch.queue()
    middle = ch.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": last, "x-message-ttl": 1})
    first = ch.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": middle, "x-max-length": 0})
    ch.consume(last, no_ack=True)
    ch.put(first, b"x")
    headers = ch.delivery().headers
    assert [(death["queue"], death["reason"]) for death in headers["x-death"]] == [(middle, "expired"), (first, "maxlen")]
    assert (headers["x-first-death-queue"], headers["x-first-death-reason"]) == (first, "maxlen")


def test_a_dead_letter_without_a_place_to_go_is_dropped(world: World, ch: Channel) -> None:
    queue = ch.queue(arguments={"x-dead-letter-exchange": world.fresh("x")})
    ch.put(queue, b"x")
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    assert ch.get(queue) is None


def test_a_circle_of_dead_letters_without_a_rejection_is_cut(ch: Channel, world: World) -> None:
    name = world.fresh()
    ch.queue(name, exclusive=True, arguments={"x-message-ttl": 1, "x-dead-letter-exchange": ""})
    ch.put(name, b"round and round")
    ch.connection.silent_for(0.2)
    assert ch.get(name) is None


def test_without_a_dead_letter_exchange_a_rejected_message_is_gone(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x")
    ch.reject(ch.got(queue, no_ack=False).tag, requeue=False)
    assert ch.get(queue) is None


def test_deleting_a_queue_makes_no_dead_letters(ch: Channel) -> None:
    queue, dead = with_graveyard(ch, {})
    ch.put(queue, b"x")
    ch.delete(queue)
    ch.settle()
    assert ch.get(dead) is None


# --------------------------------------------------------------------------------------- quorum queues: delivery limit


def quorum(world: World, ch: Channel, **more: Any) -> str:
    return ch.queue(world.fresh(), durable=True, arguments={"x-queue-type": "quorum", **more})


def test_a_delivery_limit_ends_the_circle_of_returns(world: World, ch: Channel) -> None:
    dead = ch.queue()
    queue = quorum(world, ch, **{"x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.put(queue, b"poison")
    ch.consume(queue)
    for _ in range(3):
        ch.nack(ch.delivery().tag)
    ch.consume(dead, no_ack=True)
    letter = ch.delivery()
    assert (letter.body, letter.headers["x-death"][0]["reason"]) == (b"poison", "delivery_limit")
    ch.delete(queue)


def test_a_quorum_queue_counts_deliveries(world: World, ch: Channel) -> None:
    queue = quorum(world, ch)
    ch.put(queue, b"x")
    ch.consume(queue)
    first = ch.delivery()
    ch.nack(first.tag)
    second = ch.delivery()
    ch.nack(second.tag)
    third = ch.delivery()
    counts = [message.headers.get("x-delivery-count") for message in (first, second, third)]
    assert counts == [None, 1, 2]
    assert [message.redelivered for message in (first, second, third)] == [False, True, True]
    ch.delete(queue)


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [({"exclusive": True}, {}), ({"auto_delete": True, "durable": True}, {}), ({"durable": False}, {})],
    ids=["exclusive", "auto-delete", "transient"],
)
def test_a_quorum_queue_is_durable_and_nothing_else(
    world: World, ch: Channel, flags: dict[str, bool], arguments: dict[str, Any]
) -> None:
    ch.send(Queue.Declare(queue=world.fresh(), arguments={"x-queue-type": "quorum"} | arguments, **flags))
    assert ch.wait_for(Chan.Close).reply_code == 406


# ----------------------------------------------------------------------------------------------------------- priorities


def test_the_higher_priority_comes_first_and_order_within_one_stays(ch: Channel) -> None:
    queue = ch.confirm().queue(arguments={"x-max-priority": 5})
    for body, priority in ((b"a0", None), (b"b5", 5), (b"c1", 1), (b"d5", 5), (b"e0", 0), (b"f9", 9)):
        ch.put(queue, body, properties=Properties(priority=priority))
    ch.confirmed(6)
    assert ch.drain(queue) == [b"b5", b"d5", b"f9", b"c1", b"a0", b"e0"]


def test_without_a_max_priority_the_property_means_nothing(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"low", properties=Properties(priority=1))
    ch.put(queue, b"high", properties=Properties(priority=9))
    assert ch.drain(queue) == [b"low", b"high"]


def test_a_message_that_comes_back_keeps_its_priority(ch: Channel) -> None:
    queue = ch.confirm().queue(arguments={"x-max-priority": 5})
    ch.put(queue, b"high", properties=Properties(priority=3))
    ch.put(queue, b"low", properties=Properties(priority=1))
    ch.confirmed(2)
    high = ch.got(queue, no_ack=False)
    ch.nack(high.tag)
    ch.settle()
    assert ch.drain(queue) == [b"high", b"low"]


# --------------------------------------------------------------------------------------------- single active consumer


def test_only_one_consumer_is_served_and_the_next_takes_over(world: World, ch: Channel) -> None:
    queue = ch.queue(world.fresh(), exclusive=True, arguments={"x-single-active-consumer": True})
    first, second = ch.consume(queue, "first", no_ack=True), ch.consume(queue, "second", no_ack=True)
    ch.put(queue, b"1", b"2", b"3")
    assert [ch.delivery().consumer_tag for _ in range(3)] == [first] * 3
    ch.cancel(first)
    ch.put(queue, b"4")
    assert ch.delivery().consumer_tag == second


def test_a_single_active_consumer_may_not_be_exclusive_403(world: World, ch: Channel) -> None:
    queue = ch.queue(world.fresh(), exclusive=True, arguments={"x-single-active-consumer": True})
    ch.send(Basic.Consume(queue=queue, exclusive=True))
    close = ch.wait_for(Chan.Close)
    assert close.reply_code == 403


def test_what_the_first_did_not_acknowledge_goes_to_the_next(world: World) -> None:
    one, two = world.channel(), world.channel()
    queue = one.queue(world.fresh(), durable=True, arguments={"x-single-active-consumer": True})
    one.consume(queue)
    two.consume(queue)
    one.put(queue, b"1")
    assert one.delivery().body == b"1"
    one.connection.close()
    again = two.delivery()
    assert (again.body, again.redelivered) == (b"1", True)
    two.ack(again.tag)
    two.delete(queue)
