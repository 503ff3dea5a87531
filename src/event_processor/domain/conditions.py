"""Conditions of rules: ``event.value > 20 and not device("Window").active``, checked and compiled once.

The language is that of the library rule-engine, less everything that could take long or surprise: no loops, no powers, no
regular expressions but ``matches(text, pattern)``, which RE2 answers in linear time. What is not known makes a comparison
neither true nor false (``condition_nodes``), and only what is true fires a rule.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import msgspec

from event_processor.domain.condition_nodes import ATTRIBUTES, Facts, Log, Node, References, build
from event_processor.domain.fields import Scalar
from pylib.errors import ConfigError

__all__ = ["MOST_CHARACTERS", "MOST_PARTS", "Condition", "Verdict", "compile_condition"]

MOST_CHARACTERS: Final = 1_000
MOST_PARTS: Final = 200

# The library's own tokens, as far as one has to tell text from operators before it sees them: it computes what is constant
# while it parses, and so would run a pattern or a power right there.
_TOKEN: Final = re.compile(
    r"""[rsbdt]?(?P<q>["'])(?:[^\\\n]|\\.)*?(?P=q)|=~~?|!~~?|\*\*|<<|>>|\$|\#.*|\w+|[^\w\s]""", re.ASCII
)
_FORBIDDEN: Final = {
    "=~": "write matches(text, pattern)",
    "=~~": "write matches(text, pattern)",
    "!~": "write not matches(text, pattern)",
    "!~~": "write not matches(text, pattern)",
    "**": "there are no powers in conditions",
    "<<": "there are no operators on bits in conditions",
    ">>": "there are no operators on bits in conditions",
    "$": "the library's own names that start with $ are not for conditions",
    "for": "there are no loops in conditions; for a duration write for_s in the rule",
}


class Verdict(msgspec.Struct, frozen=True):
    """What a condition says: true, false, or ``None`` where something that it needs is unknown; and what it read."""

    holds: bool | None
    read: Log

    def why(self, text: str) -> str:
        """Say it to a person."""
        unknown = [name for name, value in self.read.items() if value is None]
        if self.holds is None and unknown:
            return f"unknown: {', '.join(unknown)} is not known, so `{text}` is not true"
        if self.holds is None:
            return f"unknown: `{text}` compares things of different kinds ({_shown(self.read)})"
        return f"`{text}` is {'true' if self.holds else 'not true'}{': ' if self.read else ''}{_shown(self.read)}"


class Condition:
    """A compiled condition. Immutable; any thread may ask. Made by ``compile_condition``."""

    __slots__ = ("_node", "devices", "groups", "text", "uses_mode", "uses_now")

    def __init__(self, text: str, node: Node, found: References) -> None:
        self.text = text
        self._node = node
        self.devices = tuple(dict.fromkeys(found.devices))
        self.groups = tuple(dict.fromkeys(found.groups))
        self.uses_mode, self.uses_now = found.mode, found.now

    def judge(self, facts: Facts) -> Verdict:
        """Ask it. Never raises; takes time in proportion to the text's length and the sizes of the groups it names."""
        read: Log = {}
        value = self._node(facts, read)
        return Verdict(value if isinstance(value, bool) else None, read)


def compile_condition(text: str) -> Condition:
    """Check and compile. Raises ``ConfigError``, which says at which character, and what to write instead."""
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"a condition has at most {MOST_CHARACTERS} characters, this one has {len(text)}: make it two rules")
    parts = list(_TOKEN.finditer(text))
    if len(parts) > MOST_PARTS:
        raise ConfigError(f"a condition has at most {MOST_PARTS} names, values and signs, this one has {len(parts)}")
    for part in parts:
        if part[0] in _FORBIDDEN:
            raise ConfigError(f"{part[0]} at character {part.start() + 1}: {_FORBIDDEN[part[0]]}")
    engine, context = _language()
    try:
        expression = engine.Rule(text, context()).statement.expression
    except engine.errors.RuleSyntaxError as error:
        raise ConfigError(_syntax(error, text)) from None
    except engine.errors.EngineError as error:
        raise ConfigError(_meaning(error, text)) from None
    except RecursionError:
        raise ConfigError("this nests too deeply: make it two rules") from None
    found = References()
    node = build(expression, found)
    if expression.result_type is not engine.DataType.BOOLEAN and expression.result_type != engine.DataType.BOOLEAN:
        raise ConfigError(f"`{text}` is not a question that is true or false: compare it with something, such as {text} > 20")
    return Condition(text, node, found)


def _syntax(error: Any, text: str) -> str:
    token = getattr(error, "token", None)
    position = getattr(token, "lexpos", None)
    if token is None or position is None:
        return f"`{text}` ends too early: something is missing after `{text.split()[-1] if text.split() else ''}`"
    return f"character {position + 1}: {str(token.value)!r} was not expected here"


def _meaning(error: Any, text: str) -> str:
    """Say what the library refused in the words of somebody who writes a rule."""
    symbol, attribute = getattr(error, "symbol_name", None), getattr(error, "attribute_name", None)
    if symbol:
        return f"{symbol} at character {text.find(symbol) + 1} is not known: there are {', '.join(ATTRIBUTES)} and mode"
    if attribute:
        near = getattr(error, "suggestion", None)
        return (
            f".{attribute} at character {text.find(attribute) + 1} does not exist{f': did you mean .{near}?' if near else ''}"
        )
    if "mismatch" in error.message:
        return f"`{text}` puts together things of different kinds ({error.message}): numbers go with numbers, text with text"
    return f"`{text}` cannot be computed: {error.message}"


def _shown(read: Log) -> str:
    return ", ".join(f"{name} is {_one(value)}" for name, value in read.items())


def _one(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


@functools.cache
def _language() -> tuple[Any, Any]:
    """Load the library on first use, and say which names there are and of which types."""
    try:
        import rule_engine
    except ImportError:
        raise ConfigError("conditions need rule-engine: pip install 'pylib-automation[hub]'") from None
    kinds = rule_engine.DataType
    type_of = {"u": kinds.UNDEFINED, "b": kinds.BOOLEAN, "n": kinds.FLOAT, "t": kinds.STRING}
    things = {
        thing: kinds.OBJECT(thing, {name: type_of[kind] for name, kind in names.items()})
        for thing, names in ATTRIBUTES.items()
    }

    def function(name: str, returns: Any, *takes: Any, least: int | None = None) -> Any:
        return kinds.FUNCTION(name, return_type=returns, argument_types=takes, minimum_arguments=least or len(takes))

    types = {
        "event": things["event"],
        "now": things["now"],
        "mode": kinds.STRING,
        "device": function("device", things["device"], kinds.STRING),
        "group": function("group", things["group"], kinds.STRING),
        "matches": function("matches", kinds.BOOLEAN, kinds.UNDEFINED, kinds.STRING),
        "abs": function("abs", kinds.FLOAT, kinds.UNDEFINED),
        "min": function("min", kinds.FLOAT, *([kinds.UNDEFINED] * 8), least=2),
        "max": function("max", kinds.FLOAT, *([kinds.UNDEFINED] * 8), least=2),
    }

    def context() -> Any:
        return rule_engine.Context(type_resolver=types, mapping_attribute_lookup=False, default_timezone="utc")

    return rule_engine, context
