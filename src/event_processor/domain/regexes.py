"""Regular expressions that a stranger wrote, in RE2: their time grows with text times expression, never faster.

Python's own ``re`` tries again and again: an expression of twenty characters can keep it busy for years. What RE2 has no bound
for, looking ahead or behind and references back to a group, it refuses (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from pylib.errors import ConfigError

__all__ = ["LONGEST_REGEX", "Found", "Regex", "compile_regex"]

LONGEST_REGEX: Final = 500
"""Characters of a regular expression."""
_MOST_MEMORY: Final = 1 << 20


class Found(Protocol):
    """A match, as ``re`` has them."""

    def start(self) -> int: ...  # pragma: no cover
    def end(self) -> int: ...  # pragma: no cover
    def group(self, which: int = 0) -> str | None: ...  # pragma: no cover
    def groups(self, default: str = "") -> tuple[str, ...]: ...  # pragma: no cover
    def expand(self, template: str) -> str: ...  # pragma: no cover


class Regex(Protocol):
    """A compiled expression, with what is used of those of ``re``, and how many steps its program has."""

    @property
    def groupindex(self) -> Mapping[str, int]: ...  # pragma: no cover
    @property
    def groups(self) -> int: ...  # pragma: no cover
    @property
    def programsize(self) -> int: ...  # pragma: no cover
    def match(self, text: str) -> Found | None: ...  # pragma: no cover
    def search(self, text: str) -> Found | None: ...  # pragma: no cover
    def finditer(self, text: str) -> Iterator[Found]: ...  # pragma: no cover


def compile_regex(written: str, *, ignore_case: bool = False) -> Regex:
    """Compile an expression. Raises ``ConfigError`` for one that RE2 refuses, and where RE2 is not installed."""
    try:
        import re2
    except ImportError:
        raise ConfigError("regular expressions need google-re2: pip install 'pylib-automation[hub]'") from None
    if len(written) > LONGEST_REGEX:
        raise ConfigError(f"a regular expression has at most {LONGEST_REGEX} characters, this one has {len(written)}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    options.case_sensitive = not ignore_case
    try:
        compiled: Regex = re2.compile(written, options)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        raise ConfigError(f"the regular expression {written!r} is none of RE2 ({why})") from None
    return compiled
