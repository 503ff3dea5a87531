"""Value templates: Jinja in a sandbox with bounds, compiled once and shared by all entities that have the same text.

Most templates only name a part of the message (``{{ value_json.temperature }}``): these are read without Jinja. The rest runs
in the immutable sandbox, on what a stranger wrote, so beyond the sandbox: no macros, imports or nested loops; a loop, a text
and a number have a largest size; and no filter or method is left that makes much out of little.

Needs the ``hub`` extra (jinja2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, Protocol

try:
    from jinja2 import Undefined, nodes, pass_context
except ImportError as error:
    raise ImportError("Discovery reads templates with jinja2: pip install 'pylib-automation[hub]'") from error
from jinja2.environment import Template
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from event_processor.discovery.payload import Payload, as_text
from event_processor.discovery.template_functions import FILTERS, FUNCTIONS, LONGEST, TESTS, functions_at, joined, replaced
from pylib.errors import DecodeError

__all__ = ["LONGEST_TEMPLATE", "MISSING", "MOST_TEMPLATES", "Extractor", "Raw", "Templates"]

LONGEST_TEMPLATE: Final = 8192
"""Characters of one template."""
MOST_TEMPLATES: Final = 5000
"""Different templates kept; an entity with one more is left out."""
_MOST_ROUNDS: Final = 1000
_MOST_DIGITS: Final = 2**64

MISSING: Final = object()
"""The message does not have this value: many topics carry several, and not always all."""

_PLACE: Final = re.compile(
    r"""\{\{-?\s*value_json((?:\.[A-Za-z_]\w*|\[\s*'[^'\\]*'\s*\]|\[\s*"[^"\\]*"\s*\]|\[\s*\d{1,4}\s*\])+)\s*-?\}\}"""
)
_STEP: Final = re.compile(r"""\.([A-Za-z_]\w*)|\[\s*'([^']*)'\s*\]|\[\s*"([^"]*)"\s*\]|\[\s*(\d+)\s*\]""")
_KEPT: Final = tuple(
    re.findall(
        r"\w+",
        """
    abs capitalize count d default dictsort first items last length list lower map max min reject rejectattr reverse select
    selectattr sort string sum title trim truncate unique upper wordcount
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
        hour minute second microsecond total_seconds days seconds astimezone utcoffset is_integer bit_count append
        """,
    )
)
_FORBIDDEN: Final = (
    nodes.Macro, nodes.CallBlock, nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Block, nodes.FilterBlock,
    nodes.AssignBlock,
)  # fmt: skip


class Extractor(Protocol):
    """Reads one value out of a message."""

    def of(self, payload: Payload) -> object:
        """Return the value, or ``MISSING``. Raises ``DecodeError`` where the message is not of the expected form."""
        ...  # pragma: no cover


class Raw:
    """The payload as it stands."""

    __slots__ = ()

    def of(self, payload: Payload) -> object:
        return payload.text


class _Path:
    """A part of a JSON object."""

    __slots__ = ("_steps",)

    def __init__(self, steps: tuple[str | int, ...]) -> None:
        self._steps = steps

    def of(self, payload: Payload) -> object:
        found: Any = payload.json
        for step in self._steps:
            if isinstance(found, dict):
                found = found.get(step, MISSING)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return MISSING
        return found


class _Rendered:
    """A template that Jinja has to run."""

    __slots__ = ("_json", "_template")

    def __init__(self, template: Template, json: bool) -> None:
        self._template, self._json = template, json

    def of(self, payload: Payload) -> object:
        known = functions_at(payload.now) | {"value": payload.text}
        if self._json:
            found = payload.json_or_none()
            if found is None and payload.text.strip() != "null":
                raise DecodeError("the payload is not JSON")
            known["value_json"] = found  # type: ignore[assignment]
        made = _run(self._template, known)
        return MISSING if made == "" else made


class _Bounded(NodeTransformer):
    """Refuses what has no end, and has every joining of texts checked."""

    def __init__(self) -> None:
        self._loops = 0

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, _FORBIDDEN):
            raise DecodeError(f"{type(node).__name__.lower()} is not allowed in a template")
        return super().generic_visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if self._loops or node.recursive:
            raise DecodeError("a loop within a loop is not allowed in a template")
        self._loops += 1
        node.iter = nodes.Filter(node.iter, "_limited", [], [], None, None, lineno=node.lineno)
        made = self.generic_visit(node)
        self._loops -= 1
        return made

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "_concat", [], [], None, None, lineno=node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(autoescape=False, cache_size=0)
        self.filters = {name: JINJA_FILTERS[name] for name in _KEPT}
        self.filters |= dict(FILTERS) | {"join": _join, "map": _map, "_concat": joined, "_limited": _limited}
        self.tests |= dict(TESTS)
        self.globals = dict(FUNCTIONS) | {"range": _range, "dict": dict, "namespace": self.globals["namespace"]}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in _METHODS and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [value for value in (left, right) if isinstance(value, (str, bytes, list, tuple))]
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
        if isinstance(of, str) and name in ("replace", "join"):
            return replaced(of, *args) if name == "replace" else joined(args[0], of)
        return super().call(__context, __obj, *args, **kwargs)


class Templates:
    """All templates in use, by their text. Not for several threads at once."""

    __slots__ = ("_compiled", "_extractors", "_mappings", "_sandbox")

    def __init__(self) -> None:
        self._sandbox = _Sandbox()
        self._compiled: dict[str, Template] = {}
        self._extractors: dict[str, Extractor] = {"": Raw()}
        self._mappings: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self._extractors)

    def extractor(self, text: str) -> Extractor:
        """Return what reads a value as this template says; the same object for the same text. No text is the payload itself.

        Raises ``DecodeError`` for a template that cannot be read or is not allowed.
        """
        found = self._extractors.get(text)
        if found is None:
            place = _PLACE.fullmatch(text.strip()) if len(text) <= LONGEST_TEMPLATE else None
            if place is not None:
                steps = (step.groups() for step in _STEP.finditer(place[1]))
                found = self.path(*(int(number) if number else dot or one or two or "" for dot, one, two, number in steps))
            elif "{" not in text:
                raise DecodeError("the template has no {{ }}")
            else:
                found = _Rendered(self._template(text), "value_json" in text)
            if len(self._extractors) >= MOST_TEMPLATES:
                raise DecodeError(f"there are {MOST_TEMPLATES} different templates already")
            self._extractors[text] = found
        return found

    def path(self, *steps: str | int) -> Extractor:
        """Return what reads a part of a JSON object, by its steps."""
        return self.shared("\0".join(map(repr, steps)), lambda: _Path(steps))

    def shared(self, name: str, make: Callable[[], Extractor]) -> Extractor:
        """Return the extractor of this name, made where it is not there yet: entities that read alike share one."""
        name = f"\0{name}"
        found = self._extractors.get(name)
        if found is None:
            if len(self._extractors) >= MOST_TEMPLATES:
                raise DecodeError(f"there are {MOST_TEMPLATES} different templates already")
            found = self._extractors[name] = make()
        return found

    def mapping(self, made: Mapping[str, str]) -> Mapping[str, str]:
        """Return the one mapping that is equal to this one: most switches are told the same two words."""
        words = tuple(made.items())
        if len(self._mappings) >= MOST_TEMPLATES:
            return made
        return self._mappings.setdefault(words, made)

    def command(self, text: str, known: Mapping[str, object], now: float) -> str:
        """Make the payload of a command. Raises ``DecodeError`` where the template cannot be read or fails."""
        return _run(self._template(text), functions_at(now) | dict(known))

    def _template(self, text: str) -> Template:
        found = self._compiled.get(text)
        if found is None:
            if len(text) > LONGEST_TEMPLATE:
                raise DecodeError(f"a template has at most {LONGEST_TEMPLATE} characters, this one has {len(text)}")
            if len(self._compiled) >= MOST_TEMPLATES:
                raise DecodeError(f"there are {MOST_TEMPLATES} different templates already")
            try:
                tree = _Bounded().visit(self._sandbox.parse(text))
                found = self._sandbox.from_string(tree)
            except TemplateError as error:
                raise DecodeError(f"the template cannot be read: {error}") from None
            except (RecursionError, SyntaxError, ValueError, TypeError, MemoryError):
                raise DecodeError("the template cannot be read") from None
            self._compiled[text] = found
        return found


def _run(template: Template, known: Mapping[str, Any]) -> str:
    """Render within bounds. ``""`` where the message has no such value. Raises ``DecodeError`` where it fails."""
    made: list[str] = []
    length = 0
    try:
        for part in template.generate(known):
            made.append(part)
            length += len(part)
            if length > LONGEST or len(made) > 10 * _MOST_ROUNDS:
                raise DecodeError("the template makes too much text")
    except UndefinedError:
        return ""
    except DecodeError:
        raise
    except Exception as error:  # a filter may raise anything for what a device sends
        raise DecodeError(f"the template fails: {as_text(error)[:200]}") from None
    return "".join(made).strip()


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > _MOST_ROUNDS:
        raise SecurityError(f"a range has at most {_MOST_ROUNDS} steps")
    return made


def _limited(items: Any) -> list[Any]:
    if isinstance(items, Undefined):
        raise UndefinedError("the message does not have it")
    made = list(islice(items, _MOST_ROUNDS + 1))
    if len(made) > _MOST_ROUNDS:
        raise SecurityError(f"a loop has at most {_MOST_ROUNDS} rounds")
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
        value = [item.get(attribute, "") if isinstance(item, dict) else "" for item in value]
    return joined(value, str(d))
