"""Publishing: returns, confirms, what is refused, and properties that mean something."""

from __future__ import annotations

import pytest
from pamqp.commands import Basic, Confirm, Tx
from pamqp.commands import Channel as Chan

from tests.conformance.amqp.client import Channel, Properties
from tests.conformance.amqp.wire import METHOD, raw_frame, raw_method
from tests.conformance.amqp.world import World


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


@pytest.mark.parametrize("size", [0, 1, 131064, 131065, 1_000_000])
def test_a_body_of_any_size_arrives_whole(ch: Channel, size: int) -> None:
    queue = ch.queue()
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    ch.put(queue, body)
    assert ch.got(queue).body == body


def test_a_missing_exchange_is_404(world: World, ch: Channel) -> None:
    name = world.fresh("x")
    ch.publish(name, "k")
    ch.refused(None, 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'", about=Basic.Publish)


def test_what_is_mandatory_and_unroutable_comes_back_with_312(ch: Channel) -> None:
    ch.publish("amq.direct", "nowhere", b"back", Properties(message_id="m", headers={"a": 1}), mandatory=True)
    message = ch.returned()
    method = message.method
    assert isinstance(method, Basic.Return)
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key) == ("amq.direct", "nowhere")
    assert (message.body, message.properties.message_id, message.headers) == (b"back", "m", {"a": 1})


def test_what_is_not_mandatory_and_unroutable_is_dropped(ch: Channel) -> None:
    ch.publish("amq.direct", "nowhere")
    ch.queue()
    assert not ch.inbox.returns


def test_what_is_mandatory_and_routable_does_not_come_back(ch: Channel) -> None:
    queue = ch.queue()
    ch.publish("", queue, b"x", mandatory=True)
    assert ch.got(queue).body == b"x"
    assert not ch.inbox.returns


def test_a_queue_that_is_missing_is_no_route(world: World, ch: Channel) -> None:
    ch.publish("", world.fresh(), b"x", mandatory=True)
    assert ch.returned().body == b"x"


def test_immediate_is_540(ch: Channel) -> None:
    queue = ch.queue()
    ch.publish("", queue, immediate=True)
    ch.fatal(None, 540, "NOT_IMPLEMENTED - immediate=true", about=Basic.Publish)


# ------------------------------------------------------------------------------------------------------------- confirms


def test_confirms_count_from_the_select_on(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"before")
    ch.confirm()
    ch.put(queue, b"1", b"2", b"3")
    assert ch.confirmed(3) == [("ack", 1), ("ack", 2), ("ack", 3)]


def test_every_one_of_many_is_confirmed_once(ch: Channel) -> None:
    queue = ch.confirm().queue()
    ch.put(queue, *(b"%d" % n for n in range(500)))
    confirms = ch.confirmed(500)
    assert sorted(tag for _, tag in confirms) == list(range(1, 501))
    assert {verdict for verdict, _ in confirms} == {"ack"}


def test_what_is_unroutable_is_confirmed_too(ch: Channel) -> None:
    ch.confirm()
    ch.publish("amq.direct", "nowhere")
    assert ch.confirmed(1) == [("ack", 1)]


def test_the_return_comes_before_the_confirm(ch: Channel) -> None:
    ch.confirm()
    ch.publish("amq.direct", "nowhere", mandatory=True)
    assert isinstance(ch.connection.expect_any().frame, Basic.Return)
    ch.connection.expect_any()
    ch.connection.expect_any()
    assert isinstance(ch.connection.expect_any().frame, Basic.Ack)


def test_a_persistent_message_to_a_durable_queue_is_confirmed(world: World, ch: Channel) -> None:
    queue = ch.confirm().queue(world.fresh(), durable=True)
    ch.put(queue, b"x", properties=Properties(delivery_mode=2))
    assert ch.confirmed(1) == [("ack", 1)]
    ch.delete(queue)


def test_confirm_select_twice_is_fine_and_goes_on_counting(ch: Channel) -> None:
    queue = ch.confirm().queue()
    ch.put(queue, b"1")
    ch.confirmed(1)
    ch.confirm()
    ch.put(queue, b"2")
    assert ch.wait_for(Basic.Ack).delivery_tag == 2


def test_a_transaction_on_a_channel_with_confirms_is_406(ch: Channel) -> None:
    ch.confirm()
    ch.refused(Tx.Select(), 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode")


def test_confirms_on_a_channel_with_transactions_are_406(ch: Channel) -> None:
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.refused(Confirm.Select(), 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode")


# ---------------------------------------------------------------------------------------- properties that mean something


def test_the_own_user_id_is_accepted(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x", properties=Properties(user_id=world.user))
    assert ch.got(queue).properties.user_id == world.user


def test_another_user_id_is_406(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x", properties=Properties(user_id="somebody"))
    ch.refused(
        None,
        406,
        f"PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was '{world.user}'",
        about=Basic.Publish,
    )


def test_cc_and_bcc_are_further_keys_and_bcc_is_taken_out(ch: Channel) -> None:
    to, cc, bcc = ch.queue(), ch.queue(), ch.queue()
    ch.put(to, b"x", properties=Properties(headers={"CC": [cc], "BCC": [bcc], "other": 1}))
    for queue in (to, cc, bcc):
        message = ch.got(queue)
        assert message.body == b"x"
        assert message.headers == {"CC": [cc], "other": 1}


def test_the_same_queue_by_key_and_cc_gets_one_copy(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x", properties=Properties(headers={"CC": [queue]}))
    assert ch.drain(queue) == [b"x"]


def test_a_cc_that_is_no_list_is_406(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x", properties=Properties(headers={"CC": "me"}))
    close = ch.wait_for(Chan.Close)
    assert close.reply_code == 406
    assert "CC" in close.reply_text


def test_a_confirm_is_sent_after_a_message_to_several_queues(ch: Channel) -> None:
    ch.confirm()
    queues = [ch.queue() for _ in range(3)]
    for queue in queues:
        ch.bind(queue, "amq.fanout")
    ch.publish("amq.fanout", "", b"x")
    assert ch.confirmed(1) == [("ack", 1)]
    assert [ch.drain(queue) for queue in queues] == [[b"x"]] * 3


# --------------------------------------------------------------------------------------------------------- transactions


def test_nothing_is_published_before_the_commit(ch: Channel) -> None:
    queue = ch.queue()
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.put(queue, b"1", b"2")
    assert ch.get(queue) is None
    ch.call(Tx.Commit(), Tx.CommitOk)
    assert ch.drain(queue) == [b"1", b"2"]


def test_a_rollback_publishes_nothing(ch: Channel) -> None:
    queue = ch.queue()
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.put(queue, b"1")
    ch.call(Tx.Rollback(), Tx.RollbackOk)
    ch.put(queue, b"2")
    ch.call(Tx.Commit(), Tx.CommitOk)
    assert ch.drain(queue) == [b"2"]


def test_acknowledgements_wait_for_the_commit(world: World, ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1")
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.ack(ch.got(queue, no_ack=False).tag)
    ch.close()
    ch.open()
    assert ch.got(queue).redelivered


def test_acknowledgements_of_a_commit_count(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1", b"2")
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.ack(ch.got(queue, no_ack=False).tag)
    ch.call(Tx.Commit(), Tx.CommitOk)
    ch.close()
    ch.open()
    assert ch.drain(queue) == [b"2"]


def test_after_a_rollback_of_an_acknowledgement_it_may_be_given_again(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"1")
    ch.call(Tx.Select(), Tx.SelectOk)
    tag = ch.got(queue, no_ack=False).tag
    ch.ack(tag)
    ch.call(Tx.Rollback(), Tx.RollbackOk)
    ch.ack(tag)
    ch.call(Tx.Commit(), Tx.CommitOk)
    ch.close()
    ch.open()
    assert ch.drain(queue) == []


@pytest.mark.parametrize("method", [Tx.Commit(), Tx.Rollback()], ids=["commit", "rollback"])
def test_a_commit_without_a_transaction_is_406(ch: Channel, method: Tx.Commit) -> None:
    ch.refused(method, 406, "PRECONDITION_FAILED - channel is not transactional")


def test_a_mandatory_message_comes_back_at_the_commit(ch: Channel) -> None:
    ch.call(Tx.Select(), Tx.SelectOk)
    ch.publish("amq.direct", "nowhere", b"back", mandatory=True)
    ch.queue()
    ch.send(Tx.Commit())
    ch.wait_for(Tx.CommitOk)
    assert ch.returned().body == b"back"


# ---------------------------------------------------------------------------------------------------- direct reply-to

REPLIES = "amq.rabbitmq.reply-to"


def test_a_reply_comes_without_a_queue(world: World, ch: Channel) -> None:
    server = world.channel()
    requests = server.queue()
    ch.consume(REPLIES, no_ack=True)
    ch.put(requests, b"question", properties=Properties(reply_to=REPLIES, correlation_id="c"))
    server.consume(requests, no_ack=True)
    request = server.delivery()
    reply_to = request.properties.reply_to or ""
    assert reply_to.startswith(REPLIES + ".")
    server.put(reply_to, b"answer", properties=Properties(correlation_id=request.properties.correlation_id))
    answer = ch.delivery()
    assert (answer.body, answer.properties.correlation_id) == (b"answer", "c")
    assert (answer.exchange, answer.routing_key) == ("", reply_to)


def passive_declare(name: str) -> bytes:
    """Queue.Declare of a name that this client's codec does not know to be allowed."""
    return raw_frame(METHOD, 1, raw_method(50, 10, bytes([0, 0, len(name)]) + name.encode() + b"\x01\x00\x00\x00\x00"))


def test_whether_the_asker_is_still_there_can_be_asked(world: World, ch: Channel) -> None:
    server = world.channel()
    requests = server.queue()
    ch.consume(REPLIES, no_ack=True)
    ch.put(requests, b"question", properties=Properties(reply_to=REPLIES))
    server.consume(requests, no_ack=True)
    reply_to = server.delivery().properties.reply_to or ""
    server.connection.send_bytes(passive_declare(reply_to))
    assert server.connection.expect_any().payload[:4] == raw_method(50, 11)
    ch.connection.shut()
    server.publish("", reply_to, b"too late", mandatory=True)
    assert server.returned().body == b"too late"
    server.connection.send_bytes(passive_declare(reply_to))
    assert server.wait_for(Chan.Close).reply_code == 404


def test_replies_are_acknowledged_by_nobody_406(ch: Channel) -> None:
    ch.refused(Basic.Consume(queue=REPLIES, no_ack=False), 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge")


def test_a_second_consumer_of_replies_is_406(ch: Channel) -> None:
    ch.consume(REPLIES, no_ack=True)
    ch.refused(Basic.Consume(queue=REPLIES, no_ack=True), 406, "PRECONDITION_FAILED - reply consumer already set")


def test_asking_without_a_consumer_of_replies_is_406(ch: Channel) -> None:
    queue = ch.queue()
    ch.put(queue, b"x", properties=Properties(reply_to=REPLIES))
    ch.refused(None, 406, "PRECONDITION_FAILED - fast reply consumer does not exist", about=Basic.Publish)
