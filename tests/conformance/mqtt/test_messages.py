"""Messages in and out at each QoS, topics, overlapping subscriptions."""

from __future__ import annotations

import pytest

from tests.conformance.mqtt.kit import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    Arrived,
    Endpoint,
    Raw,
    answer,
    client,
    number,
    packet,
    publish,
    subscribe,
    unsubscribe,
)


@pytest.mark.parametrize("wanted", [0, 1, 2])
@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_message_arrives_at_the_lower_of_both_qos(publisher: Raw, subscriber: Raw, sent: int, wanted: int) -> None:
    subscriber.subscribe(("a/b", wanted))
    publisher.publish("a/b", b"hello", sent)
    message = subscriber.take()
    assert (message.topic, message.payload, message.qos) == ("a/b", b"hello", min(sent, wanted))
    assert not message.dup
    assert not message.retain
    subscriber.expect_nothing()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_of_one_publisher_arrive_in_order(publisher: Raw, subscriber: Raw, qos: int) -> None:
    subscriber.subscribe(("a", qos))
    for n in range(60):
        publisher.publish("a", b"%d" % n, qos, packet_id=n + 1)
    assert [subscriber.take().payload for _ in range(60)] == [b"%d" % n for n in range(60)]


def test_a_client_hears_itself(subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    subscriber.send(publish("a", b"echo"))
    assert subscriber.arrived().payload == b"echo"


def test_a_qos_2_message_goes_on_once_however_often_it_is_sent_before_its_release(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    for dup in (False, True):
        publisher.send(publish("a", b"once", 2, 5, dup=dup))
        publisher.expect(answer(PUBREC, 5))
    for _ in range(2):
        publisher.send(answer(PUBREL, 5))
        publisher.expect(answer(PUBCOMP, 5))
    assert subscriber.arrived().payload == b"once"
    subscriber.expect_nothing()


def test_a_qos_2_message_goes_on_when_it_is_released_and_not_before(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    publisher.send(publish("a", b"held", 2, 5))
    publisher.expect(answer(PUBREC, 5))
    subscriber.expect_nothing()
    publisher.send(answer(PUBREL, 5))
    publisher.expect(answer(PUBCOMP, 5))
    assert subscriber.arrived().payload == b"held"


def test_the_identifier_of_a_finished_message_may_be_used_again(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    for payload in (b"first", b"second"):
        publisher.publish("a", payload, 2, packet_id=3)
        assert subscriber.arrived().payload == payload


def test_a_subscriber_that_acknowledges_nothing_gets_no_more_than_the_window(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 1))
    for n in range(30):
        publisher.publish("a", b"%d" % n)
    held = [subscriber.arrived() for _ in range(20)]
    subscriber.expect_nothing()
    for message in held:
        subscriber.send(answer(PUBACK, message.packet_id))
    rest = [subscriber.take() for _ in range(10)]
    assert [message.payload for message in held + rest] == [b"%d" % n for n in range(30)]
    assert len({message.packet_id for message in held}) == 20


def test_qos_0_passes_a_subscriber_that_acknowledges_nothing(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 1))
    for n in range(25):
        publisher.publish("a", b"%d" % n)
    for _ in range(20):
        subscriber.arrived()
    publisher.publish("a", b"pulse", 0)
    assert subscriber.arrived().payload == b"pulse"


def test_acknowledgements_that_fit_nothing_are_ignored(subscriber: Raw) -> None:
    subscriber.send(answer(PUBACK, 99) + answer(PUBCOMP, 98))
    subscriber.expect_nothing()


def test_a_release_that_fits_nothing_is_completed(publisher: Raw) -> None:
    publisher.send(answer(PUBREL, 97))
    publisher.expect(answer(PUBCOMP, 97))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 300_000, 2_500_000])
def test_payloads_of_any_size_arrive_whole(publisher: Raw, subscriber: Raw, size: int) -> None:
    subscriber.subscribe(("big", 1))
    payload = bytes(n * 7 % 251 for n in range(1000)) * (size // 1000 + 1)
    publisher.publish("big", payload[:size])
    assert subscriber.take().payload == payload[:size]


@pytest.mark.parametrize("topic", ["ä/ö", "snow☃/\U0001f600", " ", "/", "a//b", "a/ b /c", "x" * 65_535, "/".join("x" * 200)])
def test_any_text_may_be_a_topic(publisher: Raw, subscriber: Raw, topic: str) -> None:
    subscriber.subscribe((topic, 0))
    publisher.publish(topic, b"x")
    assert subscriber.arrived() == Arrived(topic, b"x")


FILTERS = [
    ("a/b", "a/b", True), ("a/b", "a/B", False), ("a/b", "a/b/", False), ("a/b", "/a/b", False),
    ("+", "a", True), ("+", "a/b", False), ("+", "/a", False), ("/+", "/a", True), ("+/+", "/a", True), ("+/+", "a", False),
    ("a/+", "a/", True), ("a/+", "a", False), ("a/+/c", "a/b/c", True), ("a/+/c", "a//c", True), ("a/+/c", "a/b/d", False),
    ("#", "a", True), ("#", "a/b/c", True), ("#", "/", True), ("a/#", "a", True), ("a/#", "a/", True), ("a/#", "a/b/c", True),
    ("a/#", "ab", False), ("+/b/#", "a/b", True), ("+/b/#", "a/b/c/d", True), ("+/b/#", "a/c", False), ("/#", "a", False),
    ("#", "$other/x", False), ("+/x", "$other/x", False), ("$other/#", "$other/x", True), ("$other/+", "$other/x", True),
    ("a/$b", "a/$b", True), ("a/+", "a/$b", True),
]  # fmt: skip


@pytest.mark.parametrize(("topic_filter", "topic", "wanted"), FILTERS)
def test_a_filter_matches_what_the_specification_says(
    publisher: Raw, subscriber: Raw, topic_filter: str, topic: str, wanted: bool
) -> None:
    subscriber.subscribe((topic_filter, 0))
    publisher.publish(topic, b"x")
    if wanted:
        assert subscriber.arrived() == Arrived(topic, b"x")
    subscriber.expect_nothing()


def test_overlapping_subscriptions_give_one_copy(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a/#", 1), ("a/b", 1), ("+/b", 1))
    publisher.publish("a/b", b"once")
    assert subscriber.take().payload == b"once"
    subscriber.expect_nothing()


@pytest.mark.parametrize("qos", [(0, 1, 2), (2, 1, 0)], ids=["rising", "falling"])
def test_overlapping_subscriptions_give_the_highest_qos_of_them(
    publisher: Raw, subscriber: Raw, qos: tuple[int, int, int]
) -> None:
    subscriber.subscribe(("#", qos[0]), ("a/+", qos[1]), ("a/b", qos[2]))
    publisher.publish("a/b", b"x", 2)
    assert subscriber.take().qos == 2


def test_one_subscribe_with_several_filters_is_answered_in_their_order(subscriber: Raw) -> None:
    subscriber.send(subscribe(("a", 2), ("b", 0), ("c", 1), packet_id=0xFFFF))
    subscriber.expect(packet(SUBACK, b"\xff\xff\2\0\1"))


def test_subscribing_again_changes_the_qos(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 1))
    subscriber.subscribe(("a", 0))
    publisher.publish("a", b"x")
    assert subscriber.arrived().qos == 0
    subscriber.expect_nothing()


def test_after_an_unsubscribe_nothing_comes(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0), ("b/+", 0), ("c", 0))
    subscriber.unsubscribe("a", "b/+")
    for topic in ("a", "b/x", "c"):
        publisher.publish(topic, b"x")
    assert subscriber.arrived().topic == "c"
    subscriber.expect_nothing()


def test_an_unsubscribe_of_nothing_is_answered(subscriber: Raw) -> None:
    subscriber.send(unsubscribe("never", "a/#", packet_id=12))
    subscriber.expect(answer(UNSUBACK, 12))


def test_an_unsubscribe_is_literal(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a/b", 0))
    subscriber.unsubscribe("a/#")
    subscriber.unsubscribe("a/+")
    publisher.publish("a/b", b"x")
    assert subscriber.arrived().topic == "a/b"


def test_a_shared_subscription_gives_each_message_to_one_of_its_members(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "one") as one, client(broker, "two") as two, client(broker, "alone") as alone:
        one.subscribe(("$share/g/a/+", 0))
        two.subscribe(("$share/g/a/+", 0))
        alone.subscribe(("a/#", 0))
        for n in range(10):
            publisher.publish("a/x", b"%d" % n)
        assert [alone.arrived().payload for _ in range(10)] == [b"%d" % n for n in range(10)]
        got = []
        for member in (one, two):
            member.send(publish("end", b"") + packet(0xC0))
            while True:
                first, body = member.read()
                if first == 0xD0:
                    break
                got.append(body[5:])
        assert sorted(got) == [b"%d" % n for n in range(10)]


def test_the_broker_s_own_topics_cannot_be_written(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("$SYS/mine/#", 0))
    publisher.publish("$SYS/mine/x", b"x")
    subscriber.expect_nothing()


def test_a_packet_in_pieces_is_put_together(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    for byte in publish("a", b"y" * 200, 1, 9):
        publisher.send(bytes((byte,)))
    publisher.expect(answer(PUBACK, 9))
    assert subscriber.arrived().payload == b"y" * 200


def test_many_packets_in_one_piece_are_taken_apart(publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    publisher.send(b"".join(publish("a", b"%d" % n, 1, n + 1) for n in range(100)))
    for n in range(100):
        publisher.expect(answer(PUBACK, n + 1))
    assert [subscriber.arrived().payload for _ in range(100)] == [b"%d" % n for n in range(100)]


def test_acknowledgements_come_in_the_order_of_the_messages(publisher: Raw) -> None:
    publisher.send(publish("a", b"1", 1, 30) + publish("a", b"2", 1, 10) + publish("a", b"3", 1, 20))
    for packet_id in (30, 10, 20):
        first, body = publisher.read()
        assert (first, body) == (PUBACK, number(packet_id))
