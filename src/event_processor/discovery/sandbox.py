"""The sandbox that templates run in: jinja2's immutable one, and a bound on the work of one run.

A run has so many rounds of loops, so much text and so many steps of regular expressions, counted over the whole template and
not for each loop or call: what a stranger wrote may nest them as it likes. Whatever looks at a whole value (a filter, a test,
a comparison, an output) counts by the values in it, however deep they are. No clock is read, so the same message gives the
same value on every machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, ItemsView, KeysView, Mapping, ValuesView
from functools import wraps
from itertools import islice
from typing import Any, Final

from jinja2 import Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from event_processor.discovery.template_functions import (
    FILTERS,
    FUNCTIONS,
    LONGEST,
    TESTS,
    form_of_time,
    formatted,
    joined,
    replaced,
)
from event_processor.discovery.template_texts import EXPRESSIONS, MORE_FILTERS, MORE_FUNCTIONS, MOST_STEPS, Pairs
from pylib.errors import DecodeError

__all__ = ["MOST_ROUNDS", "MOST_WORK", "Bounded", "Sandbox"]

MOST_ROUNDS: Final = 5000
"""Rounds of all loops of one run of a template; a single loop has at most a fifth."""
MOST_WORK: Final = 50_000
"""Work of the filters and functions of one run: one for each, and more where it is given a long text or list."""
_MOST_IN_ONE: Final = MOST_ROUNDS // 5
_MOST_DIGITS: Final = 2**64
_WIDEST: Final = 200
_PADS: Final = ("zfill", "ljust", "rjust", "center")

_KEPT: Final = tuple(
    re.findall(
        r"\w+",
        """
    abs capitalize count d default dictsort filesizeformat first items last length list lower map max min reject rejectattr
    reverse select selectattr sort string sum title trim truncate unique upper wordcount
""",
    )
)
_MAPPED: Final = frozenset(
    (
        "float",
        "int",
        "round",
        "abs",
        "lower",
        "upper",
        "trim",
        "title",
        "capitalize",
        "string",
        "bool",
        "first",
        "last",
        "length",
    )
)
_METHODS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        lower upper title capitalize swapcase strip lstrip rstrip split rsplit splitlines partition rpartition startswith
        endswith find rfind index count isdigit isnumeric isalpha isalnum isdecimal isspace isupper islower removeprefix
        removesuffix replace join get items keys values copy isoformat timestamp date time weekday isoweekday year month day
        hour minute second microsecond total_seconds days seconds astimezone utcoffset is_integer bit_count append strftime
        zfill ljust rjust center from_keys
        """,
    )
)
_FORBIDDEN: Final = (
    nodes.Macro, nodes.CallBlock, nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Block, nodes.FilterBlock,
    nodes.AssignBlock,
)  # fmt: skip


class Bounded(NodeTransformer):
    """Refuses what has no end, and has every joining of texts checked."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, _FORBIDDEN):
            raise DecodeError(f"{type(node).__name__.lower()} is not allowed in a template")
        return super().generic_visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise DecodeError("a recursive loop is not allowed in a template")
        node.iter = nodes.Filter(node.iter, "_limited", [], [], None, None, lineno=node.lineno)
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "_concat", [], [], None, None, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _seen(node.expr)
        for operand in node.ops:
            operand.expr = _seen(operand.expr)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_seen(inner) for inner in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _seen(node.node)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _seen(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _seen(node) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _seen(node)


def _seen(node: nodes.Expr) -> nodes.Expr:
    """Have a value counted where it is used."""
    if isinstance(node, (nodes.TemplateData, nodes.Const)):
        return node
    return nodes.Filter(node, "_seen", [], [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment. ``begin`` starts the count anew before each run. Not for several threads at once."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(autoescape=False, cache_size=0, extensions=["jinja2.ext.loopcontrols"])
        self._rounds, self._work, self._steps = 0, 0, [0]
        filters: dict[str, Callable[..., Any]] = {name: JINJA_FILTERS[name] for name in _KEPT}
        filters |= dict(FILTERS) | dict(MORE_FILTERS) | {"join": _join, "map": _map, "_concat": joined}
        tests: dict[str, Callable[..., Any]] = dict(TESTS)
        for name, function in EXPRESSIONS.items():
            (tests if name in ("match", "search") else filters)[name] = self._stepped(function)
        self.filters = {name: self._counted(function) for name, function in filters.items()}
        self.filters |= {"_limited": self._limited, "_seen": self._seen}
        every: dict[str, Any] = {**self.tests, **tests}
        self.tests = {name: self._counted(function) for name, function in every.items()}
        constants = {"pi": math.pi, "e": math.e, "tau": math.tau}
        functions = dict(FUNCTIONS) | dict(MORE_FUNCTIONS) | {"range": _range, "namespace": Namespace}
        self.globals = constants | {name: self._counted(function) for name, function in functions.items()}
        self.globals["dict"] = Pairs()

    def begin(self) -> None:
        """A run starts."""
        self._rounds, self._work, self._steps[0] = MOST_ROUNDS, MOST_WORK, MOST_STEPS

    def _spend(self, *given: Any) -> None:
        self._work -= 1
        for value in given:
            if isinstance(value, str):
                self._work -= len(value) >> 8
            elif value is not None and not isinstance(value, (int, float)):
                self._work -= _size(value) >> 3
        if self._work < 0:
            raise SecurityError("the template takes too long")

    def _seen(self, value: Any) -> Any:
        self._spend(value)
        return value

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._spend(*args, *kwargs.values())
            return function(*args, **kwargs)

        return counted

    def _stepped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            return function(self._steps, *args, **kwargs)

        return stepped

    def _limited(self, items: Any) -> list[Any]:
        if isinstance(items, Undefined):
            raise UndefinedError("the message does not have it")
        made = list(islice(items, _MOST_IN_ONE + 1))
        self._rounds -= len(made)
        if len(made) > _MOST_IN_ONE or self._rounds < 0:
            raise SecurityError(f"a loop has at most {_MOST_IN_ONE} rounds, and a template {MOST_ROUNDS}")
        return made

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in _METHODS and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        # An object of a message that lacks "update" lacks it, although Python's own have a method of this name.
        return self.undefined(obj=obj, name=attribute) if attribute[:1] != "_" else super().unsafe_undefined(obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        # A field can be wider than any text may be, so jinja2's own wrapper is not enough.
        if getattr(value, "__name__", "") not in ("format", "format_map") or not isinstance(
            getattr(value, "__self__", None), str
        ):
            return None
        inner, text = super().wrap_str_format(value), value.__self__
        return None if inner is None else lambda *args, **kwargs: formatted(inner, text, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [value for value in (left, right) if isinstance(value, (str, bytes, list, tuple))]
        if sizes:
            self._spend(*sizes)
        if operator == "+":
            if sum(map(len, sizes)) > LONGEST:
                raise SecurityError("the text becomes too long")
        elif operator == "%" and isinstance(left, str):
            return FILTERS["format"](left, *(right if isinstance(right, tuple) else (right,)))
        elif sizes or any(isinstance(value, int) and abs(value) > _MOST_DIGITS for value in (left, right)):
            raise SecurityError(f"{operator} is for numbers of usual size")
        elif operator == "**" and abs(right) > 64:
            raise SecurityError("a power is at most 64")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # the names are jinja2's
        of = getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "")
        __self._spend(of, *args)
        if isinstance(of, str) and name in ("replace", "join"):
            return replaced(of, *args) if name == "replace" else joined(args[0], of)
        if name == "strftime" and args:
            return form_of_time(__obj, args[0])
        if name in _PADS and args and isinstance(args[0], int) and args[0] > _WIDEST:
            raise SecurityError(f"a text is filled up to {_WIDEST} characters at most")
        return super().call(__context, __obj, *args, **kwargs)


def _size(value: Any) -> int:
    """The values in a value, each as often as it is in there. Raises ``SecurityError`` where there are too many."""
    count, waiting = 0, [value]
    while waiting:
        found = waiting.pop()
        inner: Any = ()
        if isinstance(found, str):
            count += len(found) >> 8
        elif isinstance(found, (list, tuple, set, frozenset)):
            inner = found
        elif isinstance(found, dict):
            inner = found.values()
        elif isinstance(found, Namespace):
            inner = object.__getattribute__(found, "_Namespace__attrs").values()
        elif isinstance(found, (KeysView, ItemsView, ValuesView, range)):
            count += len(found)
        count += 1
        if count + len(waiting) + len(inner) > LONGEST:
            raise SecurityError("the value becomes too long")
        waiting.extend(inner)
    return count


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > _MOST_IN_ONE:
        raise SecurityError(f"a range has at most {_MOST_IN_ONE} steps")
    return made


@pass_context
def _map(context: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
    if args and args[0] not in _MAPPED:
        raise SecurityError(f"map is not allowed with {args[0]}")
    return JINJA_FILTERS["map"](context, value, *args, **kwargs)


def _join(value: Any, d: str = "", attribute: str | None = None) -> str:
    if isinstance(value, Undefined):
        raise UndefinedError("the message does not have it")
    if attribute is not None:
        value = [item.get(attribute, "") if isinstance(item, Mapping) else "" for item in value]
    return joined(value, str(d))
