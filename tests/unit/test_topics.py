"""Topics and routing keys: what is valid, what matches, and the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pylib.brokers.topics import (
    check_filter,
    check_routing_key,
    check_topic,
    filter_to_binding,
    key_to_topic,
    mqtt_matches,
    topic_to_key,
)
from pylib.errors import Rejected

# Few letters, so that special signs meet each other often.
topics = st.text("ab/.%*_$25EAü ", min_size=1, max_size=30)
any_topics = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"], exclude_characters="+#"), min_size=1)
keys = st.text("ab./%*_#+25EAB ", max_size=20)
levels = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=5)
filters = st.lists(st.sampled_from(["a", "b", "", "+", "$x"]), min_size=1, max_size=5)


@pytest.mark.parametrize("topic", ["a", "/", "a//b", "a b/ü", "$SYS/x", "a" * 65_535, "a*b", "a.b", "a%b"])
def test_a_valid_topic_may_be_published_to(topic: str) -> None:
    assert check_topic(topic) == topic
    assert check_filter(topic) == topic


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("", "is empty"),
        ("a\0b", "has a NUL character at position 2"),
        ("a\x01b", r"U\+0001"),
        ("a\x7f", r"U\+007F"),
        ("a\x85", r"U\+0085"),
        ("\ufdd0", r"U\+FDD0"),
        ("a\U0001ffff", r"U\+1FFFF"),
        ("\ud800", r"U\+D800"),
        ("a" * 65_536, "65536 bytes long, and MQTT allows 65535"),
        ("ü" * 32_768, "65536 bytes long"),
    ],
)
def test_a_topic_that_brokers_hang_up_on_is_rejected(topic: str, reason: str) -> None:
    for check in (check_topic, check_filter):
        with pytest.raises(Rejected, match=reason) as caught:
            check(topic)
        assert str(caught.value).isascii(), "the message can be printed anywhere"
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("topic", ["a/+", "#", "a+b", "a#"])
def test_a_wildcard_is_not_published_to(topic: str) -> None:
    with pytest.raises(Rejected, match="has a wildcard"):
        check_topic(topic)


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "a/#", "+/a/+/#", "/#", "$share/g/a", "$share/g/#", "$share/g//", "$shared/x"]
)
def test_a_valid_filter_may_be_subscribed_to(topic_filter: str) -> None:
    assert check_filter(topic_filter) == topic_filter


@pytest.mark.parametrize(
    "topic_filter",
    [
        "a#",
        "#/a",
        "a/#/b",
        "a+",
        "+a/b",
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/g/a#",
    ],
)
def test_a_wrong_filter_is_rejected(topic_filter: str) -> None:
    with pytest.raises(Rejected):
        check_filter(topic_filter)


def test_a_routing_key_has_at_most_255_bytes_and_no_nul() -> None:
    for key in ("", "a", "a" * 255, "ü" * 127, "#"):
        assert check_routing_key(key) == key
    for key, reason in (("a" * 256, "256 bytes"), ("ü" * 128, "256 bytes"), ("a\0", "NUL"), ("\ud800", "surrogate")):
        with pytest.raises(Rejected, match=reason):
            check_routing_key(key)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("sport/tennis/#", "sport/tennis", True),
        ("sport/tennis/#", "sport/tennis/player/ranking", True),
        ("sport/#", "sport", True),
        ("#", "a/b", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/+", "$SYS/uptime", True),
        ("a/#", "ab", False),
        ("$share/group/a/+", "a/b", True),
        ("$share/group/#", "$SYS/x", False),
        ("$share/group//a", "/a", True),
        ("Sport", "sport", False),
    ],
)
def test_matching_follows_the_standard(topic_filter: str, topic: str, matches: bool) -> None:
    assert mqtt_matches(topic_filter, topic) is matches


@given(filters, levels, st.booleans())
def test_matching_agrees_with_the_plainest_possible_matcher(parts: list[str], words: list[str], rest: bool) -> None:
    def simple(want: list[str], have: list[str]) -> bool:
        if want[:1] == ["#"]:
            return True
        if not want or not have:
            return not want and not have
        return want[0] in ("+", have[0]) and simple(want[1:], have[1:])

    wanted = [*parts, "#"] if rest else parts
    topic = "/".join(words)
    expected = simple(wanted, words) and not (topic.startswith("$") and wanted[0] in "+#" and wanted[0] != "")
    assert mqtt_matches("/".join(wanted), topic) is expected


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("bench/dev/state", "bench.dev.state"),
        ("a", "a"),
        ("$SYS/x", "$SYS.x"),
        ("a.b/c", "a%2Eb.c"),
        ("50%/x", "50%25.x"),
        ("a*/b", "a%2A.b"),
        ("/a//b/", "%_.a.%_.b.%_"),
        ("%_/a", "%25_.a"),
        ("küche/tür", "küche.tür"),
    ],
)
def test_a_topic_has_a_readable_key(topic: str, key: str) -> None:
    assert topic_to_key(topic) == key
    assert key_to_topic(key) == topic


@given(topics | any_topics)
def test_the_way_to_a_key_and_back_changes_nothing(topic: str) -> None:
    try:
        key = topic_to_key(topic)
    except Rejected as error:
        assume("bytes, and AMQP allows" in str(error))
        return
    assert key_to_topic(key) == topic
    assert check_routing_key(key) == key
    assert not set("/*+#") & set(key)
    assert "" not in key.split(".")


@given(topics, topics)
def test_no_two_topics_share_a_key(one: str, other: str) -> None:
    assume(one != other)
    assert topic_to_key(one) != topic_to_key(other)


@given(keys)
def test_a_key_is_of_exactly_one_topic_or_of_none(key: str) -> None:
    try:
        topic = key_to_topic(key)
    except Rejected:
        return
    assert topic_to_key(topic) == key


@pytest.mark.parametrize(
    "key", ["", "a..b", ".a", "a.", "a/b", "a.*", "#", "a+", "50%", "%2e", "%2F", "a.%", "a\0b", "a" * 256]
)
def test_a_key_of_no_topic_is_rejected(key: str) -> None:
    with pytest.raises(Rejected):
        key_to_topic(key)


def test_a_key_too_long_is_rejected_with_both_lengths() -> None:
    assert topic_to_key("a" * 255) == "a" * 255
    with pytest.raises(Rejected, match="becomes a routing key of 256 bytes, and AMQP allows 255"):
        topic_to_key("a" * 256)
    with pytest.raises(Rejected, match="routing key of 258 bytes"):
        topic_to_key("." * 86)
    with pytest.raises(Rejected, match="NUL"):
        topic_to_key("a\0")
    with pytest.raises(Rejected, match="wildcard"):
        topic_to_key("a/+")


@given(filters, levels, st.booleans())
def test_a_binding_matches_what_its_filter_matches(parts: list[str], words: list[str], rest: bool) -> None:
    def topic_exchange(want: list[str], have: list[str]) -> bool:
        if not want:
            return not have
        if want[0] == "#":
            return any(topic_exchange(want[1:], have[n:]) for n in range(len(have) + 1))
        return bool(have) and want[0] in ("*", have[0]) and topic_exchange(want[1:], have[1:])

    topic_filter = "/".join([*parts, "#"] if rest else parts)
    topic = "/".join(words)
    assume(topic and topic_filter and not topic.startswith("$"))
    binding = filter_to_binding(topic_filter).split(".")
    assert topic_exchange(binding, topic_to_key(topic).split(".")) is mqtt_matches(topic_filter, topic)


def test_a_shared_filter_has_no_binding() -> None:
    with pytest.raises(Rejected, match="share a queue instead"):
        filter_to_binding("$share/g/a")
