"""Who is let in, and how the others are told."""

from __future__ import annotations

import pytest

from tests.conformance.mqtt.kit import (
    CONNACK,
    PINGREQ,
    SUBACK,
    Arrived,
    Endpoint,
    Raw,
    client,
    connect,
    number,
    packet,
    subscribe,
    text,
)


def test_a_client_is_let_in_and_its_ping_is_answered(broker: Endpoint) -> None:
    with client(broker, "somebody") as raw:
        raw.expect_nothing()


def test_a_client_of_version_3_1_is_let_in(broker: Endpoint) -> None:
    with Raw(broker) as raw:
        raw.send(connect("old", name="MQIsdp", level=3))
        raw.expect(packet(CONNACK, b"\0\0"))


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 127])
def test_an_unknown_level_of_the_protocol_is_answered_with_1_and_closed(broker: Endpoint, level: int) -> None:
    with Raw(broker) as raw:
        raw.send(connect("odd", level=level))
        raw.expect(packet(CONNACK, b"\0\1"))
        raw.expect_closed()


@pytest.mark.parametrize("name", ["", "mqtt", "MQTt", "HTTP", "MQTTX"])
def test_another_protocol_name_is_cut_off(broker: Endpoint, name: str) -> None:
    with Raw(broker) as raw:
        raw.send(connect("odd", name=name))
        raw.expect_closed()


def test_a_client_without_an_id_gets_one(broker: Endpoint) -> None:
    with client(broker, "") as first, client(broker, "") as second:
        first.expect_nothing()
        second.expect_nothing()


def test_a_client_without_an_id_that_wants_a_session_is_refused_with_2(broker: Endpoint) -> None:
    with Raw(broker) as raw:
        raw.send(connect("", clean=False))
        raw.expect(packet(CONNACK, b"\0\2"))
        raw.expect_closed()


@pytest.mark.parametrize("client_id", ["x" * 23, "x" * 1000, "with space/and#+", "snow☃", "\U0001f600"])
def test_long_and_odd_client_ids_are_let_in(broker: Endpoint, client_id: str) -> None:
    with client(broker, client_id) as raw:
        raw.expect_nothing()


@pytest.mark.parametrize("client_id", [b"\xff\xfe", b"a\0b", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_client_id_that_is_not_utf_8_is_cut_off(broker: Endpoint, client_id: bytes) -> None:
    with Raw(broker) as raw:
        raw.send(connect(client_id))
        raw.expect_closed()


@pytest.mark.parametrize(
    "flags",
    [0x03, 0x02 | 0x08, 0x02 | 0x20, 0x06 | 0x18, 0x42],
    ids=["reserved bit", "will QoS without will", "will retain without will", "will QoS 3", "password without user"],
)
def test_a_connect_with_contradictory_flags_is_cut_off(broker: Endpoint, flags: int) -> None:
    with Raw(broker) as raw:
        head = text("MQTT") + bytes((4, flags)) + number(60) + text("odd")
        raw.send(
            packet(0x10, head + (text("topic") + text("payload") if flags & 0x04 else text("secret") if flags & 0x40 else b""))
        )
        raw.expect_closed()


@pytest.mark.parametrize(
    "first", [packet(PINGREQ), subscribe(("a", 0)), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", packet(0x11, b"")]
)
def test_a_first_packet_that_is_no_connect_is_cut_off(broker: Endpoint, first: bytes) -> None:
    with Raw(broker) as raw:
        raw.send(first)
        raw.expect_closed()


def test_a_second_connect_is_cut_off(broker: Endpoint) -> None:
    with client(broker, "twice") as raw:
        raw.send(connect("twice"))
        raw.expect_closed()


def test_a_connect_in_pieces_is_understood(broker: Endpoint) -> None:
    with Raw(broker) as raw:
        for byte in connect("slow"):
            raw.send(bytes((byte,)))
        raw.expect(packet(CONNACK, b"\0\0"))


def test_packets_right_behind_the_connect_are_understood(broker: Endpoint) -> None:
    with Raw(broker) as raw:
        raw.send(connect("eager") + subscribe(("a", 1), packet_id=9) + packet(PINGREQ))
        raw.expect(packet(CONNACK, b"\0\0"))
        raw.expect(packet(SUBACK, number(9) + b"\1"))
        raw.expect(packet(0xD0))


def test_a_known_user_is_let_in(guarded: Endpoint) -> None:
    with Raw(guarded) as raw:
        raw.send(connect("c", user="anna", password="secret"))
        raw.expect(packet(CONNACK, b"\0\0"))


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("anna", "wrong"), ("anna", ""), ("anna", None), ("bert", "secret"), ("", "")]
)
def test_anybody_else_is_refused_with_5_and_closed(guarded: Endpoint, user: str | None, password: str | None) -> None:
    with Raw(guarded) as raw:
        raw.send(connect("c", user=user, password=password))
        raw.expect(packet(CONNACK, b"\0\5"))
        raw.expect_closed()


def test_a_refused_client_leaves_no_will(guarded: Endpoint) -> None:
    with Raw(guarded) as watcher:
        watcher.send(connect("w", user="anna", password="secret"))
        watcher.expect(packet(CONNACK, b"\0\0"))
        watcher.subscribe(("#", 0))
        with Raw(guarded) as raw:
            raw.send(connect("c", user="anna", password="wrong", will=Arrived("will", b"gone")))
            raw.expect(packet(CONNACK, b"\0\5"))
            raw.expect_closed()
        watcher.expect_nothing()


def test_a_client_id_in_use_is_taken_over(broker: Endpoint) -> None:
    with client(broker, "same") as old:
        old.subscribe(("a", 0))
        with client(broker, "same") as new, client(broker, "publisher") as publisher:
            old.expect_closed()
            publisher.publish("a", b"for nobody")
            new.expect_nothing()


def test_a_session_in_use_is_taken_over_with_its_subscriptions(broker: Endpoint) -> None:
    with client(broker, "same", clean=False) as old:
        old.subscribe(("a", 1))
        with client(broker, "same", clean=False, present=True) as new, client(broker, "publisher") as publisher:
            old.expect_closed()
            publisher.publish("a", b"for the new one")
            assert new.take().payload == b"for the new one"
