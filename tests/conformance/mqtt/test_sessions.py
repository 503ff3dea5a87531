"""What is kept of a client that goes away and comes back."""

from __future__ import annotations

import pytest

from tests.conformance.mqtt.kit import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Endpoint,
    Raw,
    answer,
    client,
    publish,
)


def leave_a_session(broker: Endpoint, *filters: tuple[str, int]) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(*filters)
        raw.leave()


def test_a_session_is_there_when_its_client_comes_back(broker: Endpoint) -> None:
    leave_a_session(broker, ("a", 1))
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.leave()
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.expect_nothing()


def test_a_clean_client_has_no_session_when_it_comes_back(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "clean") as raw:
        raw.subscribe(("a", 1))
        raw.leave()
    publisher.publish("a", b"for nobody")
    with client(broker, "clean", clean=False) as raw:
        publisher.publish("a", b"for nobody")
        raw.expect_nothing()


def test_a_clean_connect_ends_an_old_session(broker: Endpoint, publisher: Raw) -> None:
    leave_a_session(broker, ("a", 1))
    publisher.publish("a", b"lost")
    with client(broker, "keeper") as raw:
        raw.expect_nothing()
        raw.leave()
    with client(broker, "keeper", clean=False) as raw:
        publisher.publish("a", b"for nobody")
        raw.expect_nothing()


@pytest.mark.parametrize("qos", [1, 2])
def test_messages_wait_for_an_absent_client_in_order(broker: Endpoint, publisher: Raw, qos: int) -> None:
    leave_a_session(broker, ("a/#", qos))
    for n in range(50):
        publisher.publish(f"a/{n}", b"%d" % n, qos)
    with client(broker, "keeper", clean=False, present=True) as raw:
        messages = [raw.take() for _ in range(50)]
        assert [message.payload for message in messages] == [b"%d" % n for n in range(50)]
        assert {(message.qos, message.dup, message.retain) for message in messages} == {(qos, False, False)}
        raw.expect_nothing()


def test_qos_0_does_not_wait_for_an_absent_client(broker: Endpoint, publisher: Raw) -> None:
    leave_a_session(broker, ("a", 1))
    publisher.publish("a", b"zero", 0)
    publisher.publish("a", b"one", 1)
    with client(broker, "keeper", clean=False, present=True) as raw:
        assert raw.take().payload == b"one"
        raw.expect_nothing()


def test_a_subscription_of_qos_0_keeps_nothing(broker: Endpoint, publisher: Raw) -> None:
    leave_a_session(broker, ("a", 0))
    publisher.publish("a", b"x", 2)
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.expect_nothing()


def test_a_session_stays_subscribed(broker: Endpoint, publisher: Raw) -> None:
    leave_a_session(broker, ("a", 0), ("b/+", 2))
    with client(broker, "keeper", clean=False, present=True) as raw:
        publisher.publish("a", b"1")
        assert raw.take().payload == b"1"
        publisher.publish("b/x", b"2", 2)
        assert raw.take().qos == 2


def test_what_was_not_acknowledged_comes_again_with_dup_in_order(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        for n in range(5):
            publisher.publish("a", b"%d" % n)
        first = [raw.arrived() for _ in range(5)]
        raw.send(answer(PUBACK, first[1].packet_id))
        raw.leave()
    with client(broker, "keeper", clean=False, present=True) as raw:
        again = [raw.take() for _ in range(4)]
        assert [message.payload for message in again] == [b"0", b"2", b"3", b"4"]
        assert all(message.dup for message in again)
        assert [message.packet_id for message in again] == [first[n].packet_id for n in (0, 2, 3, 4)]
        raw.expect_nothing()
        raw.leave()
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.expect_nothing()


def test_what_waited_comes_behind_what_is_sent_again(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        publisher.publish("a", b"0")
        assert raw.arrived().payload == b"0"
        raw.leave()
    for n in (1, 2):
        publisher.publish("a", b"%d" % n)
    with client(broker, "keeper", clean=False, present=True) as raw:
        messages = [raw.take() for _ in range(3)]
        assert [(message.payload, message.dup) for message in messages] == [(b"0", True), (b"1", False), (b"2", False)]


def test_a_qos_2_delivery_goes_on_where_it_was_before_pubrec(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 2))
        publisher.publish("a", b"x", 2)
        first = raw.arrived()
        raw.leave()
    with client(broker, "keeper", clean=False, present=True) as raw:
        again = raw.take()
        assert (again.packet_id, again.payload, again.dup) == (first.packet_id, b"x", True)
        raw.expect_nothing()


def test_a_qos_2_delivery_goes_on_where_it_was_after_pubrec(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 2))
        publisher.publish("a", b"x", 2)
        packet_id = raw.arrived().packet_id
        raw.send(answer(PUBREC, packet_id))
        raw.expect(answer(PUBREL, packet_id))
        raw.leave()
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.expect(answer(PUBREL, packet_id))
        raw.send(answer(PUBCOMP, packet_id))
        raw.expect_nothing()


def test_a_qos_2_publication_goes_on_where_it_was(broker: Endpoint, subscriber: Raw) -> None:
    subscriber.subscribe(("a", 0))
    with client(broker, "keeper", clean=False) as raw:
        raw.send(publish("a", b"x", 2, 5))
        raw.expect(answer(PUBREC, 5))
        raw.leave()
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.send(publish("a", b"x", 2, 5, dup=True))
        raw.expect(answer(PUBREC, 5))
        subscriber.expect_nothing()
        raw.send(answer(PUBREL, 5))
        raw.expect(answer(PUBCOMP, 5))
    assert subscriber.arrived().payload == b"x"
    subscriber.expect_nothing()


def test_a_session_survives_a_loss_of_the_connection(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        raw.reset()
    publisher.publish("a", b"x")
    with client(broker, "keeper", clean=False, present=True) as raw:
        assert raw.take().payload == b"x"


def test_unsubscribing_ends_the_subscription_of_a_session_too(broker: Endpoint, publisher: Raw) -> None:
    with client(broker, "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        raw.unsubscribe("a")
        raw.leave()
    publisher.publish("a", b"x")
    with client(broker, "keeper", clean=False, present=True) as raw:
        raw.expect_nothing()
