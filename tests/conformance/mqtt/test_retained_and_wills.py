"""Retained messages, last wills and the keep-alive."""

from __future__ import annotations

import pytest

from tests.conformance.mqtt.kit import Arrived, Endpoint, Raw, client, connect, packet, publish

WILL = Arrived("status/lamp", b"offline", 1)


def test_a_retained_message_greets_a_new_subscription(publisher: Raw, subscriber: Raw) -> None:
    publisher.publish("a", b"kept", retain=True)
    subscriber.subscribe(("a", 1))
    message = subscriber.take()
    assert (message.topic, message.payload, message.qos, message.retain) == ("a", b"kept", 1, True)
    subscriber.expect_nothing()


def test_a_subscriber_that_is_there_gets_it_without_the_flag(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 1))
    publisher.publish("a", b"live", retain=True)
    assert subscriber.take().retain is False


def test_the_last_retained_message_counts(publisher: Raw, subscriber: Raw) -> None:
    for n in range(3):
        publisher.publish("a", b"%d" % n, retain=True)
    publisher.publish("a", b"not retained")
    subscriber.subscribe(("a", 0))
    assert subscriber.arrived().payload == b"2"
    subscriber.expect_nothing()


def test_an_empty_payload_clears_and_is_delivered(publisher: Raw, subscriber: Raw) -> None:
    publisher.publish("a", b"kept", retain=True)
    with_flag = subscriber
    with_flag.subscribe(("a", 0))
    assert with_flag.arrived().payload == b"kept"
    publisher.publish("a", b"", retain=True)
    assert with_flag.arrived() == Arrived("a", b"")
    with_flag.unsubscribe("a")
    with_flag.subscribe(("a", 0))
    with_flag.expect_nothing()


@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [
        ("h/+/t", {"h/1/t", "h/2/t"}),
        ("h/#", {"h", "h/1/t", "h/2/t", "h/1/u"}),
        ("#", {"h", "h/1/t", "h/2/t", "h/1/u"}),
        ("x/#", set()),
    ],
)
def test_wildcards_find_retained_messages(publisher: Raw, subscriber: Raw, topic_filter: str, topics: set[str]) -> None:
    for topic in ("h", "h/1/t", "h/2/t", "h/1/u", "$other/x"):
        publisher.publish(topic, b"kept", retain=True)
    subscriber.subscribe((topic_filter, 0))
    assert {subscriber.arrived().topic for _ in topics} == topics
    subscriber.expect_nothing()


def test_subscribing_again_brings_the_retained_message_again(publisher: Raw, subscriber: Raw) -> None:
    publisher.publish("a", b"kept", retain=True)
    for _ in range(2):
        subscriber.subscribe(("a", 0))
        assert subscriber.arrived().payload == b"kept"


@pytest.mark.parametrize(("kept", "wanted"), [(0, 2), (1, 0), (2, 1), (2, 2)])
def test_a_retained_message_comes_at_the_lower_of_both_qos(publisher: Raw, subscriber: Raw, kept: int, wanted: int) -> None:
    publisher.publish("a", b"kept", kept, retain=True)
    subscriber.subscribe(("a", wanted))
    assert subscriber.take().qos == min(kept, wanted)


def test_a_session_that_comes_back_is_not_greeted_again(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        raw.leave()
    publisher.publish("b", b"kept", retain=True)
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.expect_nothing()


def test_what_was_retained_for_an_absent_client_comes_without_the_flag(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        raw.leave()
    publisher.publish("a", b"kept", retain=True)
    with client(broker, "keeper", clean=False, present=True) as raw:
        assert raw.take().retain is False
        raw.expect_nothing()


def test_retained_messages_outlive_their_publisher(broker: Endpoint, subscriber: Raw) -> None:
    with client(broker, "passing") as raw:
        raw.publish("a", b"kept", retain=True)
        raw.leave()
    subscriber.subscribe(("a", 0))
    assert subscriber.arrived().payload == b"kept"


@pytest.mark.parametrize("ending", ["dropped", "reset", "violation"])
def test_a_client_that_goes_without_a_word_leaves_its_will(broker: Endpoint, subscriber: Raw, ending: str) -> None:
    subscriber.subscribe(("status/#", 1))
    with client(broker, "lamp", will=WILL) as raw:
        if ending == "dropped":
            raw.drop()
        elif ending == "reset":
            raw.reset()
        else:
            raw.send(packet(0xF0))
            raw.expect_closed()
        message = subscriber.take()
    assert (message.topic, message.payload, message.qos, message.retain) == ("status/lamp", b"offline", 1, False)
    subscriber.expect_nothing()


def test_a_client_that_says_goodbye_leaves_no_will(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("status/#", 1))
    with client(broker, "lamp", will=WILL) as raw:
        raw.leave()
    subscriber.expect_nothing()


def test_a_retained_will_greets_who_comes_later(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("status/#", 1))
    with client(broker, "lamp", will=Arrived("status/lamp", b"offline", 1, retain=True)) as raw:
        raw.drop()
        assert subscriber.take().retain is False
    with client(broker, "later") as raw:
        raw.subscribe(("status/lamp", 0))
        assert raw.arrived() == Arrived("status/lamp", b"offline", retain=True)


def test_a_will_with_an_empty_payload_clears_what_is_retained(broker: Endpoint, publisher: Raw, subscriber: Raw) -> None:
    publisher.publish("status/lamp", b"online", retain=True)
    with client(broker, "lamp", will=Arrived("status/lamp", b"", retain=True)) as raw:
        subscriber.subscribe(("status/lamp", 0))
        assert subscriber.arrived().payload == b"online"
        raw.drop()
        assert subscriber.arrived().payload == b""
    with client(broker, "later") as raw:
        raw.subscribe(("status/lamp", 0))
        raw.expect_nothing()


def test_a_client_that_is_replaced_leaves_its_will(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("status/#", 1))
    with client(broker, "lamp", will=WILL) as old, client(broker, "lamp"):
        old.expect_closed()
        assert subscriber.take().payload == b"offline"


def test_a_new_connection_has_the_will_that_it_brought(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("status/#", 0))
    with client(broker, "lamp", clean=False, will=WILL) as raw:
        raw.leave()
    with client(broker, "lamp", clean=False, present=True) as raw:
        raw.drop()
    with client(broker, "lamp", clean=False, present=True, will=Arrived("status/lamp", b"second")) as raw:
        raw.drop()
        assert subscriber.arrived().payload == b"second"
    subscriber.expect_nothing()


def test_a_silent_client_is_cut_off_and_leaves_its_will(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("status/#", 1))
    with client(broker, "lamp", keep_alive=1, will=WILL) as raw:
        raw.expect_closed()
        assert subscriber.take().payload == b"offline"


def test_any_packet_keeps_a_client_alive(broker: Endpoint) -> None:
    with (
        client(broker, "beacon") as beacon,
        client(broker, "lamp", keep_alive=1) as raw,
        client(broker, "silent", keep_alive=1) as silent,
    ):
        # The silent one is the clock: when it is cut off, the other would have been too.
        beacon.subscribe(("tick", 0))
        silent_is_gone = False
        while not silent_is_gone:
            raw.send(publish("tick", b""))
            beacon.arrived()
            silent_is_gone = silent.closed_within(0.2)
        raw.expect_nothing()


def test_a_will_may_be_as_large_as_its_length_allows(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("w", 0))
    with Raw(broker) as raw:
        raw.send(connect("lamp", will=Arrived("w", b"z" * 65_535)))
        raw.expect(packet(0x20, b"\0\0"))
        raw.drop()
        assert subscriber.arrived().payload == b"z" * 65_535
