"""Frames are found in a stream however it is cut into pieces, and named as the specifications name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pika
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylib.testing.frames import AmqpSplitter, Detector, MqttSplitter, Part, Splitter, known_kind

CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
PUBLISH = b"\x32\xc8\x02\x00\x03a/b\x00\x01" + bytes(321)
MQTT = [
    (CONNECT, "CONNECT"),
    (PUBLISH, "PUBLISH"),
    (b"\x40\x02\x00\x01", "PUBACK"),
    (b"\xc0\x00", "PINGREQ"),
    (PUBLISH, "PUBLISH"),
]


def publish(channel: int, body: bytes, piece: int) -> list[bytes]:
    """A basic.publish as pika writes it, its body in pieces."""
    method = pika.spec.Basic.Publish(exchange="home", routing_key="a.b")
    frames = [pika.frame.Method(channel, method), pika.frame.Header(channel, len(body), pika.BasicProperties(priority=1))]
    bodies = [pika.frame.Body(channel, body[at : at + piece]) for at in range(0, len(body), piece)]
    return [each.marshal() for each in (*frames, *bodies)]


def ack(channel: int, tag: int) -> bytes:
    return bytes(pika.frame.Method(channel, pika.spec.Basic.Ack(tag)).marshal())


def amqp_stream() -> list[tuple[bytes, str]]:
    """Two channels whose contents are interleaved, an empty body, a heartbeat in the middle of a message."""
    one, two = publish(1, bytes(50), 20), publish(2, b"x" * 7, 4)
    mixed = [*one[:3], bytes(pika.frame.Heartbeat().marshal()), two[0], one[3], two[1], *one[4:], *two[2:]]
    empty = publish(3, b"", 10)
    return [
        (b"".join(mixed), "basic.publish,heartbeat,basic.publish"),
        (b"".join(empty), "basic.publish"),
        (ack(1, 9), "basic.ack"),
    ]


def read(splitter: Splitter, pieces: Iterable[bytes]) -> list[Part]:
    return [part for piece in pieces for part in splitter.feed(piece)]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def begun(parts: list[Part]) -> list[str]:
    return [part.frame.kind for part in parts if part.first and part.frame is not None]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_mqtt_packets_are_found_however_the_stream_is_cut(places: list[int]) -> None:
    stream = b"".join(data for data, _ in MQTT)
    parts = read(MqttSplitter(), cut(stream, places))
    assert b"".join(part.data for part in parts) == stream
    assert begun(parts) == [kind for _, kind in MQTT]
    assert sum(part.last for part in parts) == len(MQTT)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_amqp_methods_are_found_with_their_content_however_the_stream_is_cut(places: list[int]) -> None:
    stream = b"AMQP\0\0\x09\x01" + b"".join(data for data, _ in amqp_stream())
    parts = read(AmqpSplitter(greets=True), cut(stream, places))
    assert b"".join(part.data for part in parts) == stream
    assert begun(parts) == ["protocol header", *",".join(kinds for _, kinds in amqp_stream()).split(",")]
    whole: dict[int, bytes] = {}
    for part in parts:
        whole[id(part.frame)] = whole.get(id(part.frame), b"") + part.data
    first = next(part.frame for part in parts if part.frame is not None and part.frame.kind == "basic.publish")
    assert whole[id(first)] == b"".join(publish(1, bytes(50), 20)), (
        "a frame holds what does not belong to it, or not all of it"
    )
    assert sum(part.last for part in parts) == len(begun(parts))


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (CONNECT, "MqttSplitter"),
        (b"AMQP\0\0\x09\x01", "AmqpSplitter"),
        (b"GET / HTTP/1.1", "RawSplitter"),
        (b"\x16\x03", "RawSplitter"),
    ],
)
def test_a_clients_first_bytes_say_what_it_speaks(start: bytes, kind: str) -> None:
    detector = Detector()
    found = None
    for at in range(len(start)):
        found = detector.decide(start[at : at + 1])
        if found is not None:
            break
    assert found is not None
    there, _, held = found
    assert type(there).__name__ == kind
    assert start.startswith(held), "what was held back is not what came"


@pytest.mark.parametrize("make", [MqttSplitter, lambda: AmqpSplitter(greets=True), lambda: AmqpSplitter(greets=False)])
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_frames_are_passed_on_as_they_came(make: Callable[[], Splitter], data: bytes) -> None:
    splitter = make()
    parts = read(splitter, [data])
    assert b"".join(part.data for part in parts) + splitter.leftover() == data


def test_a_frame_is_asked_for_by_any_spelling_and_a_mistake_is_told_with_what_was_meant() -> None:
    assert known_kind("puback") == "PUBACK"
    assert known_kind("Basic.Ack") == "basic.ack"
    assert known_kind("queue.declare-ok") == "queue.declare-ok"
    with pytest.raises(ValueError, match=r"basic\.ack"):
        known_kind("basic.akk")
    with pytest.raises(ValueError, match="no frame called 'zzzz'"):
        known_kind("zzzz")
