"""Whoever breaks the rules is cut off (section 4.8), and nobody else notices."""

from __future__ import annotations

import pytest

from tests.conformance.mqtt.kit import (
    CONNACK,
    PINGREQ,
    Arrived,
    Endpoint,
    Raw,
    client,
    connect,
    number,
    packet,
    publish,
    subscribe,
    text,
)

VIOLATIONS = {
    "packet type 0": packet(0x00),
    "packet type 15": packet(0xF0),
    "CONNACK from a client": packet(CONNACK, b"\0\0"),
    "SUBACK from a client": packet(0x90, b"\0\1\0"),
    "PUBLISH of QoS 3": packet(0x36, text("a") + number(1)),
    "PUBLISH with identifier 0": publish("a", b"x", 1, 0),
    "PUBLISH without topic": publish("", b"x"),
    "PUBLISH with +": publish("a/+", b"x"),
    "PUBLISH with #": publish("#", b"x"),
    "PUBLISH with NUL": publish("a\0b", b"x"),
    "PUBLISH with a control character": publish("a\x01b", b"x"),
    "PUBLISH with a surrogate": publish(b"a\xed\xa0\x80", b"x"),
    "PUBLISH with half a character": publish(b"a\xc3", b"x"),
    "PUBLISH with an overlong character": publish(b"\xc0\xaf", b"x"),
    "PUBLISH that ends in its topic": packet(0x30, number(10) + b"abc"),
    "PUBLISH without its identifier": packet(0x32, text("a")),
    "PUBLISH of one byte": packet(0x30, b"\0"),
    "PUBLISH of too many levels": publish("/".join("x" * 202), b"x"),
    "SUBSCRIBE with wrong flags": packet(0x80, number(1) + text("a") + b"\0"),
    "SUBSCRIBE without a filter": packet(0x82, number(1)),
    "SUBSCRIBE with identifier 0": subscribe(("a", 0), packet_id=0),
    "SUBSCRIBE with QoS 3": subscribe(("a", 3)),
    "SUBSCRIBE without QoS": packet(0x82, number(1) + text("a")),
    "SUBSCRIBE to nothing": subscribe(("", 0)),
    "SUBSCRIBE to a#": subscribe(("a#", 0)),
    "SUBSCRIBE to a/#/b": subscribe(("a/#/b", 0)),
    "SUBSCRIBE to a+/b": subscribe(("a+/b", 0)),
    "SUBSCRIBE to half a character": subscribe((b"a\xc3", 0)),
    "UNSUBSCRIBE with wrong flags": packet(0xA0, number(1) + text("a")),
    "UNSUBSCRIBE without a filter": packet(0xA2, number(1)),
    "UNSUBSCRIBE with identifier 0": packet(0xA2, number(0) + text("a")),
    "UNSUBSCRIBE from a#": packet(0xA2, number(1) + text("a#")),
    "PUBACK of one byte": packet(0x40, b"\1"),
    "PUBACK with identifier 0": packet(0x40, b"\0\0"),
    "PUBREL with wrong flags": packet(0x60, number(1)),
    "PINGREQ with flags": packet(0xC1),
    "DISCONNECT with flags": packet(0xE1),
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_ends_its_connection_and_no_other(
    broker: Endpoint, publisher: Raw, subscriber: Raw, violation: str
) -> None:
    subscriber.subscribe(("a", 0), ("will", 0))
    with client(broker, "villain", will=Arrived("will", b"gone")) as raw:
        raw.send(VIOLATIONS[violation] + packet(PINGREQ))  # a broker that goes on answers it
        raw.expect_closed()
        assert subscriber.arrived().payload == b"gone"
    publisher.publish("a", b"still here")
    assert subscriber.arrived().payload == b"still here"


@pytest.mark.parametrize("cut", [1, 5, 13, 20])
def test_a_connect_that_ends_within_a_field_is_cut_off(broker: Endpoint, cut: int) -> None:
    whole = connect("somebody", will=Arrived("topic", b"payload"))[2:]
    with Raw(broker) as raw:
        raw.send(packet(0x10, whole[:-cut]))
        raw.expect_closed()


def test_what_follows_a_violation_is_not_read(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    with client(broker, "villain") as raw:
        raw.send(packet(0xF0) + publish("a", b"too late"))
        raw.expect_closed()
    subscriber.expect_nothing()


def test_what_follows_a_disconnect_is_not_read(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    with client(broker, "leaver") as raw:
        raw.send(packet(0xE0) + publish("a", b"too late"))
        raw.expect_closed()
    subscriber.expect_nothing()
