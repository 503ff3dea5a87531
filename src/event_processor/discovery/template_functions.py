"""The filters, tests and functions that Home Assistant adds to Jinja, as far as a device's templates use them.

What they do follows the documentation (https://www.home-assistant.io/docs/configuration/templating/). All are pure apart from
``now``, which is the arrival of the message, and none makes a result much larger than what it is given.
"""

from __future__ import annotations

import base64
import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from jinja2 import Undefined
from jinja2.exceptions import UndefinedError

__all__ = ["FILTERS", "FUNCTIONS", "LONGEST", "TESTS", "form_of_time", "formatted", "functions_at", "joined", "replaced"]

LONGEST: Final = 64 * 1024
"""Characters that any text made by a template may have."""

_NONE: Final = object()
_WIDE: Final = re.compile(r"%[^a-zA-Z%]*(\d{3,}|\*)")
_TRUE: Final = {"true", "yes", "on", "enable", "1"}
_FALSE: Final = {"false", "no", "off", "disable", "0"}


def _given(value: object) -> None:
    """An undefined value means that the message does not have it, which is no error."""
    if isinstance(value, Undefined):
        raise UndefinedError("the message does not have it")


def _number(convert: Callable[[Any], Any], value: Any, default: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        if default is not _NONE:
            return default
        _given(value)
        raise ValueError("expected a number") from None


def _float(value: Any, default: Any = _NONE) -> Any:
    return _number(float, value, default)


def _int(value: Any, default: Any = _NONE, base: int = 10) -> Any:
    def convert(given: Any) -> int:
        if isinstance(given, str) and base != 10:
            return int(given, base)
        return int(given) if not isinstance(given, str) else int(float(given)) if not given.strip().isdigit() else int(given)

    return _number(convert, value, default)


def _round(value: Any, precision: int = 0, method: str = "common", default: Any = _NONE) -> Any:
    def convert(given: Any) -> Any:
        number, digits = float(given), max(-20, min(20, int(precision)))
        scale = 10.0**digits
        if method == "ceil":
            number = math.ceil(number * scale) / scale
        elif method == "floor":
            number = math.floor(number * scale) / scale
        elif method == "half":
            number = round(number * 2) / 2
        else:
            number = round(number, digits)
        return int(number) if digits <= 0 and method != "half" else number

    return _number(convert, value, default)


def _bool(value: Any, default: Any = _NONE) -> Any:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if isinstance(value, (int, float)):
        return value != 0
    if default is not _NONE:
        return default
    _given(value)
    raise ValueError("expected true or false")


def _iif(value: Any, if_true: Any = True, if_false: Any = False, if_none: Any = _NONE) -> Any:
    if value is None and if_none is not _NONE:
        return if_none
    return if_true if bool(value) else if_false


def _is_defined(value: Any) -> Any:
    _given(value)
    return value


def _from_json(value: Any, default: Any = _NONE) -> Any:
    try:
        if len(value) > LONGEST:
            raise ValueError("too long")
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        if default is not _NONE:
            return default
        _given(value)
        raise ValueError("expected JSON") from None


def _to_json(value: Any, *_: Any, **__: Any) -> str:
    _given(value)
    return json.dumps(value, default=str)


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", value.strip())):
        return datetime.fromtimestamp(float(value), UTC)
    made = datetime.fromisoformat(str(value))
    return made if made.tzinfo is not None else made.replace(tzinfo=UTC)


def _as_timestamp(value: Any, default: Any = _NONE) -> Any:
    return _number(lambda given: _moment(given).timestamp(), value, default)


def _as_datetime(value: Any, default: Any = _NONE) -> Any:
    return _number(_moment, value, default)


def _as_local(value: datetime) -> datetime:
    return _moment(value).astimezone()


def _timestamp_custom(value: Any, form: str = "%Y-%m-%d %H:%M:%S", local: bool = True, default: Any = _NONE) -> Any:
    def convert(given: Any) -> str:
        moment = datetime.fromtimestamp(float(given), UTC)
        return form_of_time((moment.astimezone() if local else moment).strftime, form)

    return _number(convert, value, default)


def form_of_time(strftime: Callable[[str], str], form: Any) -> str:
    """Write a moment within bounds."""
    if not isinstance(form, str) or len(form) > 100 or re.search(r"%[^a-zA-Z%]*\d", form):
        raise ValueError("the format is too long")
    return strftime(form)


def _timestamp_local(value: Any, default: Any = _NONE) -> Any:
    return _number(lambda given: datetime.fromtimestamp(float(given), UTC).astimezone().isoformat(), value, default)


def _timestamp_utc(value: Any, default: Any = _NONE) -> Any:
    return _number(lambda given: datetime.fromtimestamp(float(given), UTC).isoformat(), value, default)


def _strptime(value: str, form: str, default: Any = _NONE) -> Any:
    # Without a zone where the text has none: that is what Home Assistant gives.
    return _number(lambda given: datetime.strptime(str(given)[:200], form[:100]), value, default)  # noqa: DTZ007


def _log(value: Any, base: Any = math.e, default: Any = _NONE) -> Any:
    return _number(lambda given: math.log(float(given), float(base)), value, default)


def _format(form: Any, *args: Any) -> str:
    text = str(form)
    if len(text) > 200 or _WIDE.search(text):
        raise ValueError("a format may be 200 characters long, and its fields 99 wide")
    made = text % args
    if len(made) > LONGEST:
        raise ValueError("the text becomes too long")
    return made


def formatted(make: Callable[..., str], form: str, *args: Any, **kwargs: Any) -> str:
    """Fill in the fields of ``"{:.1f}".format(...)`` within bounds."""
    if len(form) > 200 or re.search(r"\d{3,}|\{[^{}]*\{", form):
        raise ValueError("a format may be 200 characters long, and its fields 99 wide")
    made = make(*args, **kwargs)
    if len(made) > LONGEST:
        raise ValueError("the text becomes too long")
    return made


def replaced(text: str, old: str, new: str, count: int = -1) -> str:
    """Replace within bounds."""
    times = text.count(old) if old else len(text) + 1
    if len(text) + times * len(new) > LONGEST:
        raise ValueError("the text becomes too long")
    return text.replace(old, new, count)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    _given(value)
    return replaced(str(value), str(old), str(new), -1 if count is None else count)


def joined(parts: Iterable[Any], between: str = "") -> str:
    """Join within bounds."""
    made: list[str] = []
    length = 0
    for part in parts:
        made.append(str(part))
        length += len(made[-1]) + len(between)
        if length > LONGEST:
            raise ValueError("the text becomes too long")
    return between.join(made)


def _slugify(value: Any, separator: str = "_") -> str:
    return re.sub(r"[^a-z0-9]+", separator[:1], str(value).lower()).strip(separator[:1])


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _of(function: Callable[[float], float]) -> Callable[..., Any]:
    return lambda value, default=_NONE: _number(lambda given: function(float(given)), value, default)


def _timedelta(**parts: Any) -> timedelta:
    return timedelta(**{name: float(part) for name, part in parts.items()})


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "float": _float, "int": _int, "round": _round, "bool": _bool, "iif": _iif, "is_defined": _is_defined,
    "from_json": _from_json, "to_json": _to_json, "tojson": _to_json, "as_timestamp": _as_timestamp,
    "as_datetime": _as_datetime, "as_local": _as_local, "timestamp_custom": _timestamp_custom,
    "timestamp_local": _timestamp_local, "timestamp_utc": _timestamp_utc, "log": _log, "format": _format,
    "replace": _replace, "slugify": _slugify, "is_number": _is_number, "ord": lambda text: ord(str(text)[:1]),
    "multiply": lambda value, by, default=_NONE: _number(lambda given: float(given) * float(by), value, default),
    "add": lambda value, by, default=_NONE: _number(lambda given: float(given) + float(by), value, default),
    "bitwise_and": lambda value, other: int(value) & int(other), "bitwise_or": lambda value, other: int(value) | int(other),
    "bitwise_xor": lambda value, other: int(value) ^ int(other), "average": lambda values: statistics.fmean(values),
    "median": lambda values: statistics.median(values), "sqrt": _of(math.sqrt), "sin": _of(math.sin), "cos": _of(math.cos),
    "base64_encode": lambda text: base64.b64encode(str(text).encode()).decode(),
    "base64_decode": lambda text: base64.b64decode(str(text)).decode(), "contains": lambda items, item: item in items,
}  # fmt: skip
"""Filters by name."""

TESTS: Final[Mapping[str, Callable[..., bool]]] = {
    "is_number": _is_number, "contains": lambda items, item: item in items, "list": lambda value: isinstance(value, list),
    "datetime": lambda value: isinstance(value, datetime), "string_like": lambda value: isinstance(value, str),
}  # fmt: skip
"""Tests by name."""

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "float": _float, "int": _int, "bool": _bool, "iif": _iif, "is_number": _is_number, "as_timestamp": _as_timestamp,
    "as_datetime": _as_datetime, "as_local": _as_local, "strptime": _strptime, "timedelta": _timedelta, "log": _log,
    "sqrt": _of(math.sqrt), "sin": _of(math.sin), "cos": _of(math.cos), "slugify": _slugify,
    "average": lambda *values: statistics.fmean(values[0] if len(values) == 1 else values),
    "max": lambda *values: max(values[0] if len(values) == 1 else values),
    "min": lambda *values: min(values[0] if len(values) == 1 else values),
}  # fmt: skip
"""Functions by name."""


def functions_at(now: float) -> dict[str, Callable[..., datetime]]:
    """The functions that tell the time: that of the message, so that the same message gives the same value."""
    moment = datetime.fromtimestamp(now, UTC)
    return {
        "now": lambda: moment.astimezone(),
        "utcnow": lambda: moment,
        "today_at": lambda clock="00:00": datetime.combine(moment.astimezone().date(), time.fromisoformat(clock)).astimezone(),
    }
