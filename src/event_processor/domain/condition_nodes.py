"""From a parsed condition to a function: each allowed kind of node becomes one closure, and no other kind has one.

The library parses and checks types; the values are computed here, because an unknown value has to stay unknown: ``front or
back`` is true when one of them is, whatever the other; ``not unknown`` is unknown, and unknown fires nothing. There is no
loop, no power and no repetition among the nodes, so the time is bounded by the text's length.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from event_processor.domain.fields import Scalar
from event_processor.domain.regexes import compile_regex
from pylib.errors import ConfigError

__all__ = ["ATTRIBUTES", "Facts", "Log", "Node", "References", "build"]

Log: TypeAlias = dict[str, Scalar]


class Facts(Protocol):
    """What conditions can read. ``None`` is unknown."""

    def event(self, name: str) -> Scalar: ...
    def device(self, key: str, name: str) -> Scalar: ...
    def group(self, key: str, name: str) -> Scalar: ...
    def now(self, name: str) -> Scalar: ...
    def mode(self) -> str: ...


Node: TypeAlias = Callable[[Facts, Log], Scalar]

# What has which attributes, with the type of each: b(oolean), n(umber), t(ext), u (whatever the device reports).
ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "event": {
        "value": "u", "active": "b", "device": "t", "type": "t", "label": "t", "detail": "t", "minute": "n", "age": "n",
        "kind": "t", "retained": "b", "topic": "t", "known": "b", "room": "t",
    },
    "device": {"value": "u", "active": "b", "online": "b", "age": "n", "since": "n", "type": "t", "room": "t", "known": "b"},
    "group": {"any_active": "b", "all_active": "b", "active_count": "n", "all_online": "b", "size": "n"},
    "now": {
        "hour": "n", "minute": "n", "time": "t", "weekday": "t", "day": "n", "month": "n", "year": "n", "weekend": "b",
    },
}  # fmt: skip


class References:
    """Which devices and groups a condition names, and whether it asks for the mode or the time."""

    __slots__ = ("devices", "groups", "mode", "now")

    def __init__(self) -> None:
        self.devices: list[str] = []
        self.groups: list[str] = []
        self.mode = self.now = False


_CHANGES: Final[Mapping[str, Callable[[str], Scalar]]] = {"as_lower": str.lower, "as_upper": str.upper, "length": len}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {"abs": abs, "min": min, "max": max}


def _number(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same_kind(left: Scalar, right: Scalar) -> bool:
    return (_number(left) and _number(right)) or type(left) is type(right)


def build(node: Any, found: References) -> Node:
    """Make the function of one node of the library's tree. Raises ``ConfigError`` for whatever is not allowed."""
    maker = _MAKERS.get(type(node).__name__)
    if maker is None:
        raise ConfigError(f"{_WORDS.get(type(node).__name__, 'this')} cannot be used in a condition")
    return maker(node, found)


def _literal(node: Any, found: References) -> Node:
    value = _constant(node)
    return lambda facts, log: value


def _constant(node: Any) -> Scalar:
    kind, value = type(node).__name__, node.value
    if kind != "FloatExpression":
        if not isinstance(value, (str, bool)):
            raise ConfigError("this cannot be used in a condition")
        return value
    if not math.isfinite(number := float(value)):
        raise ConfigError("a number in a condition has to be finite")
    return int(value) if number.is_integer() and abs(number) < 2**53 else number


def _symbol(node: Any, found: References) -> Node:
    if node.scope is not None or node.name != "mode":
        hint = (
            "mode.attribute" if node.name == "mode" else f"{node.name}.{next(iter(ATTRIBUTES.get(node.name, {'value': ''})))}"
        )
        raise ConfigError(f"{node.name} cannot stand alone: write one of its attributes, such as {hint}")
    found.mode = True

    def read(facts: Facts, log: Log) -> Scalar:
        log["mode"] = value = facts.mode()
        return value

    return read


def _attribute(node: Any, found: References) -> Node:
    thing, name = node.object, node.name
    kind = type(thing).__name__
    if kind == "SymbolExpression" and thing.scope is None and thing.name in ("event", "now"):
        label = f"{thing.name}.{name}"
        if thing.name == "event":
            return lambda facts, log: log.setdefault(label, facts.event(name))
        found.now = True
        return lambda facts, log: log.setdefault(label, facts.now(name))
    if kind == "FunctionCallExpression" and type(thing.function).__name__ == "SymbolExpression":
        which = thing.function.name
        key = _text(thing.arguments[0], f"{which}(...)")
        label = f'{which}("{key}").{name}'
        if which == "device":
            found.devices.append(key)
            return lambda facts, log: log.setdefault(label, facts.device(key, name))
        if which == "group":
            found.groups.append(key)
            return lambda facts, log: log.setdefault(label, facts.group(key, name))
    text = build(thing, found)
    change = _CHANGES.get(name)
    if change is None:
        raise ConfigError(f".{name} cannot be used in a condition")

    def changed(facts: Facts, log: Log) -> Scalar:
        value = text(facts, log)
        return change(value) if isinstance(value, str) else None

    return changed


def _text(node: Any, where: str) -> str:
    if type(node).__name__ != "StringExpression":
        raise ConfigError(f'{where} needs a name in quotes, such as device("Front Door")')
    return str(node.value)


def _call(node: Any, found: References) -> Node:
    name = getattr(node.function, "name", "")
    if name == "matches":
        return _pattern(node, found)
    if name in ("device", "group"):
        raise ConfigError(f"{name}(...) cannot stand alone: add what to read, such as .{next(iter(ATTRIBUTES[name]))}")
    work = _FUNCTIONS.get(name)
    if work is None:
        raise ConfigError("only device, group, matches, abs, min and max can be called")
    parts = tuple(build(argument, found) for argument in node.arguments)

    def call(facts: Facts, log: Log) -> Scalar:
        values = [part(facts, log) for part in parts]
        result: Scalar = work(*values) if all(map(_number, values)) else None
        return result

    return call


def _pattern(node: Any, found: References) -> Node:
    text, written = build(node.arguments[0], found), _text(node.arguments[1], "matches(..., pattern)")
    search = compile_regex(written).search

    def match(facts: Facts, log: Log) -> Scalar:
        value = text(facts, log)
        return search(value) is not None if isinstance(value, str) else None

    return match


def _logic(node: Any, found: References) -> Node:
    left, right = build(node.left, found), build(node.right, found)
    decisive = node.type == "or"

    def joined(facts: Facts, log: Log) -> Scalar:
        first = left(facts, log)
        if first is decisive:
            return decisive
        second = right(facts, log)
        if second is decisive:
            return decisive
        return not decisive if first is (not decisive) and second is (not decisive) else None

    return joined


def _unary(node: Any, found: References) -> Node:
    part, negate = build(node.right, found), node.type == "not"

    def unary(facts: Facts, log: Log) -> Scalar:
        value = part(facts, log)
        if negate:
            return (not value) if isinstance(value, bool) else None
        return -value if _number(value) else None  # type: ignore[operator]  # a number, as just asked

    return unary


def _equal(node: Any, found: References) -> Node:
    left, right = build(node.left, found), build(node.right, found)
    wanted = node.type == "eq"

    def equal(facts: Facts, log: Log) -> Scalar:
        first, second = left(facts, log), right(facts, log)
        if first is None or second is None:
            return None
        return (_same_kind(first, second) and first == second) is wanted

    return equal


_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le,
}  # fmt: skip
_SUMS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "tdiv": operator.truediv, "fdiv": operator.floordiv,
    "mod": operator.mod,
}  # fmt: skip


def _order(node: Any, found: References) -> Node:
    left, right, order = build(node.left, found), build(node.right, found), _ORDERS[node.type]

    def ordered(facts: Facts, log: Log) -> Scalar:
        first, second = left(facts, log), right(facts, log)
        if first is None or second is None or not _same_kind(first, second) or isinstance(first, bool):
            return None
        return order(first, second)

    return ordered


def _sum(node: Any, found: References) -> Node:
    if node.type not in _SUMS:
        raise ConfigError("this operator cannot be used in a condition; these can: + - * / // %")
    left, right, work = build(node.left, found), build(node.right, found), _SUMS[node.type]

    def computed(facts: Facts, log: Log) -> Scalar:
        first, second = left(facts, log), right(facts, log)
        if not (_number(first) and _number(second)):
            return None
        try:
            result = work(float(first), float(second))  # type: ignore[arg-type]  # numbers, as just asked
        except (ZeroDivisionError, OverflowError):
            return None
        return result if math.isfinite(result) else None

    return computed


def _contains(node: Any, found: References) -> Node:
    member = build(node.member, found)
    if type(node.container).__name__ not in ("ArrayExpression", "SetExpression"):
        raise ConfigError('in needs a list after it, such as mode in ["away", "night"]')
    values = tuple(_constant(value) for value in node.container.value)

    def contained(facts: Facts, log: Log) -> Scalar:
        value = member(facts, log)
        return None if value is None else any(_same_kind(value, one) and value == one for one in values)

    return contained


def _ternary(node: Any, found: References) -> Node:
    asked, yes, no = build(node.condition, found), build(node.case_true, found), build(node.case_false, found)

    def chosen(facts: Facts, log: Log) -> Scalar:
        value = asked(facts, log)
        return (yes(facts, log) if value else no(facts, log)) if isinstance(value, bool) else None

    return chosen


def _coalesce(node: Any, found: References) -> Node:
    left, right = build(node.left, found), build(node.right, found)

    def coalesced(facts: Facts, log: Log) -> Scalar:
        value = left(facts, log)
        return right(facts, log) if value is None else value

    return coalesced


_MAKERS: Final[Mapping[str, Callable[[Any, References], Node]]] = {
    "StringExpression": _literal,
    "BooleanExpression": _literal,
    "FloatExpression": _literal,
    "SymbolExpression": _symbol,
    "GetAttributeExpression": _attribute,
    "FunctionCallExpression": _call,
    "LogicExpression": _logic,
    "UnaryExpression": _unary,
    "ComparisonExpression": _equal,
    "ArithmeticComparisonExpression": _order,
    "ArithmeticExpression": _sum,
    "AddExpression": _sum,
    "SubtractExpression": _sum,
    "ContainsExpression": _contains,
    "TernaryExpression": _ternary,
    "CoalesceExpression": _coalesce,
}
_WORDS: Final[Mapping[str, str]] = {
    "NullExpression": "null (write .known to ask whether a value is known, or ?? to replace an unknown one)",
    "ComprehensionExpression": "a loop (for ... in ...)",
    "FuzzyComparisonExpression": "=~ (write matches(text, pattern))",
    "BitwiseExpression": "an operator on bits (write and, or)",
    "BitwiseShiftExpression": "an operator on bits",
    "GetItemExpression": "an element [...]",
    "GetSliceExpression": "a slice [:]",
    "DatetimeExpression": "a date",
    "TimedeltaExpression": "a span of time (write seconds)",
    "BytesExpression": "a text of bytes",
    "MappingExpression": "a mapping {...}",
    "ArrayExpression": "a list that stands alone",
    "SetExpression": "a set that stands alone",
}
