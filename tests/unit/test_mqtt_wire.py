"""The stream between socket and paho: every PUBLISH whole and in order, however it arrives, and the rest left to paho."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pylib.brokers.mqtt_wire import MqttStream

Seen = tuple[str | bytes, bytes, int, int, bool, bool]
PINGRESP = b"\xd0\x00"
# A piece of each size, so that a packet's end, its length and its topic are all cut through somewhere.
PIECES = (1, 2, 3, 7, 50, 4096)


def length_bytes(length: int) -> bytes:
    """MQTT 5 section 1.5.5, written as its pseudocode says."""
    encoded = bytearray()
    while True:
        length, byte = divmod(length, 128)
        encoded.append(byte | 0x80 if length else byte)
        if not length:
            return bytes(encoded)


def packet(seen: Seen, properties: bytes | None) -> bytes:
    """A PUBLISH as MQTT 5 section 3.3 (or 3.1.1, without properties) lays it out."""
    topic, payload, qos, packet_id, dup, retained = seen
    name = topic.encode() if isinstance(topic, str) else topic
    rest = struct.pack("!H", len(name)) + name + (struct.pack("!H", packet_id) if qos else b"") + (properties or b"") + payload
    return bytes((0x30 | dup << 3 | qos << 1 | retained,)) + length_bytes(len(rest)) + rest


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


MESSAGES: list[Seen] = [
    ("a", b"", 0, 0, False, False),
    ("a/b", b"payload", 1, 1, False, False),
    ("a/ä", b"x" * 119, 1, 65535, True, True),
    ("a/b", b"x" * 200, 1, 258, False, False),
    ("t" * 300, b"y" * 20_000, 1, 3, False, True),
    (b"\xff\xfe", b"no text", 1, 4, False, False),
]


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("version_5", [True, False])
def test_every_publish_comes_out_whole_and_in_order_however_it_is_cut(
    pair: tuple[socket.socket, socket.socket], size: int, version_5: bool
) -> None:
    ours, theirs = pair
    stream = MqttStream(ours, version_5)
    seen: list[Seen] = []
    control: list[bytes] = []

    def paho_reads() -> bool:
        control.append(stream.recv(100))
        return True

    sent = b"".join(packet(each, b"\x00" if version_5 else None) + PINGRESP for each in MESSAGES)
    for at in range(0, len(sent), size):
        theirs.sendall(sent[at : at + size])
        assert stream.feed(lambda *parts: seen.append(parts[:6]), paho_reads)
    assert seen == MESSAGES
    assert control == [PINGRESP] * len(MESSAGES)


def test_the_properties_are_those_that_paho_packed(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.MessageExpiryInterval = 60
    properties.UserProperty = [("a", "1"), ("b", "ä")]
    theirs.sendall(packet(MESSAGES[1], properties.pack()))
    found: list[Properties | None] = []
    stream = MqttStream(ours, True)
    assert stream.feed(lambda *parts: found.append(parts[6]), lambda: True)
    assert [each.json() for each in found if each is not None] == [properties.json()]


def test_a_publish_of_qos_2_is_left_to_paho(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    whole = packet(("a/b", b"payload", 2, 9, False, False), b"\x00")
    theirs.sendall(whole)
    stream = MqttStream(ours, True)
    left: list[bytes] = []
    stream.feed(lambda *parts: pytest.fail("it was taken"), lambda: left.append(stream.recv(1000)) is None)
    assert left == [whole]


@pytest.mark.parametrize(
    "broken",
    [
        b"\x32\x00",  # no topic
        b"\x32\x05\x00\x09abc",  # a topic longer than the packet
        b"\x32\x04\x00\x02ab",  # QoS 1 without a packet id
    ],
)
def test_a_publish_that_breaks_the_rules_ends_the_connection(pair: tuple[socket.socket, socket.socket], broken: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(broken)
    with pytest.raises(ConnectionError, match="malformed"):
        MqttStream(ours, True).feed(lambda *parts: pytest.fail("it was delivered"), lambda: True)
