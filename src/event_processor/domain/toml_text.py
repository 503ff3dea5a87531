"""Writing TOML that reads as it was, and saying in the words of our files what a library found wrong with one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["lines_of", "place"]

_PATH: Final = re.compile(r" - at `\$(.*?)`$")


def lines_of(values: Mapping[str, object]) -> str:
    """A line ``name = value`` for each; what is ``None`` is left out."""
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in values.items() if value is not None)


def place(text: str, reference: str) -> tuple[str, str]:
    """Take the field out of msgspec's sentence, and put the sentence into the words of our files: (field, message).

    :param reference: the page that lists the fields there are.
    """
    found = _PATH.search(text)
    field = found[1].lstrip(".") if found else ""
    message = _PATH.sub("", text)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message)
    if unknown:
        return (f"{field}.{unknown[1]}" if field else unknown[1]), f"there is no such field: see {reference}"
    missing = re.fullmatch(r"Object missing required field `(.*)`", message)
    if missing:
        return (f"{field}.{missing[1]}" if field else missing[1]), "this has to be there"
    return field, message


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value!r}.0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(one, Mapping) for one in value):
            return "[\n" + "".join(f"    {_value(one)},\n" for one in value) + "]"
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(str(value))


def _text(value: str) -> str:
    """A basic string of TOML: JSON's escapes are among TOML's, but for DEL, which TOML wants escaped too."""
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
