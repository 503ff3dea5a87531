"""Message bodies: what is read, what is refused, and that refusing never ends a thread."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylib.data import (
    JSON,
    MAX_DEPTH,
    MSGPACK,
    Plain,
    decode,
    decode_json,
    decode_msgpack,
    encode_json,
    encode_msgpack,
    make_payload,
    unwrap_payload,
)
from pylib.errors import DecodeError, Rejected

NOON = datetime(2026, 3, 4, 12, 0, 0, 987654, tzinfo=UTC)
SENSOR = {
    "device_id": "bench-1",
    "input_location": "Garage",
    "input_1": {"input_label": "Door", "sample_value": 12.5, "active": True},
    "input_2": {"input_label": "Window", "sample_value": 0.5, "active": False},
    "uptime": 1234,
    "note": "a sensor of the usual size, about 250 bytes",
}

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(plain)
def test_what_is_encoded_is_decoded(value: Plain) -> None:
    assert decode_json(encode_json(value)) == value
    assert decode_msgpack(encode_msgpack(value)) == value


@given(st.binary())
def test_any_bytes_are_a_value_or_a_decode_error(body: bytes) -> None:
    for function in (decode_json, decode_msgpack):
        try:
            function(body)
        except DecodeError as error:
            assert len(str(error)) < 300  # noqa: PT017 - both outcomes are right; this bounds one of them


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON: Input data was truncated"),
        (b"ON", "not JSON: invalid character"),
        (b'{"a": NaN}', "not JSON: invalid character"),
        (b"-Infinity", "not JSON"),
        (b"1 2", "not JSON: trailing characters"),
        (b'"\xff"', "not JSON: not UTF-8"),
        (b'"\\ud800"', "not JSON"),
        (b'{"a": 1', "not JSON: Input data was truncated"),
        (b"[" * (1 << 20), "nested deeper than 32 levels"),
        (b'{"a":' * (1 << 18), "nested deeper than 32 levels"),
        (b"[" * 33 + b"]" * 33, "nested deeper than 32 levels"),
    ],
)
def test_json_that_is_not_is_refused_with_a_short_reason(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_json(body)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not MessagePack: Input data was truncated"),
        (b"\x01\x02", "not MessagePack: trailing characters"),
        (b"\xa1\xff", "not MessagePack: not UTF-8"),
        (b"\xc1", "not MessagePack: invalid opcode"),
        (b"\xdd\xff\xff\xff\xff", "truncated"),
        (b"\xc6\x7f\xff\xff\xff", "truncated"),
        (b"\xd4\x05\x01", "extension type 5 is not supported"),
        (b"\xd7\xff" + b"\xff" * 8, "timestamp"),
        (b"\xcb\x7f\xf8" + b"\0" * 6, "NaN or infinite"),
        (b"\x81\xa1a\xcb\x7f\xf0" + b"\0" * 6, "NaN or infinite"),
        (b"\x81\xc0\x01", "a map key is NoneType"),
        (b"\x81\x80\x01", "map keys must be hashable"),
        (b"\x82\x05\x01\xa15\x02", "is there twice"),
        (b"\x91" * (1 << 20), "nested deeper than 32 levels"),
        (b"\x91" * 32 + b"\x90", "nested deeper than 32 levels"),
    ],
)
def test_messagepack_that_is_not_is_refused_with_a_short_reason(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_msgpack(body)
    assert reason in str(caught.value)


def test_the_depth_limit_is_exact() -> None:
    assert decode_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert decode_msgpack(b"\x91" * MAX_DEPTH + b"\x01")
    assert decode_json(b"[" + b"[]," * 500 + b"[]]"), "many brackets side by side are not deep"
    assert decode_json(b"[[1]]", max_depth=2)
    with pytest.raises(DecodeError):
        decode_json(b"[[1]]", max_depth=1)
    with pytest.raises(DecodeError):
        decode_msgpack(b"\x91\x91\x01", max_depth=1)


def test_the_size_limit_is_exact() -> None:
    for function, body in ((decode_json, b"[1]"), (decode_msgpack, b"\x91\x01")):
        assert function(body, max_size=len(body)) == [1]
        with pytest.raises(DecodeError, match="and the limit is"):
            function(body, max_size=len(body) - 1)


def test_large_integers_and_timestamps_are_values() -> None:
    assert decode_json(b"123456789012345678901234567890") == 123456789012345678901234567890
    assert decode_msgpack(b"\xcf" + b"\xff" * 8) == 2**64 - 1
    assert decode_msgpack(encode_msgpack(NOON)) == NOON
    assert decode_msgpack(b"\x81\x05\x01") == {"5": 1}
    assert decode_msgpack(b"\xc4\x02\x00\xff") == b"\x00\xff"


def test_the_content_type_decides() -> None:
    assert decode(b"[1]", JSON) == [1]
    assert decode(b"[1]", "Application/JSON; charset=utf-8") == [1]
    assert decode(b"[1]", "application/cloudevents+json") == [1]
    for kind in (MSGPACK, "application/x-msgpack", None, ""):
        assert decode(b"\x91\x01", kind) == [1]
    with pytest.raises(DecodeError, match="content type 'application/x-python-serialize' is not supported"):
        decode(b"", "application/x-python-serialize")


@pytest.mark.parametrize("value", [object(), {1, object()}, 2**70, "\ud800"])
def test_what_messagepack_cannot_hold_is_rejected(value: object) -> None:
    with pytest.raises(Rejected, match="cannot be sent as MessagePack"):
        encode_msgpack(value)


def test_what_json_cannot_hold_is_rejected() -> None:
    loop: list[object] = []
    loop.append(loop)
    for value in (object(), "\ud800", loop):
        with pytest.raises(Rejected, match="cannot be sent as JSON"):
            encode_json(value)
    assert encode_json({"a": math.nan}) == b'{"a":null}'


def test_a_payload_has_time_in_seconds_and_data() -> None:
    assert decode(make_payload({"a": 1}, NOON)) == {"timestamp": "2026-03-04T12:00:00+00:00", "data": {"a": 1}}
    assert decode(make_payload([1], NOON.replace(tzinfo=None))) == {
        "timestamp": "2026-03-04T12:00:00+00:00",
        "data": [1],
    }
    before = datetime.now(UTC).replace(microsecond=0)
    _, stamp = unwrap_payload(decode(make_payload(None)))
    assert stamp is not None
    assert before <= stamp <= datetime.now(UTC)


def test_a_payload_may_be_merged_unless_that_would_be_ambiguous() -> None:
    assert decode(make_payload({"a": 1}, NOON, merged=True)) == {"timestamp": "2026-03-04T12:00:00+00:00", "a": 1}
    for data in ({"data": 1}, {"timestamp": 2}, [1], "x"):
        assert unwrap_payload(decode(make_payload(data, NOON, merged=True))) == (data, NOON.replace(microsecond=0))


@given(plain, st.booleans())
def test_what_a_payload_wraps_is_unwrapped(data: Plain, merged: bool) -> None:
    assert unwrap_payload(decode(make_payload(data, NOON, merged=merged))) == (data, NOON.replace(microsecond=0))


@pytest.mark.parametrize(
    ("body", "data", "stamp"),
    [
        (["key", "label", None], ["key", "label", None], None),
        ({"device_info": {"inputs": []}}, {"device_info": {"inputs": []}}, None),
        ({"data": {"a": 1}}, {"a": 1}, None),
        ({"timestamp": "2026-03-04T12:00:00", "data": {"a": 1}}, {"a": 1}, NOON.replace(microsecond=0)),
        ({"timestamp": "2026-03-04T14:00:00+02:00", "a": 1}, {"a": 1}, NOON.replace(microsecond=0)),
        ({"timestamp": "2026-03-04T12:00:00Z", "inputs": [], "traceparent": "00-x"}, None, NOON.replace(microsecond=0)),
        ({"timestamp": 1772625600, "active_input": {}}, {"active_input": {}}, NOON.replace(microsecond=0)),
        ({"timestamp": 1772625600987, "a": 1}, {"a": 1}, NOON.replace(microsecond=987000)),
        ({"timestamp": None, "data": 5}, 5, None),
        ({"timestamp": 0, "data": 5, "more": 6}, {"data": 5, "more": 6}, datetime(1970, 1, 1, tzinfo=UTC)),
        (5, 5, None),
        (None, None, None),
    ],
)
def test_old_bodies_are_understood(body: Plain, data: Plain, stamp: datetime | None) -> None:
    said, when = unwrap_payload(body)
    assert when == stamp
    if data is not None or body is None:
        assert said == data


def test_times_are_given_in_utc() -> None:
    east = datetime(2026, 3, 4, 14, tzinfo=timezone(timedelta(hours=2)))
    _, stamp = unwrap_payload({"timestamp": east, "data": 1})
    assert stamp is not None
    assert (stamp.tzinfo, stamp.hour) == (UTC, 12)


@pytest.mark.parametrize("stamp", ["yesterday", "", True, [], {}, b"x", 1e300, -1e300, "2026-13-01"])
def test_a_time_that_cannot_be_read_never_becomes_now(stamp: Plain) -> None:
    with pytest.raises(DecodeError, match="is neither ISO 8601 nor a Unix time"):
        unwrap_payload({"timestamp": stamp, "data": 1})
