"""Methods: pamqp says which there are and what they hold; they are read and written here, within bounds.

pamqp's own decoder loses the types of table fields, recurses as deep as the sender likes, and its checks of names are
stricter than any broker's. So its classes describe the methods, and the bytes are walked here.
"""

from __future__ import annotations

import struct
from typing import Any, Final, cast

from pamqp import base, commands

from pylib.embedded.amqp.wire.erlang import shown_bytes
from pylib.embedded.amqp.wire.errors import AmqpError, Malformed
from pylib.embedded.amqp.wire.framing import snippet
from pylib.embedded.amqp.wire.tables import decode_table, encode_short, encode_table, text

__all__ = ["HAS_CONTENT", "decode_method", "encode_method", "frame", "method_id"]

_INTEGERS: Final = {
    "octet": struct.Struct(">B"),
    "short": struct.Struct(">H"),
    "long": struct.Struct(">I"),
    "longlong": struct.Struct(">Q"),
}
_HEAD: Final = struct.Struct(">BHI")
_INDEX: Final = struct.Struct(">I")

#: basic.publish, return, deliver and get-ok: a content header and body follow.
HAS_CONTENT: Final = frozenset({0x003C0028, 0x003C0032, 0x003C003C, 0x003C0047})

_FIELDS: dict[int, tuple[type[base.Frame], tuple[tuple[str, str], ...]]] = {
    index: (kind, tuple((name, kind.amqp_type(name)) for name in kind.attributes()))
    for index, kind in cast("dict[int, type[base.Frame]]", commands.INDEX_MAPPING).items()
}


def method_id(index: int) -> tuple[int, int]:
    """(class id, method id) of a method's index."""
    return index >> 16, index & 0xFFFF


def decode_method(payload: bytes) -> base.Frame:
    """The method in a method frame. Raises AmqpError (501 or 503); tables come with their types."""
    if len(payload) < 4:
        raise AmqpError(501, f"type 1, {snippet(payload)}: unknown_frame", method=(0, 0))
    index = int(_INDEX.unpack_from(payload)[0])
    known = _FIELDS.get(index)
    if known is None:
        raise AmqpError(503, f"there is no method {index & 0xFFFF} in class {index >> 16}", method=method_id(index))
    try:
        return _decode_fields(payload, *known)
    except Malformed:
        raise AmqpError(501, f"cannot decode {shown_bytes(payload[4:])}", method=method_id(index)) from None


def _decode_fields(payload: bytes, kind: type[base.Frame], fields: tuple[tuple[str, str], ...]) -> base.Frame:
    method = kind.__new__(kind)
    position, bit, size = 4, 8, len(payload)
    for name, type_ in fields:
        value: object
        if type_ == "bit":
            if bit == 8:
                bit, position = 0, position + 1
            if position > size:
                raise Malformed(f"{kind.name} is cut short")
            value = bool(payload[position - 1] & (1 << bit))
            bit += 1
        else:
            bit = 8
            value, position = _decode(payload, position, size, type_, kind.name)
        setattr(method, name, value)
    if position != size:
        raise Malformed(f"{kind.name} is followed by more bytes")
    return method


def _decode(payload: bytes, position: int, size: int, type_: str, name: str) -> tuple[object, int]:
    integer = _INTEGERS.get(type_)
    if integer is not None:
        after = position + integer.size
        if after > size:
            raise Malformed(f"{name} is cut short")
        return integer.unpack_from(payload, position)[0], after
    if type_ == "table":
        return decode_table(payload, position)
    if type_ == "shortstr":
        if position >= size:
            raise Malformed(f"{name} is cut short")
        start, after = position + 1, position + 1 + payload[position]
    else:  # longstr
        if position + 4 > size:
            raise Malformed(f"{name} is cut short")
        start = position + 4
        after = start + int(_INDEX.unpack_from(payload, position)[0])
    if after > size:
        raise Malformed(f"{name} is cut short")
    return text(payload[start:after]), after


def encode_method(channel: int, kind: type[base.Frame], **values: Any) -> bytes:
    """A method frame, ready to be sent. What is not given is empty, zero or false."""
    parts = [_INDEX.pack(kind.index)]
    bits = count = 0
    for name, type_ in _FIELDS[kind.index][1]:
        if type_ == "bit":
            bits |= bool(values.get(name, False)) << count
            count += 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits = count = 0
        if type_ in _INTEGERS:
            parts.append(_INTEGERS[type_].pack(values.get(name, 0)))
        elif type_ == "table":
            parts.append(encode_table(values.get(name, {})))
        elif type_ == "shortstr":
            parts.append(encode_short(values.get(name, "")))
        else:
            raw = str(values.get(name, "")).encode("utf-8", "surrogateescape")
            parts.append(_INDEX.pack(len(raw)) + raw)
    if count:
        parts.append(bytes((bits,)))
    return frame(1, channel, b"".join(parts))


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame of any kind."""
    return _HEAD.pack(kind, channel, len(payload)) + payload + b"\xce"
