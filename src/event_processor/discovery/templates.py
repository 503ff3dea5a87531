"""Value templates: Jinja in a sandbox with bounds, compiled once and shared by all entities that have the same text.

Most templates only name a part of the message (``{{ value_json.temperature }}``): these are read without Jinja. The rest runs
in the immutable sandbox, on what a stranger wrote, so beyond the sandbox: no macros or imports; loops, texts and numbers have
a largest size; and no filter or method is left that makes much out of little (see ``sandbox``).

Needs the ``hub`` extra (jinja2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

try:
    from jinja2.environment import Template
except ImportError as error:
    raise ImportError("Discovery reads templates with jinja2: pip install 'pylib-automation[hub]'") from error
from jinja2.exceptions import TemplateError, UndefinedError

from event_processor.discovery.payload import Payload, as_text
from event_processor.discovery.sandbox import MOST_ROUNDS, Bounded, Sandbox
from event_processor.discovery.template_functions import LONGEST, functions_at
from pylib.errors import DecodeError

__all__ = ["LONGEST_TEMPLATE", "MISSING", "MOST_TEMPLATES", "Extractor", "Raw", "Templates"]

LONGEST_TEMPLATE: Final = 8192
"""Characters of one template."""
MOST_TEMPLATES: Final = 5000
"""Different templates kept; an entity with one more is left out."""
MISSING: Final = object()
"""The message does not have this value: many topics carry several, and not always all."""

_PLACE: Final = re.compile(
    r"""\{\{-?\s*value_json((?:\.[A-Za-z_]\w*|\[\s*'[^'\\]*'\s*\]|\[\s*"[^"\\]*"\s*\]|\[\s*\d{1,4}\s*\])+)\s*-?\}\}"""
)
_STEP: Final = re.compile(r"""\.([A-Za-z_]\w*)|\[\s*'([^']*)'\s*\]|\[\s*"([^"]*)"\s*\]|\[\s*(\d+)\s*\]""")


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
        known: dict[str, object] = {**functions_at(payload.now), "value": payload.text}
        plain = False
        if self._json:
            found = payload.json_or_none()
            plain = found is None and payload.text.strip() != "null"
            if not plain:  # otherwise it is undefined, which a template may ask
                known["value_json"] = found
        made = _run(self._template, known)
        if made == "" and plain:
            raise DecodeError("the payload is not JSON")
        return MISSING if made == "" else made


class Templates:
    """All templates in use, by their text. Not for several threads at once."""

    __slots__ = ("_compiled", "_extractors", "_mappings", "_sandbox")

    def __init__(self) -> None:
        self._sandbox = Sandbox()
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
                tree = Bounded().visit(self._sandbox.parse(text))
                found = self._sandbox.from_string(tree)
            except TemplateError as error:
                raise DecodeError(f"the template cannot be read: {str(error).rstrip('.')}") from None
            except (RecursionError, SyntaxError, ValueError, TypeError, MemoryError):
                raise DecodeError("the template cannot be read") from None
            self._compiled[text] = found
        return found


def _run(template: Template, known: Mapping[str, Any]) -> str:
    """Render within bounds. ``""`` where the message has no such value. Raises ``DecodeError`` where it fails."""
    made: list[str] = []
    length = 0
    environment = template.environment
    if isinstance(environment, Sandbox):
        environment.begin()
    try:
        for part in template.generate(known):
            made.append(part)
            length += len(part)
            if length > LONGEST or len(made) > 2 * MOST_ROUNDS:
                raise DecodeError("the template makes too much text")
    except UndefinedError:
        return ""
    except DecodeError:
        raise
    except Exception as error:  # a filter may raise anything for what a device sends
        raise DecodeError(f"the template fails: {as_text(error)[:200]}") from None
    return "".join(made).strip()
