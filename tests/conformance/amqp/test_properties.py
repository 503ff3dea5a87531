"""Message properties and tables arrive octet by octet as they were sent."""

from __future__ import annotations

import struct

import pytest
from pamqp.commands import Basic

from tests.conformance.amqp.client import Channel
from tests.conformance.amqp.wire import BODY, HEADER, raw_frame
from tests.conformance.amqp.world import World


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


def through(ch: Channel, properties: bytes, body: bytes = b"x") -> bytes:
    """Publish with these octets as flags and properties, and return the octets that come out of the queue."""
    queue = ch.queue()
    ch.send(Basic.Publish(exchange="", routing_key=queue))
    ch.connection.send_bytes(raw_frame(HEADER, 1, struct.pack(">HHQ", 60, 0, len(body)) + properties))
    ch.connection.send_bytes(raw_frame(BODY, 1, body))
    ch.send(Basic.Get(queue=queue, no_ack=True))
    ch.wait_for(Basic.GetOk)
    head = ch.connection.expect_any()
    assert head.kind == HEADER
    assert struct.unpack(">HHQ", head.payload[:12]) == (60, 0, len(body))
    assert ch.connection.expect_any().payload == body
    return head.payload[12:]


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def table(*entries: tuple[bytes, bytes]) -> bytes:
    return long(b"".join(short(name) + value for name, value in entries))


VALUES: list[tuple[str, bytes]] = [
    ("true", b"t\x01"),
    ("false", b"t\x00"),
    ("signed octet", b"b\x80"),
    ("unsigned octet", b"B\xff"),
    ("signed short", b"s\x80\x00"),
    ("unsigned short", b"u\xff\xff"),
    ("signed int", b"I\x80\x00\x00\x00"),
    ("unsigned int", b"i\xff\xff\xff\xff"),
    ("signed long", b"l\x80\x00\x00\x00\x00\x00\x00\x00"),
    ("float", b"f" + struct.pack(">f", 1.5)),
    ("double", b"d" + struct.pack(">d", -0.1)),
    ("decimal", b"D\x02\x00\x00\x01\x00"),
    ("long string", b"S" + long("größe".encode())),
    ("string of octets", b"S" + long(b"\xff\xfe\x00")),
    ("empty string", b"S" + long(b"")),
    ("large string", b"S" + long(b"y" * 70000)),
    ("byte array", b"x" + long(b"\x00\xff")),
    ("timestamp", b"T" + struct.pack(">Q", 1_700_000_000)),
    ("far timestamp", b"T" + struct.pack(">Q", 253_402_300_800)),
    ("void", b"V"),
    ("empty table", b"F" + table()),
    ("table", b"F" + table((b"a", b"I\x00\x00\x00\x01"), (b"b", b"F" + table((b"c", b"t\x01"))))),
    ("array", b"A" + long(b"I\x00\x00\x00\x01" + b"S" + long(b"x") + b"V")),
    ("empty array", b"A" + long(b"")),
    ("array of tables", b"A" + long(b"F" + table((b"a", b"V")) + b"A" + long(b"t\x00"))),
]


@pytest.mark.parametrize("value", [value for _, value in VALUES], ids=[name for name, _ in VALUES])
def test_a_header_of_this_type_arrives_unchanged(ch: Channel, value: bytes) -> None:
    properties = b"\x20\x00" + table((b"name", value), (b"after", b"t\x01"))
    assert through(ch, properties) == properties


def test_all_properties_at_once_arrive_unchanged(world: World, ch: Channel) -> None:
    properties = (
        b"\xff\xfc"
        + short(b"application/json")
        + short(b"gzip")
        + table((b"h", b"I\x00\x00\x00\x01"))
        + b"\x02\x05"
        + short(b"correlation")
        + short(b"reply")
        + short(b"60000")
        + short(b"message-id")
        + struct.pack(">Q", 1_700_000_000)
        + short(b"type")
        + short(world.user.encode())
        + short(b"app")
        + short(b"cluster")
    )
    assert through(ch, properties) == properties


def test_no_properties_at_all_arrive_as_none(ch: Channel) -> None:
    assert through(ch, b"\x00\x00") == b"\x00\x00"


@pytest.mark.parametrize("bit", range(2, 16))
def test_one_property_alone_arrives_unchanged(world: World, ch: Channel, bit: int) -> None:
    values = {
        13: table((b"a", b"t\x01")), 12: b"\x01", 11: b"\x09", 8: short(b"60000"),
        6: struct.pack(">Q", 1), 4: short(world.user.encode()),
    }  # fmt: skip
    properties = struct.pack(">H", 1 << bit) + values.get(bit, short(b"some text"))
    assert through(ch, properties) == properties


def test_header_names_may_be_empty_long_or_double(ch: Channel) -> None:
    properties = b"\x20\x00" + table((b"", b"V"), (b"n" * 255, b"V"), (b"twice", b"t\x01"), (b"twice", b"t\x00"))
    assert through(ch, properties) == properties


def test_a_table_may_be_nested_deep(ch: Channel) -> None:
    value = b"V"
    for _ in range(50):
        value = b"F" + table((b"in", value))
    properties = b"\x20\x00" + table((b"deep", value))
    assert through(ch, properties) == properties
