"""The pieces on their own: tables, frames, topics, the order in a queue."""

from __future__ import annotations

import itertools
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import encode

from pylib.embedded.amqp.broker.headers import matches
from pylib.embedded.amqp.broker.message import Entry, Message
from pylib.embedded.amqp.broker.ready import Ready
from pylib.embedded.amqp.broker.topics import TopicTree
from pylib.embedded.amqp.wire.erlang import shown, shown_bytes
from pylib.embedded.amqp.wire.errors import Malformed, reply_text
from pylib.embedded.amqp.wire.framing import Framer, content_frames
from pylib.embedded.amqp.wire.methods import frame
from pylib.embedded.amqp.wire.properties import EMPTY, Properties
from pylib.embedded.amqp.wire.tables import MAX_TABLE_DEPTH, Field, decode_table, encode_table, python_value

_SCALARS: st.SearchStrategy[Field] = st.one_of(
    st.tuples(st.just("t"), st.booleans()),
    st.tuples(st.just("b"), st.integers(-128, 127)),
    st.tuples(st.just("u"), st.integers(0, 65535)),
    st.tuples(st.just("I"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("l"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("d"), st.floats(allow_nan=False)),
    st.tuples(st.just("S"), st.text(max_size=20)),
    st.tuples(st.just("x"), st.binary(max_size=20)),
    st.tuples(st.just("V"), st.none()),
    st.tuples(st.just("T"), st.integers(0, 2**63)),
    st.tuples(st.just("D"), st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1))),
)
_KEYS = st.text(max_size=10)
_FIELDS: st.SearchStrategy[Field] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.tuples(st.just("A"), st.lists(inner, max_size=4)),
        st.tuples(st.just("F"), st.dictionaries(_KEYS, inner, max_size=4)),
    ),
    max_leaves=10,
)


@given(st.dictionaries(_KEYS, _FIELDS, max_size=5))
def test_a_table_comes_back_as_it_was_with_its_types(table: dict[str, Field]) -> None:
    raw = encode_table(table)
    assert decode_table(raw, 0) == (table, len(raw))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_malformed(raw: bytes) -> None:
    try:
        table, end = decode_table(struct.pack(">I", len(raw)) + raw, 0)
    except Malformed:
        return
    assert end == len(raw) + 4
    assert isinstance(python_value(("F", table)), dict)


def test_a_table_of_pamqp_is_understood() -> None:
    raw = encode.field_table({"text": "x", "number": 5, "on": True, "list": [1, "a"], "inner": {"none": None}})
    table, _ = decode_table(raw, 0)
    assert python_value(("F", table)) == {"text": "x", "number": 5, "on": True, "list": [1, "a"], "inner": {"none": None}}


def test_a_table_nested_without_end_is_malformed() -> None:
    raw = b"\x00\x00\x00\x00"
    for _ in range(MAX_TABLE_DEPTH + 1):
        raw = struct.pack(">I", len(raw) + 3) + b"\x01aF" + raw
    with pytest.raises(Malformed, match="nested"):
        decode_table(raw, 0)


@given(st.binary(max_size=40))
def test_any_bytes_are_properties_or_malformed(raw: bytes) -> None:
    try:
        properties = Properties(raw)
    except Malformed:
        return
    assert properties.with_headers(properties.headers).raw == Properties(properties.with_headers(properties.headers).raw).raw


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 8]), st.integers(0, 9), st.binary(max_size=50)), max_size=8), st.data())
def test_frames_come_out_whole_however_the_stream_is_cut(frames: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frame(*each) for each in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    framer, out = Framer(4096), []
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        if start == end:
            continue
        got, error = framer.feed(stream[start:end])
        assert error is None
        out += got
    assert out == frames


def test_a_body_is_cut_to_the_frames_the_peer_takes() -> None:
    framer = Framer(4096)
    frames, error = framer.feed(content_frames(7, b"m", b"h", b"x" * 10_000, 4096))
    assert error is None
    assert [len(payload) for _, _, payload in frames[2:]] == [4088, 4088, 1824]


def test_a_frame_beyond_the_negotiated_size_ends_the_stream() -> None:
    frames, error = Framer(4096).feed(frame(1, 0, b"abcd") + frame(3, 1, b"x" * 4097))
    assert len(frames) == 1
    assert error is not None
    assert (error.code, error.text) == (501, "type 3, all octets = <<>>: {frame_too_large,4097,4088}")


_WORDS = st.lists(st.sampled_from(["a", "b", ""]), max_size=5).map(".".join)
_PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#", ""]), max_size=5).map(".".join)


def _as_words(key: str) -> list[str]:
    return key.split(".") if key else []


def _matches_simply(pattern: list[str], key: list[str]) -> bool:
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(_matches_simply(pattern[1:], key[at:]) for at in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and _matches_simply(pattern[1:], key[1:])


@given(st.lists(_PATTERNS, max_size=6), _WORDS)
def test_topics_match_as_a_simple_matcher_says(patterns: list[str], key: str) -> None:
    tree: TopicTree[int] = TopicTree()
    for number, pattern in enumerate(patterns):
        tree.add(pattern, number)
    expected = [n for n, pattern in enumerate(patterns) if _matches_simply(_as_words(pattern), _as_words(key))]
    assert sorted(tree.match(key)) == expected
    for number, pattern in enumerate(patterns):
        tree.remove(pattern, number)
    assert tree.match(key) == []
    assert not tree._root.below


def test_a_pattern_of_many_hashes_is_looked_up_at_once() -> None:
    tree: TopicTree[int] = TopicTree()
    tree.add(".".join(["#"] * 100) + ".end", 1)
    assert tree.match(".".join(["a"] * 120)) == []


@pytest.mark.parametrize(
    ("pattern", "headers", "good"),
    [
        ({}, {}, True),
        ({"x-match": ("S", "any")}, {"a": ("I", 1)}, False),
        ({"x-match": ("S", "any"), "a": ("I", 1), "b": ("I", 2)}, {"b": ("l", 2)}, True),
        ({"a": ("I", 1)}, {"a": ("t", True)}, False),
        ({"a": ("V", None)}, {"a": ("S", "whatever")}, True),
        ({"x-a": ("I", 1)}, {}, True),
        ({"x-match": ("S", "all-with-x"), "x-a": ("I", 1)}, {}, False),
        ({"x-match": ("S", "any-with-x"), "x-a": ("I", 1)}, {"x-a": ("I", 1)}, True),
    ],
)
def test_headers_match(pattern: dict[str, Field], headers: dict[str, Field], good: bool) -> None:
    assert matches(pattern, headers) is good


def _entry(sequence: int, priority: int = 0) -> Entry:
    properties = Properties(b"\x08\x00" + bytes([priority])) if priority else EMPTY
    return Entry(Message("", ("q",), properties, b"x"), sequence, None, False)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_what_comes_back_goes_where_it_was(priorities: list[int], data: st.DataObject) -> None:
    ready = Ready(3)
    for number, priority in enumerate(priorities):
        ready.push(_entry(number, priority))
    order = [entry.sequence for entry in ready]
    taken = [ready.pop() for _ in range(data.draw(st.integers(0, len(priorities))))]
    ready.put_back([entry for entry in data.draw(st.permutations(taken)) if entry is not None])
    assert [entry.sequence for entry in ready] == order
    assert (ready.count, ready.bytes) == (len(order), len(order))


def test_texts_are_shown_as_the_other_broker_prints_them() -> None:
    assert shown_bytes(b"abc") == '<<"abc">>'
    assert shown_bytes(b"\x00\xff") == "<<0,255>>"
    assert (shown(True), shown(5), shown("x"), shown(None)) == ("true", "5", "x", "undefined")


def test_a_close_text_fits_a_short_string_whatever_is_in_it() -> None:
    text = reply_text(404, "no queue '" + "é" * 200 + "'")
    assert len(text.encode("utf-8", "surrogateescape")) == 255
    assert re.match("NOT_FOUND - no queue 'é+", text)
    assert text.endswith("...")
