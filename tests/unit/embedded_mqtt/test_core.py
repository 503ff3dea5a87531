"""The embedded MQTT broker without sockets: packets, matching, sessions and their limits."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylib.brokers import topics as ours
from pylib.embedded.mqtt import MqttLimits, wire
from pylib.embedded.mqtt.broker import Broker
from pylib.embedded.mqtt.connection import Access, Connection
from pylib.embedded.mqtt.topics import Subscriptions, check_filter, check_text, check_topic, matches
from pylib.errors import Rejected
from tests.conformance.mqtt import kit

LEVEL = st.sampled_from(["a", "b", "", "$x", "ö"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = st.lists(LEVEL | st.just("+"), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels) or "+", "/".join([*levels, "#"]), "#"])
)


@dataclass
class Peer:
    """A client's end of a connection: what the broker wrote, and whether it closed."""

    broker: Broker
    room: bool = True
    sent: bytes = b""
    closed: bool = False
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(self.broker, Access(None, None), self)

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.sent += data

    def close(self) -> None:
        self.closed = True

    def say(self, *packets: bytes) -> bytes:
        """Send these, and return what comes back."""
        self.sent = b""
        self.connection.received(b"".join(packets))
        return self.sent

    @classmethod
    def connected(cls, broker: Broker, client_id: str, *, clean: bool = True) -> Peer:
        peer = cls(broker)
        assert peer.say(kit.connect(client_id, clean=clean))[3] == 0
        return peer


def test_a_topic_and_a_filter_are_checked_as_the_library_checks_what_it_sends() -> None:
    for text in [
        "a",
        "a/b",
        "",
        "+",
        "a+",
        "#",
        "a/#",
        "#/a",
        "a#",
        "$share/g/a",
        "$share/g",
        "$share//a",
        "$share/+/a",
        "$share",
    ]:
        assert bool(check_filter(text)) == _rejected(ours.check_filter, text), text
        assert bool(check_topic(text)) == _rejected(ours.check_topic, text), text


@given(st.text(min_size=1, max_size=4))
def test_a_text_is_checked_as_the_library_checks_what_it_sends(text: str) -> None:
    text = text.replace("+", "p").replace("#", "h")
    assert bool(check_text(text)) == _rejected(ours.check_topic, text)


@given(st.lists(FILTER, max_size=6), TOPIC)
def test_the_tree_finds_what_each_filter_matches(filters: list[str], topic: str) -> None:
    tree: Subscriptions[str] = Subscriptions()
    for qos, topic_filter in enumerate(filters):
        tree.add(topic_filter, topic_filter, qos)
    found = set(tree.matching(topic)[0])
    assert found == {topic_filter for topic_filter in filters if ours.mqtt_matches(topic_filter, topic)}
    assert found == {topic_filter for topic_filter in filters if matches(topic_filter, topic)}
    for topic_filter in filters:
        tree.remove(topic_filter, topic_filter)
    assert tree.matching(topic) == ({}, [])
    assert tree._root.empty


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_packets_are_the_same_however_their_bytes_are_cut(chance: random.Random, sizes: list[int]) -> None:
    stream = b"".join(kit.publish("a/b", b"x" * size, 1, n + 1) for n, size in enumerate(sizes))
    reader = wire.Reader(1000)
    reader.expected = wire.FROM_CLIENT
    found, at = [], 0
    while at < len(stream):
        step = chance.choice([1, 2, 3, 50, 1000])
        found += [wire.parse(first, body) for first, body in reader.feed(stream[at : at + step])]
        at += step
    assert [len(packet.message.payload) for packet in found if isinstance(packet, wire.Publish)] == sizes


def test_values_show_neither_password_nor_payload() -> None:
    [(first, body)] = wire.Reader(1000).feed(kit.connect("c", user="anna", password="secret"))
    connect = wire.parse(first, body)
    assert "secret" not in repr(connect)
    assert "private" not in repr(wire.Message("a", b"private"))
    assert "secret" not in repr(Access("anna", "secret"))


def test_a_full_queue_drops_counts_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(MqttLimits(queued_messages=3, in_flight=2))
    keeper = Peer.connected(broker, "keeper", clean=False)
    keeper.say(kit.subscribe(("a", 1)))
    speaker = Peer.connected(broker, "speaker")
    with caplog.at_level(logging.WARNING):
        for n in range(9):
            assert speaker.say(kit.publish("a", b"%d" % n, 1, n + 1)) == kit.answer(kit.PUBACK, n + 1)
    assert broker.dropped == 4  # two in flight, three waiting
    assert [record.message for record in caplog.records] == [
        "The queue of MQTT client 'keeper' is full: messages for it are dropped until it takes some."
    ]


def test_everything_that_was_held_is_given_back() -> None:
    broker = Broker(MqttLimits(held_bytes=60_000, in_flight=2))
    keeper = Peer.connected(broker, "keeper", clean=False)
    keeper.say(kit.subscribe(("a", 2), ("b", 1)))
    speaker = Peer.connected(broker, "speaker")
    for n in range(1, 40):
        speaker.say(kit.publish("ab"[n % 2], b"x" * 1000, 2 - n % 2, n))  # a at QoS 2, half of them never released
        if n % 4 == 0:
            speaker.say(kit.answer(kit.PUBREL, n))
    keeper.room = False
    speaker.say(kit.publish("b", b"late", 0))
    speaker.say(kit.publish("kept", b"x", retain=True), kit.publish("kept", b"yy", retain=True))
    assert not speaker.closed
    assert 0 <= broker.budget.free < 30_000
    speaker.say(kit.publish("kept", b"", retain=True))
    keeper.connection.lost()
    Peer.connected(broker, "keeper")  # a clean one ends the session
    speaker.connection.lost()
    assert broker.budget.free == broker.budget.most


def test_what_arrives_after_the_end_leads_to_nothing() -> None:
    broker = Broker(MqttLimits())
    peer = Peer.connected(broker, "c")
    peer.say(kit.packet(kit.DISCONNECT))
    peer.closed = False
    assert peer.say(kit.publish("a", b"x", 2, 1)) == b""
    assert broker.budget.free == broker.budget.most


def test_qos_0_waits_for_a_connection_that_is_clogged_and_goes_on_in_order() -> None:
    broker = Broker(MqttLimits(queued_messages=5))
    slow, speaker = Peer.connected(broker, "slow"), Peer.connected(broker, "speaker")
    slow.say(kit.subscribe(("a", 0)))
    slow.room, slow.sent = False, b""
    for n in range(7):
        speaker.say(kit.publish("a", b"%d" % n))
    assert slow.sent == b""
    slow.room = True
    slow.connection.drained()
    assert slow.sent == b"".join(kit.publish("a", b"%d" % n) for n in range(5))
    assert broker.dropped == 2


def test_more_subscriptions_than_allowed_are_answered_with_failure() -> None:
    broker = Broker(MqttLimits(subscriptions=2))
    peer = Peer.connected(broker, "c")
    filters: tuple[tuple[str | bytes, int], ...] = (("a", 1), ("b", 1), ("c", 1), ("a", 0))
    assert peer.say(kit.subscribe(*filters)) == kit.packet(kit.SUBACK, b"\0\1\1\1\x80\0")
    assert not peer.closed


def test_more_sessions_than_allowed_are_answered_with_3_and_an_old_one_may_come_back() -> None:
    broker = Broker(MqttLimits(sessions=1))
    keeper = Peer.connected(broker, "keeper", clean=False)
    keeper.connection.lost()
    other = Peer(broker)
    assert other.say(kit.connect("other")) == kit.packet(kit.CONNACK, b"\0\3")
    assert other.closed
    Peer.connected(broker, "keeper", clean=False)


def test_more_retained_messages_than_allowed_are_delivered_and_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker(MqttLimits(retained_messages=2))
    speaker = Peer.connected(broker, "speaker")
    for topic in ("a", "b", "c", "d", "a"):
        speaker.say(kit.publish(topic, b"x", retain=True))
    assert set(broker.retained) == {"a", "b"}
    assert len(caplog.records) == 1


def test_a_client_that_releases_nothing_is_cut_off_in_the_end() -> None:
    broker = Broker(MqttLimits(queued_messages=10))
    peer = Peer.connected(broker, "c")
    for n in range(1, 12):
        assert not peer.closed
        peer.say(kit.publish("a", b"x", 2, n))
    assert peer.closed
    assert broker.budget.free == broker.budget.most


@pytest.mark.parametrize("greeted", [True, False])
def test_a_packet_over_the_limit_is_refused_by_its_header_alone(greeted: bool) -> None:
    broker = Broker(MqttLimits(packet_bytes=1000))
    peer = Peer.connected(broker, "c") if greeted else Peer(broker)
    peer.say((b"\x30" if greeted else b"\x10") + b"\xff\x7f")
    assert peer.closed


def test_packet_identifiers_start_again_and_skip_those_in_use() -> None:
    broker = Broker(MqttLimits(in_flight=3))
    listener, speaker = Peer.connected(broker, "listener"), Peer.connected(broker, "speaker")
    listener.say(kit.subscribe(("a", 1)))
    session = broker.sessions["listener"]
    listener.sent = b""
    speaker.say(kit.publish("a", b"held", 1, 1))
    session._packet_id = 0xFFFE
    for _ in range(2):
        speaker.say(kit.publish("a", b"x", 1, 1))
    assert list(session._in_flight) == [1, 0xFFFF, 2]


def test_a_client_of_mqtt_5_is_told_in_the_words_of_3_1_1() -> None:
    peer = Peer(Broker(MqttLimits()))
    assert peer.say(kit.connect("c", level=5)) == b"\x20\x02\x00\x01"  # section 3.1.2.2
    assert peer.closed


def _rejected(check: object, text: str) -> bool:
    assert callable(check)
    try:
        check(text)
    except Rejected:
        return True
    return False
