"""Field tables with their types, decoded within bounds.

A value is a pair of its type's letter and what it holds. The letters are RabbitMQ's (its "AMQP 0-9-1 errata"), which also
decides what two tables have in common: `5` as a byte and `5` as a long are the same argument, and an error names the type.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from pylib.embedded.amqp.wire.errors import Malformed

__all__ = ["TYPE_NAMES", "Field", "Table", "decode_table", "encode_short", "encode_table", "python_value", "text"]

Field: TypeAlias = tuple[str, object]
Table: TypeAlias = dict[str, Field]

#: RabbitMQ's names of the types, as its error texts show them.
TYPE_NAMES: Final = {
    "t": "bool", "b": "byte", "B": "unsignedbyte", "s": "short", "u": "unsignedshort", "I": "signedint",
    "i": "unsignedint", "l": "long", "L": "long", "f": "float", "d": "double", "D": "decimal", "S": "longstr",
    "A": "array", "T": "timestamp", "F": "table", "V": "void", "x": "binary",
}  # fmt: skip

_FIXED: Final = {
    "t": struct.Struct(">B"), "b": struct.Struct(">b"), "B": struct.Struct(">B"), "s": struct.Struct(">h"),
    "u": struct.Struct(">H"), "I": struct.Struct(">i"), "i": struct.Struct(">I"), "l": struct.Struct(">q"),
    "L": struct.Struct(">q"), "f": struct.Struct(">f"), "d": struct.Struct(">d"), "D": struct.Struct(">BI"),
    "T": struct.Struct(">Q"),
}  # fmt: skip
_LENGTH: Final = struct.Struct(">I")

#: How deep tables and arrays may be nested in each other.
MAX_TABLE_DEPTH = 100


def text(raw: bytes) -> str:
    """Bytes as text; bytes that are no UTF-8 survive the way back."""
    return raw.decode("utf-8", "surrogateescape")


def encode_short(value: str) -> bytes:
    """A short string on the wire; what is too long for one is cut."""
    raw = value.encode("utf-8", "surrogateescape")[:255]
    return bytes((len(raw),)) + raw


def decode_table(data: bytes, start: int, depth: int = MAX_TABLE_DEPTH) -> tuple[Table, int]:
    """The table at ``start`` and the position after it. Raises Malformed."""
    position, end = _span(data, start)
    table: Table = {}
    while position < end:
        length = data[position]
        position += 1
        if position + length >= end:
            raise Malformed("a field's name runs past the end of its table")
        key = text(data[position : position + length])
        value, position = _decode_value(data, position + length, end, depth)
        table[key] = value
    return table, end


def _decode_array(data: bytes, start: int, depth: int) -> tuple[list[Field], int]:
    position, end = _span(data, start)
    items: list[Field] = []
    while position < end:
        value, position = _decode_value(data, position, end, depth)
        items.append(value)
    return items, end


def _span(data: bytes, start: int) -> tuple[int, int]:
    if start + 4 > len(data):
        raise Malformed("a length is cut short")
    position = start + 4
    end = position + int(_LENGTH.unpack_from(data, start)[0])
    if end > len(data):
        raise Malformed("a table, array or string runs past the end of its frame")
    return position, end


def _decode_value(data: bytes, position: int, end: int, depth: int) -> tuple[Field, int]:
    if position >= end:
        raise Malformed("a field has no value")
    kind = chr(data[position])
    position += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        after = position + fixed.size
        if after > end:
            raise Malformed("a field's value is cut short")
        values = fixed.unpack_from(data, position)
        value: object = values if kind == "D" else bool(values[0]) if kind == "t" else values[0]
        return (kind, value), after
    if kind == "V":
        return (kind, None), position
    if kind in "Sx":
        position, after = _span(data, position)
        if after > end:
            raise Malformed("a string runs past the end of its table")
        raw = data[position:after]
        return (kind, text(raw) if kind == "S" else raw), after
    if kind not in "FA":
        raise Malformed(f"{kind!r} is no type of a field")
    if depth <= 0:
        raise Malformed(f"tables are nested deeper than {MAX_TABLE_DEPTH}")
    nested: object
    nested, after = decode_table(data, position, depth - 1) if kind == "F" else _decode_array(data, position, depth - 1)
    if after > end:
        raise Malformed("a nested table runs past the end of the outer one")
    return (kind, nested), after


def encode_table(table: Table) -> bytes:
    """A table on the wire, its length included."""
    parts = [encode_short(key) + _encode_value(value) for key, value in table.items()]
    body = b"".join(parts)
    return _LENGTH.pack(len(body)) + body


def _encode_value(field: Field) -> bytes:
    kind, value = field
    tag = kind.encode()
    if kind == "S":
        raw = str(value).encode("utf-8", "surrogateescape")
        return tag + _LENGTH.pack(len(raw)) + raw
    if kind == "F" and isinstance(value, dict):
        return tag + encode_table(value)
    if kind == "A" and isinstance(value, list):
        body = b"".join([_encode_value(item) for item in value])
        return tag + _LENGTH.pack(len(body)) + body
    if kind == "x" and isinstance(value, bytes):
        return tag + _LENGTH.pack(len(value)) + value
    if kind == "V":
        return tag
    if kind == "D" and isinstance(value, tuple):
        return tag + _FIXED["D"].pack(*value)
    return tag + _FIXED[kind].pack(value)


def python_value(field: Field) -> object:
    """What a field holds, without the types: for people who look inside."""
    kind, value = field
    if kind == "F" and isinstance(value, dict):
        return {key: python_value(inner) for key, inner in value.items()}
    if kind == "A" and isinstance(value, list):
        return [python_value(inner) for inner in value]
    return value
