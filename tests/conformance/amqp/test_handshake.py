"""The way in: protocol header, mechanisms, tune, open, close, heartbeats."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.commands import Connection as Con
from pamqp.header import ContentHeader

from tests.conformance.amqp.differences import ENDINGS
from tests.conformance.amqp.wire import CLIENT_PROPERTIES, HEARTBEAT, METHOD, PROTOCOL_HEADER, raw_frame, sasl_plain
from tests.conformance.amqp.world import World

# Without the capability the broker may say nothing at all about why.
MUTE: dict[str, Any] = {"capabilities": {"authentication_failure_close": False}}
RESPONSES = [("PLAIN", "no zeros at all"), ("PLAIN", "\0half"), ("AMQPLAIN", "not a table")]
# Frames too big, too small, too many channels, any number of channels, frames of any size.
LIMITS = [(2047, 200000), (2047, 1000), (60000, 131072), (0, 131072), (2047, 0)]
LOGIN_REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."


@pytest.mark.parametrize(
    "header",
    [b"AMQP\x00\x00\x09\x00", b"AMQP\x01\x01\x00\x0a", b"AMQP\x00\x01\x00\x00", b"GET / HT", b"\x00" * 8],
    ids=["0-9-0", "0-10", "1-0", "http", "zeros"],
)
def test_another_protocol_is_answered_with_the_header_of_this_one(world: World, header: bytes) -> None:
    wire = world.wire()
    wire.send_bytes(header)
    assert wire.read_exactly(8) == PROTOCOL_HEADER
    wire.expect_end()


@pytest.mark.parametrize("header", [b"AMQP\x01\x01\x08\x00", b"AMQP\x01\x01\x00\x09"], ids=["0-8", "0-9"])
def test_the_older_headers_that_mean_this_protocol_are_accepted(world: World, header: bytes) -> None:
    wire = world.wire()
    wire.send_bytes(header)
    assert wire.expect(0, Con.Start).version_minor is not None


def test_a_header_that_comes_byte_by_byte_is_accepted(world: World) -> None:
    wire = world.wire()
    for at in range(8):
        wire.send_bytes(PROTOCOL_HEADER[at : at + 1])
    wire.expect(0, Con.Start)


def test_start_names_version_mechanisms_and_locale(world: World) -> None:
    start = world.wire().hello()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert {"PLAIN", "AMQPLAIN"} <= set(str(start.mechanisms).split())
    assert "en_US" in str(start.locales).split()


@pytest.mark.parametrize(
    "capability",
    [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ],
)
def test_start_announces_the_capability(world: World, capability: str) -> None:
    properties: Any = world.wire().hello().server_properties
    assert properties["capabilities"][capability] is True


def test_start_carries_the_servers_product_and_version(world: World) -> None:
    properties: Any = world.wire().hello().server_properties
    assert {"product", "version", "platform", "capabilities"} <= set(properties)


def test_tune_proposes_the_same_limits(world: World) -> None:
    wire = world.wire()
    wire.hello()
    tune = wire.login(world.user, world.password)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


def _amqplain(user: str, password: str) -> bytes:
    def entry(name: bytes, value: bytes) -> bytes:
        return bytes([len(name)]) + name + b"S" + struct.pack(">I", len(value)) + value

    return entry(b"LOGIN", user.encode()) + entry(b"PASSWORD", password.encode())


def _start_ok(mechanism: str, response: bytes, *, capabilities: bytes = b"") -> bytes:
    arguments = struct.pack(">I", len(capabilities)) + capabilities
    arguments += bytes([len(mechanism)]) + mechanism.encode() + struct.pack(">I", len(response)) + response + b"\x05en_US"
    return raw_frame(METHOD, 0, struct.pack(">HH", 10, 11) + arguments)


def _says_why() -> bytes:
    inner = b"\x1cauthentication_failure_closet\x01"
    return b"\x0ccapabilitiesF" + struct.pack(">I", len(inner)) + inner


def test_amqplain_lets_in(world: World) -> None:
    wire = world.wire()
    wire.hello()
    wire.send_bytes(_start_ok("AMQPLAIN", _amqplain(world.user, world.password)))
    wire.expect(0, Con.Tune)


def test_amqplain_with_the_wrong_password_is_refused_with_403(world: World) -> None:
    wire = world.wire()
    wire.hello()
    wire.send_bytes(_start_ok("AMQPLAIN", _amqplain(world.user, "wrong"), capabilities=_says_why()))
    close = wire.expect(0, Con.Close)
    assert (close.reply_code, close.reply_text) == (403, LOGIN_REFUSED.format("AMQPLAIN"))


@pytest.mark.parametrize(("user", "password"), [("{user}", "wrong"), ("nobody", "{password}"), ("{user}", "")])
def test_a_login_that_is_wrong_is_refused_with_403(world: World, user: str, password: str) -> None:
    wire = world.wire()
    wire.hello()
    name, secret = (part.format(user=world.user, password=world.password) for part in (user, password))
    wire.send(0, Con.StartOk(dict(CLIENT_PROPERTIES), "PLAIN", sasl_plain(name, secret), "en_US"))
    close = wire.expect(0, Con.Close)
    assert (close.reply_code, close.reply_text) == (403, LOGIN_REFUSED.format("PLAIN"))
    assert (close.class_id, close.method_id) == (0, 0)
    wire.send(0, Con.CloseOk())
    wire.expect_end()


def test_a_client_that_did_not_ask_for_the_reason_is_hung_up_on(world: World) -> None:
    wire = world.wire()
    wire.hello()
    wire.send(0, Con.StartOk(MUTE, "PLAIN", sasl_plain(world.user, "wrong"), "en_US"))
    assert wire.read() is None


def test_a_response_that_makes_no_sense_ends_the_connection(world: World) -> None:
    wires = []
    for mechanism, response in RESPONSES:
        wires.append(wire := world.wire())
        wire.hello()
        wire.send(0, Con.StartOk(dict(CLIENT_PROPERTIES), mechanism, response, "en_US"))
    # RabbitMQ takes three seconds for each: all at once.
    for wire in wires:
        assert wire.ended_with() == ENDINGS["login that cannot be read"].of(world.name)


def test_an_unknown_vhost_is_530(world: World) -> None:
    wire = world.wire()
    wire.hello()
    wire.login(world.user, world.password)
    wire.send(0, Con.TuneOk(2047, 131072, 0), Con.Open("no-such-vhost"))
    wire.expect_close(530, "NOT_ALLOWED - vhost no-such-vhost not found", about=Con.Open)


def test_limits_outside_the_proposed_ones_end_the_connection(world: World) -> None:
    wires = []
    for channels, frame in LIMITS:
        wires.append(wire := world.wire())
        wire.hello()
        wire.login(world.user, world.password)
        wire.send(0, Con.TuneOk(channels, frame, 0), Con.Open(world.vhost))
    for wire in wires:
        assert wire.ended_with() == ENDINGS["limits out of bounds"].of(world.name)


def test_a_small_frame_size_cuts_what_the_broker_sends(world: World) -> None:
    connection = world.connect(frame_max=4096)
    ch = connection.channel()
    queue = ch.queue()
    body = bytes(range(256)) * 64
    ch.put(queue, body)
    ch.consume(queue)
    ch.wait_for(commands.Basic.Deliver)
    sizes: list[int] = []
    while sum(sizes) < len(body):
        got = connection.read()
        assert got is not None
        assert len(got.payload) + 8 <= 4096
        if got.kind == 3:
            sizes.append(len(got.payload))
    assert sizes[0] == 4096 - 8


def test_a_frame_over_the_agreed_size_is_501(world: World) -> None:
    connection = world.connect(frame_max=4096)
    connection.channel()
    connection.send_bytes(raw_frame(METHOD, 1, bytes(5000)))
    connection.expect_close(501, "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,5000,4088}")


def test_a_frame_whose_payload_alone_has_the_agreed_size_is_taken(world: World) -> None:
    # Eight bytes more than frame-max allows; clients that forget the frame's own bytes send such.
    ch = world.channel(frame_max=4096)
    queue = ch.queue()
    body = bytes(range(256)) * 32
    ch.send(commands.Basic.Publish(routing_key=queue), ContentHeader(body_size=len(body)))
    ch.send(ContentBody(body[:4096]), ContentBody(body[4096:]))
    assert ch.got(queue).body == body


def test_a_frame_one_byte_larger_is_501(world: World) -> None:
    ch = world.channel(frame_max=4096)
    queue = ch.queue()
    ch.send(commands.Basic.Publish(routing_key=queue), ContentHeader(body_size=4097), ContentBody(bytes(4097)))
    ch.connection.expect_close(501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}")


def test_methods_before_their_turn_and_unknown_mechanisms_end_the_connection_without_a_word(world: World) -> None:
    no_start_ok, no_tune_ok = world.wire(), world.wire()
    no_start_ok.hello()
    no_start_ok.send(1, commands.Channel.Open())
    no_tune_ok.hello()
    no_tune_ok.login(world.user, world.password)
    no_tune_ok.send(0, Con.Open(world.vhost))
    no_mechanism = world.wire()
    no_mechanism.hello()
    no_mechanism.send(0, Con.StartOk(dict(CLIENT_PROPERTIES), "SECRET-HANDSHAKE", "x", "en_US"))
    # Section 4.10.2 of AMQP 0-9-1: before the connection is open nothing more is said.
    for wire in (no_start_ok, no_tune_ok, no_mechanism):
        assert wire.ended_with() is None


def test_the_client_closes_and_is_answered(world: World) -> None:
    connection = world.connect()
    connection.channel()
    connection.shut()


def test_closing_the_connection_leaves_no_exclusive_queue(world: World) -> None:
    first = world.channel()
    name = first.queue(world.fresh())
    first.connection.shut()
    world.channel().refused(
        commands.Queue.Declare(queue=name, passive=True), 404, f"NOT_FOUND - no queue '{name}' in vhost '{world.vhost}'"
    )


def test_hanging_up_leaves_no_exclusive_queue(world: World) -> None:
    first = world.channel()
    name = first.queue(world.fresh())
    first.connection.close()
    watcher = world.connect()
    deadline = time.monotonic() + 10
    while True:
        ch = watcher.channel()
        ch.send(commands.Queue.Declare(queue=name, passive=True))
        got = watcher.read()
        assert got is not None
        assert isinstance(got.frame, commands.Channel.Close)
        if got.frame.reply_code == 404:
            break
        assert got.frame.reply_code == 405
        assert time.monotonic() < deadline
        ch.send(commands.Channel.CloseOk())


def test_heartbeats_come_at_the_interval_that_was_agreed(world: World) -> None:
    wire = world.connect(heartbeat=1)
    began = time.monotonic()
    got = wire.read(5, heartbeats=True)
    assert got is not None
    assert got.kind == HEARTBEAT
    assert time.monotonic() - began < 3


def test_a_client_that_falls_silent_is_hung_up_on(world: World) -> None:
    wire = world.connect(heartbeat=1)
    began = time.monotonic()
    wire.expect_end()
    assert 1 <= time.monotonic() - began < 8


def test_a_heartbeat_from_the_client_keeps_the_connection(world: World) -> None:
    wire = world.connect(heartbeat=1)
    began = time.monotonic()
    while time.monotonic() - began < 4:
        wire.send_bytes(raw_frame(HEARTBEAT, 0, b""))
        wire.silent_for(0.5)
    wire.channel()


def test_update_secret_is_answered(world: World) -> None:
    connection = world.connect()
    connection.send(0, Con.UpdateSecret("secret", "reason"))
    connection.expect(0, Con.UpdateSecretOk)
