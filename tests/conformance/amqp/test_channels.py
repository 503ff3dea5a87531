"""Channels, and what is sent in the wrong order, on the wrong channel or not at all well-formed."""

from __future__ import annotations

import struct

import pytest
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Queue
from pamqp.commands import Channel as Chan
from pamqp.commands import Connection as Con
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader

from tests.conformance.amqp.client import Channel
from tests.conformance.amqp.differences import ENDINGS
from tests.conformance.amqp.wire import BODY, HEADER, HEARTBEAT, METHOD, raw_frame, raw_method
from tests.conformance.amqp.world import World


def test_channels_are_opened_and_closed_again_and_again(world: World) -> None:
    connection = world.connect()
    for _ in range(5):
        Channel(connection, 7).open().close()


def test_channels_of_one_connection_do_not_disturb_each_other(world: World) -> None:
    connection = world.connect()
    one, two = connection.channel(), connection.channel()
    queue = one.queue()
    one.refused(Queue.Declare(queue="missing", passive=True), 404, f"NOT_FOUND - no queue 'missing' in vhost '{world.vhost}'")
    assert two.ready(queue) == 0


def test_opening_a_channel_twice_is_504_and_the_broker_hangs_up(world: World) -> None:
    ch = world.channel()
    ch.fatal(Chan.Open(), 504, "CHANNEL_ERROR - second 'channel.open' seen")
    ch.connection.expect_end()


def test_a_method_on_a_channel_that_is_not_open_is_504(world: World) -> None:
    connection = world.connect()
    connection.send(3, Queue.Declare(exclusive=True))
    connection.expect_close(504, "CHANNEL_ERROR - expected 'channel.open'")


def test_one_channel_more_than_agreed_is_530(world: World) -> None:
    connection = world.connect(channel_max=5)
    for _ in range(5):
        connection.channel()
    connection.send(6, Chan.Open())
    connection.expect_close(530, "NOT_ALLOWED - number of channels opened (5) has reached the negotiated channel_max (5)")


def test_as_many_channels_as_agreed_may_be_open(world: World) -> None:
    connection = world.connect(channel_max=5)
    for _ in range(5):
        connection.channel()


@pytest.mark.parametrize(
    "method",
    [Queue.Declare(exclusive=True), Con.Open("/"), Con.StartOk({}, "PLAIN", "x", "en_US"), Con.CloseOk()],
    ids=["queue.declare", "connection.open", "connection.start-ok", "connection.close-ok"],
)
def test_a_method_that_has_no_place_on_channel_zero_now_is_504(world: World, method: Frame) -> None:
    connection = world.connect()
    connection.send(0, method)
    connection.expect_close(504, "CHANNEL_ERROR - unexpected method in connection state running", about=type(method))


def test_a_connection_method_on_a_channel_ends_the_connection(world: World) -> None:
    ch = world.channel()
    ch.send(Con.Open(world.vhost))
    close = ch.connection.expect(0, Con.Close)
    assert close.reply_code == 503


def test_a_method_that_only_the_broker_may_send_ends_the_connection(world: World) -> None:
    ch = world.channel()
    ch.send(Queue.DeclareOk("q", 0, 0))
    close = ch.connection.expect(0, Con.Close)
    assert close.reply_code == 503


@pytest.mark.parametrize(
    ("channel", "class_id", "method_id"), [(1, 50, 99), (1, 60, 255), (1, 20, 12), (1, 77, 10), (0, 10, 99)]
)
def test_an_unknown_method_ends_the_connection(world: World, channel: int, class_id: int, method_id: int) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(METHOD, channel, raw_method(class_id, method_id)))
    assert ch.connection.ended_with() == ENDINGS["unknown method"].of(world.name)


def test_after_a_channel_was_closed_by_the_broker_its_frames_are_ignored_until_close_ok(world: World) -> None:
    ch = world.channel()
    ch.send(Queue.Declare(queue="missing", passive=True))
    ch.wait_for(Chan.Close)
    ch.send(Queue.Declare(exclusive=True), Basic.Qos(0, 1, False))
    ch.send(Chan.CloseOk())
    ch.open()
    ch.queue()


def test_a_channel_may_be_closed_while_the_broker_closes_it(world: World) -> None:
    ch = world.channel()
    ch.send(Queue.Declare(queue="missing", passive=True))
    ch.wait_for(Chan.Close)
    ch.call(Chan.Close(200, "done", 0, 0), Chan.CloseOk)
    ch.send(Chan.CloseOk())
    ch.open()
    ch.queue()


def test_a_channel_is_used_again_under_the_same_number_after_an_error(world: World) -> None:
    ch = world.channel()
    ch.refused(Queue.Declare(queue="missing", passive=True), 404, f"NOT_FOUND - no queue 'missing' in vhost '{world.vhost}'")
    ch.open()
    ch.queue()


def test_frames_of_other_channels_may_stand_between_a_message_and_its_body(world: World) -> None:
    connection = world.connect()
    one, two = connection.channel(), connection.channel()
    queue = one.queue()
    one.send(Basic.Publish(exchange="", routing_key=queue), ContentHeader(body_size=4))
    two.queue()
    one.send(ContentBody(b"ab"))
    two.queue()
    one.send(ContentBody(b"cd"))
    assert one.got(queue).body == b"abcd"


def test_an_empty_message_needs_no_body_frame(world: World) -> None:
    ch = world.channel()
    queue = ch.queue()
    ch.send(Basic.Publish(exchange="", routing_key=queue), ContentHeader(body_size=0))
    assert ch.got(queue).body == b""


def test_a_method_instead_of_a_content_header_is_505(world: World) -> None:
    ch = world.channel()
    ch.send(Basic.Publish(exchange="", routing_key="q"))
    ch.fatal(
        Basic.Qos(0, 1, False),
        505,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
        about=Basic.Publish,
    )


def test_a_method_instead_of_a_body_is_505(world: World) -> None:
    ch = world.channel()
    ch.send(Basic.Publish(exchange="", routing_key="q"), ContentHeader(body_size=4))
    ch.fatal(
        Basic.Qos(0, 1, False),
        505,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        about=Basic.Publish,
    )


def test_a_content_header_out_of_nowhere_is_505(world: World) -> None:
    ch = world.channel()
    ch.send(ContentHeader(body_size=4))
    close = ch.connection.expect(0, Con.Close)
    assert (close.reply_code, close.reply_text) == (
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    )


def test_a_body_out_of_nowhere_is_505(world: World) -> None:
    ch = world.channel()
    ch.send(ContentBody(b"abcd"))
    close = ch.connection.expect(0, Con.Close)
    assert (close.reply_code, close.reply_text) == (
        505,
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
    )


def test_a_content_header_of_another_class_is_505(world: World) -> None:
    ch = world.channel()
    ch.send(Basic.Publish(exchange="", routing_key="q"))
    ch.connection.send_bytes(raw_frame(HEADER, 1, struct.pack(">HHQH", 50, 0, 4, 0)))
    close = ch.connection.expect(0, Con.Close)
    assert close.reply_code == 505


def test_more_body_than_announced_ends_the_connection(world: World) -> None:
    ch = world.channel()
    queue = ch.queue()
    ch.send(Basic.Publish(exchange="", routing_key=queue), ContentHeader(body_size=2), ContentBody(b"abcdef"))
    ch.send(Basic.Qos(0, 1, False))
    text = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
    ch.connection.expect_close(505, text, about=Basic.Publish)


def test_an_unknown_frame_type_is_501(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(9, 1, b"abc"))
    ch.connection.expect_close(501, 'FRAME_ERROR - type 9, all octets = <<"abc">>: unknown_frame')


@pytest.mark.parametrize("payload", [b"", b"\x00\x32", b"\x00\x32\x00"])
def test_a_method_frame_too_short_for_its_numbers_is_501(world: World, payload: bytes) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(METHOD, 1, payload))
    close = ch.connection.expect(0, Con.Close)
    assert close.reply_code == 501
    assert close.reply_text.startswith("FRAME_ERROR - ")


def test_a_content_header_too_short_for_its_size_is_501(world: World) -> None:
    ch = world.channel()
    ch.send(Basic.Publish(exchange="", routing_key="q"))
    ch.connection.send_bytes(raw_frame(HEADER, 1, b"abc"))
    assert ch.connection.ended_with() == 501


def test_a_body_on_channel_zero_is_505(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(BODY, 0, b"abc"))
    assert ch.connection.ended_with() == 505


def test_a_second_protocol_header_is_501(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(b"AMQP\x00\x00\x09\x01")
    assert ch.connection.ended_with() == 501


def test_a_frame_without_its_end_octet_is_501(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(60, 10, bytes(7)), end=b"\x00"))
    text = "FRAME_ERROR - type 1, all octets = <<0,60,0,10,0,0,0,0,0,0,0>>: {invalid_frame_end_marker,0}"
    ch.connection.expect_close(501, text)


@pytest.mark.parametrize(
    "arguments",
    [b"\x00\x00\x20abc", b"\x00\x00\x01q\x02\x00\x00\x00\x32\x03abcS", b"\x00\x00\x01q\x02\x00\x00\x00\x00extra"],
    ids=["short string", "table", "too many"],
)
def test_arguments_that_cannot_be_decoded_are_501(world: World, arguments: bytes) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(50, 10, arguments)))
    close = ch.connection.expect(0, Con.Close)
    assert close.reply_code == 501
    assert close.reply_text.startswith("FRAME_ERROR - cannot decode <<0,0,")
    assert (close.class_id, close.method_id) == (50, 10)


def test_an_unknown_type_in_a_table_ends_the_connection(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(50, 10, b"\x00\x00\x01q\x02\x00\x00\x00\x05\x03abcQ")))
    assert ch.connection.ended_with() == ENDINGS["unknown type in a table"].of(world.name)


def test_a_channel_close_ok_that_was_not_asked_for_is_503(world: World) -> None:
    world.channel().fatal(Chan.CloseOk(), 503, "COMMAND_INVALID - unimplemented method")


@pytest.mark.parametrize("method", [Chan.CloseOk(), Chan.Close(200, "", 0, 0)], ids=["close-ok", "close"])
def test_closing_a_channel_that_is_not_open_is_504(world: World, method: Frame) -> None:
    connection = world.connect()
    connection.send(3, method)
    connection.expect_close(504, "CHANNEL_ERROR - expected 'channel.open'", about=type(method))


def test_a_heartbeat_on_another_channel_than_zero_is_505(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(HEARTBEAT, 1, b""))
    ch.connection.expect_close(505, "UNEXPECTED_FRAME - type 8, all octets = <<>>")


def test_a_heartbeat_with_a_payload_is_501(world: World) -> None:
    ch = world.channel()
    ch.connection.send_bytes(raw_frame(HEARTBEAT, 0, b"abc"))
    ch.connection.expect_close(501, 'FRAME_ERROR - type 8, all octets = <<"abc">>: unknown_frame')


def test_an_empty_body_frame_is_ignored(world: World) -> None:
    ch = world.channel()
    queue = ch.queue()
    ch.send(Basic.Publish(exchange="", routing_key=queue), ContentHeader(body_size=3))
    ch.connection.send_bytes(raw_frame(BODY, 1, b""))
    ch.send(ContentBody(b"abc"))
    assert ch.got(queue).body == b"abc"


def test_flow_off_is_540_and_flow_on_is_answered(world: World) -> None:
    ch = world.channel()
    assert ch.call(Chan.Flow(True), Chan.FlowOk).active
    ch.fatal(Chan.Flow(False), 540, "NOT_IMPLEMENTED - active=false")


def test_frames_sent_in_single_bytes_are_understood(world: World) -> None:
    ch = world.channel()
    queue = ch.queue()
    frames: list[FrameTypes] = [Basic.Publish(exchange="", routing_key=queue), ContentHeader(body_size=3), ContentBody(b"abc")]
    for byte in b"".join(marshal(frame, 1) for frame in frames):
        ch.connection.send_bytes(bytes([byte]))
    assert ch.got(queue).body == b"abc"


def test_access_request_of_the_older_protocol_is_answered_with_ticket_1(world: World) -> None:
    ch = world.channel()
    # class 30, method 10: realm "/data", all five flags off
    ch.connection.send_bytes(raw_frame(METHOD, 1, raw_method(30, 10, b"\x05/data\x00")))
    assert ch.connection.expect_any().payload == struct.pack(">HHH", 30, 11, 1)


def test_nothing_follows_a_nowait_method(world: World) -> None:
    ch = world.channel()
    name = world.fresh()
    ch.send(Queue.Declare(queue=name, exclusive=True, nowait=True))
    ch.send(Queue.Bind(queue=name, exchange="amq.fanout", nowait=True))
    ch.send(Queue.Purge(queue=name, nowait=True))
    ch.send(commands.Confirm.Select(nowait=True))
    ch.send(commands.Exchange.Declare(exchange=name, auto_delete=True, nowait=True))
    ch.send(commands.Exchange.Delete(exchange=name, nowait=True))
    ch.send(Basic.Consume(queue=name, consumer_tag="t", nowait=True))
    ch.send(Basic.Cancel(consumer_tag="t", nowait=True))
    assert ch.look(name).consumer_count == 0
    ch.send(Queue.Delete(queue=name, nowait=True))
    ch.queue()
