"""The headers exchange: arguments of a binding against the headers of a message."""

from __future__ import annotations

from pylib.embedded.amqp.wire.erlang import shown, shown_bytes
from pylib.embedded.amqp.wire.errors import fail
from pylib.embedded.amqp.wire.tables import TYPE_NAMES, Table

__all__ = ["check_binding", "matches"]

_KINDS = ("all", "any", "all-with-x", "any-with-x")


def check_binding(arguments: Table) -> None:
    """Fail with 406 unless x-match is one of the four kinds, as text."""
    field = arguments.get("x-match")
    if field is None:
        return
    kind, value = field
    if kind != "S":
        fail(406, f"Invalid x-match field type {TYPE_NAMES[kind]} (value {shown(value)}); expected longstr")
    if value not in _KINDS:
        given = shown_bytes(str(value).encode("utf-8", "surrogateescape"))
        fail(406, f"Invalid x-match field value {given}; expected all, any, all-with-x, or any-with-x")


def matches(pattern: Table, headers: Table) -> bool:
    """Whether the headers match. A void value in the pattern asks for the header alone; other types do not matter."""
    kind = pattern.get("x-match", ("S", "all"))[1]
    with_x = kind in ("all-with-x", "any-with-x")
    asked = [(key, field) for key, field in pattern.items() if key != "x-match" and (with_x or not key.startswith("x-"))]
    any_of = kind in ("any", "any-with-x")
    for key, (type_, value) in asked:
        there = headers.get(key)
        good = there is not None and (type_ == "V" or (type(there[1]) is type(value) and there[1] == value))
        if good == any_of:
            return any_of
    return not any_of
