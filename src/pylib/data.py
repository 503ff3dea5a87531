"""Message bodies: MessagePack and JSON, bounded in size and depth. Decoding gives plain values and executes nothing.

A body is ``{"timestamp": <ISO 8601, seconds>, "data": <anything>}``. Applications have also sent, and are understood to
send, a dict whose entries stand beside the timestamp (since 2023-12), a timestamp in Unix seconds, and a bare list or
dict.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import Final, NoReturn, TypeAlias

import msgspec

from pylib.errors import DecodeError, Rejected

__all__ = [
    "JSON",
    "MAX_BODY_BYTES",
    "MAX_DEPTH",
    "MSGPACK",
    "Plain",
    "decode",
    "decode_json",
    "decode_msgpack",
    "encode_json",
    "encode_msgpack",
    "make_payload",
    "unwrap_payload",
]

Plain: TypeAlias = "bool | int | float | str | bytes | datetime | list[Plain] | dict[str, Plain] | None"
"""What a body decodes to. JSON never gives ``bytes`` or ``datetime``; MessagePack may."""

MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""Default limit of a body: room for a camera's picture, far below what would starve a small machine."""

MAX_DEPTH: Final = 32
"""Default limit of lists and dicts within each other."""

_MSGPACK_TYPES: Final = {"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"}
_JSON_TYPES: Final = {"application/json", "text/json"}
_ENVELOPE: Final = {"timestamp", "data", "traceparent", "tracestate", "baggage"}
_MILLISECONDS_FROM: Final = 100_000_000_000
"""As seconds this is the year 5138, so a larger number is in milliseconds, as many small devices send it."""


def _refuse_ext(code: int, data: memoryview) -> NoReturn:
    raise DecodeError(f"MessagePack extension type {code} is not supported")


_json_decode: Final = msgspec.json.Decoder().decode
_msgpack_decode: Final = msgspec.msgpack.Decoder(ext_hook=_refuse_ext).decode
_json_encode: Final = msgspec.json.Encoder().encode
_msgpack_encode: Final = msgspec.msgpack.Encoder().encode


def decode_json(body: bytes | bytearray, *, max_size: int = MAX_BODY_BYTES, max_depth: int = MAX_DEPTH) -> Plain:
    """Decode JSON (RFC 8259). Any thread.

    :param max_size: limit of the body, in bytes.
    :param max_depth: limit of arrays and objects within each other.
    :raises DecodeError: a short reason: not JSON, not UTF-8, NaN, something after the value, too large or too deep.
    """
    if len(body) > max_size:
        raise _too_large(len(body), max_size)
    try:
        value: Plain = _json_decode(body)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"not JSON: {_reason(error)}") from None
    except UnicodeDecodeError as error:
        raise DecodeError(f"not JSON: not UTF-8 ({error.reason})") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    # The number of opening brackets bounds the depth, and counting them costs a fraction of looking at the values.
    if body.count(b"{") + body.count(b"[") > max_depth:
        _check_depth(value, max_depth)
    return value


def decode_msgpack(body: bytes | bytearray, *, max_size: int = MAX_BODY_BYTES, max_depth: int = MAX_DEPTH) -> Plain:
    """Decode MessagePack. Any thread. Map keys that are integers become text, as they do in JSON.

    :param max_size: limit of the body, in bytes.
    :param max_depth: limit of arrays and maps within each other.
    :raises DecodeError: a short reason: not MessagePack, not UTF-8, NaN or infinity, something after the value, a map
        key that is no text, an extension other than the timestamp, too large or too deep.
    """
    if len(body) > max_size:
        raise _too_large(len(body), max_size)
    try:
        value: Plain = _msgpack_decode(body)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"not MessagePack: {_reason(error)}") from None
    except UnicodeDecodeError as error:
        raise DecodeError(f"not MessagePack: not UTF-8 ({error.reason})") from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except (TypeError, ValueError, OverflowError) as error:  # a map key that cannot be one; a timestamp out of range
        raise DecodeError(f"not MessagePack: {error}") from None
    return _plain(value, max_depth)


def decode(
    body: bytes | bytearray,
    content_type: str | None = None,
    *,
    max_size: int = MAX_BODY_BYTES,
    max_depth: int = MAX_DEPTH,
) -> Plain:
    """Decode by content type. Without one the body is MessagePack, as old applications send it on RabbitMQ.

    :raises DecodeError: the body is not what it claims to be, or its content type is neither MessagePack nor JSON.
    """
    kind = MSGPACK if not content_type else content_type.partition(";")[0].strip().lower()
    if kind in _MSGPACK_TYPES:
        return decode_msgpack(body, max_size=max_size, max_depth=max_depth)
    if kind in _JSON_TYPES or kind.endswith("+json"):
        return decode_json(body, max_size=max_size, max_depth=max_depth)
    raise DecodeError(f"content type {kind[:60]!r} is not supported; send {MSGPACK} or {JSON}")


def encode_json(value: object) -> bytes:
    """Encode as JSON. NaN and infinity become ``null``, bytes become base64, datetimes ISO 8601.

    :raises Rejected: there is a value that JSON cannot hold.
    """
    try:
        return _json_encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Rejected(f"cannot be sent as JSON: {error}") from error


def encode_msgpack(value: object) -> bytes:
    """Encode as MessagePack.

    :raises Rejected: there is a value that MessagePack cannot hold, such as an integer of more than 64 bits.
    """
    try:
        return _msgpack_encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Rejected(f"cannot be sent as MessagePack: {error}") from error


def make_payload(data: object, timestamp: datetime | None = None, *, merged: bool = False) -> bytes:
    """The MessagePack body of a message: ``{"timestamp": ..., "data": data}``.

    :param timestamp: when it happened; now if not given. Without a time zone it is taken as UTC. Sent in whole seconds.
    :param merged: put the entries of a dict beside the timestamp, for receivers of the newer style. A dict that has an
        entry called ``timestamp`` or ``data`` is not merged, since it could not be told apart on arrival.
    :raises Rejected: there is a value that MessagePack cannot hold.
    """
    moment = timestamp or datetime.now(UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    body: dict[str, object] = {"timestamp": moment.isoformat(timespec="seconds")}
    if merged and isinstance(data, dict) and not ("timestamp" in data or "data" in data):
        body.update(data)
    else:
        body["data"] = data
    return encode_msgpack(body)


def unwrap_payload(value: Plain) -> tuple[Plain, datetime | None]:
    """What a decoded body says, and when it was said. Understands every shape named at the top of this file.

    The time is aware, in UTC, and ``None`` only if the body has none: a time that is not readable never becomes "now",
    since that would make an old event a fresh one.

    :raises DecodeError: the timestamp is neither ISO 8601 nor a Unix time.
    """
    if not isinstance(value, dict):
        return value, None
    timestamp = _moment(value.get("timestamp"))
    if "data" in value and value.keys() <= _ENVELOPE:
        return value["data"], timestamp
    if "timestamp" in value:
        return {name: entry for name, entry in value.items() if name != "timestamp"}, timestamp
    return value, None


def _moment(stamp: Plain) -> datetime | None:
    try:
        if stamp is None:
            return None
        if isinstance(stamp, str):
            stamp = datetime.fromisoformat(stamp)
        elif isinstance(stamp, int | float) and not isinstance(stamp, bool):
            stamp = datetime.fromtimestamp(stamp / 1000 if abs(stamp) >= _MILLISECONDS_FROM else stamp, UTC)
        if isinstance(stamp, datetime):
            return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    shown = stamp[:40] if isinstance(stamp, str) else type(stamp).__name__
    raise DecodeError(f"timestamp {shown!r} is neither ISO 8601 nor a Unix time")


def _check_depth(value: Plain, max_depth: int) -> None:
    """Refuse what is nested too deep. Level by level, so that no depth of input is a depth of Python calls."""
    level: list[list[Plain] | dict[str, Plain]] = [value] if isinstance(value, list | dict) else []
    for _ in range(max_depth):
        if not level:
            return
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
    if level:
        raise _too_deep(max_depth)


def _plain(value: Plain, max_depth: int) -> Plain:
    """As :func:`_check_depth`, and holds MessagePack to what JSON can say: text as keys, finite numbers."""
    level: list[Plain] = [value]
    for _ in range(max_depth):
        below: list[Plain] = []
        for item in level:
            kind = type(item)  # quicker than isinstance, but no type checker narrows by it
            if kind is dict:
                _text_keys(item)  # type: ignore[arg-type]
                below.extend(item.values())  # type: ignore[union-attr]
            elif kind is list:
                below.extend(item)  # type: ignore[arg-type]
            elif kind is float and not isfinite(item):  # type: ignore[arg-type]
                raise _not_finite()
        if not below:
            return value
        level = below
    for item in level:
        if isinstance(item, list | dict):
            raise _too_deep(max_depth)
        if isinstance(item, float) and not isfinite(item):
            raise _not_finite()
    return value


def _text_keys(mapping: dict[str, Plain]) -> None:
    for key in mapping:
        if type(key) is not str:
            break
    else:
        return
    # The keys are not what the annotation says yet: this is where they become so.
    entries: list[tuple[object, Plain]] = list(mapping.items())
    mapping.clear()
    for name, entry in entries:
        text = str(name) if type(name) is int else name
        if not isinstance(text, str):
            raise DecodeError(f"not accepted: a map key is {type(name).__name__}, and only text and integers are keys")
        if text in mapping:
            raise DecodeError(f"not accepted: the map key {text[:40]!r} is there twice, as text and as an integer")
        mapping[text] = entry


def _too_large(size: int, limit: int) -> DecodeError:
    return DecodeError(f"not accepted: {size} bytes, and the limit is {limit}")


def _too_deep(limit: int) -> DecodeError:
    return DecodeError(f"not accepted: nested deeper than {limit} levels")


def _not_finite() -> DecodeError:
    return DecodeError("not accepted: a number is NaN or infinite")


def _reason(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ").removeprefix("MessagePack data is malformed: ")[:200]
