"""More of what Home Assistant adds to Jinja: regular expressions, sets, lists and the rest of the arithmetic.

The documentation is that of ``template_functions``. Expressions are given the steps that are left to them: see ``sandbox``.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote_plus

from jinja2 import Undefined
from jinja2.exceptions import UndefinedError

from event_processor.discovery.template_functions import LONGEST
from event_processor.domain.regexes import Regex, compile_regex
from pylib.errors import ConfigError, DecodeError

__all__ = ["EXPRESSIONS", "MORE_FILTERS", "MORE_FUNCTIONS", "MOST_STEPS", "Pairs"]

MOST_STEPS: Final = 20_000_000
"""Characters times the steps of the expression that all matching of one run may take, about a fifth of a second."""


@lru_cache(maxsize=256)
def _compiled(written: str, *, ignore_case: bool) -> Regex:
    try:
        return compile_regex(written, ignore_case=ignore_case)
    except ConfigError as error:
        raise DecodeError(str(error)) from None


class Pairs:
    """``dict(a=1)``, ``dict(pairs)`` and ``dict.from_keys(pairs)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def from_keys(self, pairs: Iterable[Any]) -> dict[Any, Any]:
        return dict(pairs)


def _text(value: Any) -> str:
    if isinstance(value, Undefined):
        raise UndefinedError("the message does not have it")
    return str(value)


def _regex(left: list[int], text: str, find: Any, ignore_case: bool) -> Regex:
    """The expression, once what it may cost in this text has been counted."""
    compiled = _compiled(str(find), ignore_case=bool(ignore_case))
    left[0] -= len(text) * compiled.programsize
    if left[0] < 0:
        raise DecodeError("the regular expression takes too long in this text")
    return compiled


def _match(left: list[int], value: Any, find: Any = "", ignorecase: bool = False) -> bool:
    text = _text(value)
    return _regex(left, text, find, ignorecase).match(text) is not None


def _search(left: list[int], value: Any, find: Any = "", ignorecase: bool = False) -> bool:
    text = _text(value)
    return _regex(left, text, find, ignorecase).search(text) is not None


def _findall(left: list[int], value: Any, find: Any = "", ignorecase: bool = False) -> list[Any]:
    text = _text(value)
    made: list[Any] = []
    for found in _regex(left, text, find, ignorecase).finditer(text):
        groups = found.groups("")
        made.append(found.group() if not groups else groups[0] if len(groups) == 1 else groups)
    return made


def _findall_index(left: list[int], value: Any, find: Any = "", index: int = 0, ignorecase: bool = False) -> Any:
    return _findall(left, value, find, ignorecase)[index]


def _regex_replace(left: list[int], value: Any, find: Any = "", replace: Any = "", ignorecase: bool = False) -> str:
    text, put_in = _text(value), str(replace)
    made, last, length = [], 0, 0
    for found in _regex(left, text, find, ignorecase).finditer(text):
        try:
            put = found.expand(put_in)
        except (IndexError, KeyError) as error:
            raise ValueError("the replacement names a group that is not there") from error
        made += [text[last : found.start()], put]
        length += len(put)
        if length > LONGEST:
            raise ValueError("the text becomes too long")
        last = found.end()
    return "".join((*made, text[last:]))


def _combine(*values: Mapping[Any, Any], recursive: bool = False) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for value in values:
        for key, item in value.items():
            mine = made.get(key)
            both = recursive and isinstance(mine, dict) and isinstance(item, dict)
            made[key] = {**mine, **item} if both and isinstance(mine, dict) else item
    return made


def _flatten(values: Iterable[Any], levels: int | None = None) -> list[Any]:
    made: list[Any] = []
    for value in values:
        deeper = isinstance(value, (list, tuple)) and levels != 0
        made += _flatten(value, None if levels is None else levels - 1) if deeper else [value]
        if len(made) > LONGEST:
            raise ValueError("the list becomes too long")
    return made


def _clamp(value: Any, low: Any, high: Any) -> float:
    return max(float(low), min(float(high), float(value)))


def _wrap(value: Any, low: Any, high: Any) -> float:
    span = float(high) - float(low)
    return float(low) if span == 0 else (float(value) - float(low)) % span + float(low)


def _remap(value: Any, in_low: Any, in_high: Any, out_low: Any, out_high: Any, **_: Any) -> float:
    share = (float(value) - float(in_low)) / (float(in_high) - float(in_low))
    return float(out_low) + share * (float(out_high) - float(out_low))


def _ordinal(value: Any) -> str:
    number = int(value)
    word = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{word}"


def _digest(name: str) -> Callable[[Any], str]:
    return lambda value: hashlib.new(name, _text(value).encode(), usedforsecurity=False).hexdigest()


EXPRESSIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "regex_match": _match, "regex_search": _search, "regex_findall": _findall, "regex_findall_index": _findall_index,
    "regex_replace": _regex_replace, "match": _match, "search": _search,
}  # fmt: skip
"""Filters and tests (``match``, ``search``) by name, which take the steps left for regular expressions first."""

_ANGLES: Final = {name: getattr(math, name) for name in ("tan", "asin", "acos", "atan", "atan2")}

MORE_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    **_ANGLES, "urlencode": lambda value: quote_plus(_text(value)), "md5": _digest("md5"), "sha1": _digest("sha1"),
    "sha256": _digest("sha256"), "sha512": _digest("sha512"), "ordinal": _ordinal, "flatten": _flatten, "combine": _combine,
    "typeof": lambda value: type(value).__name__, "set": set, "tuple": tuple, "clamp": _clamp, "wrap": _wrap, "remap": _remap,
    "union": lambda one, other: list(set(one) | set(other)), "intersect": lambda one, other: list(set(one) & set(other)),
    "difference": lambda one, other: list(set(one) - set(other)),
    "symmetric_difference": lambda one, other: list(set(one) ^ set(other)),
    "statistical_mode": lambda values: statistics.mode(values),
}  # fmt: skip
"""Filters by name."""

MORE_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **MORE_FILTERS, "zip": lambda *lists: list(zip(*lists, strict=False)),
}  # fmt: skip
"""Functions by name."""
