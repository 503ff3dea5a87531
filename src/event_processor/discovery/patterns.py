"""Regular expressions that a stranger wrote: matched in a time that grows with text times pattern, never faster.

Python's own ``re`` tries again and again: a pattern of twenty characters can keep it busy for years. Here a pattern becomes a
list of steps, and no step is tried twice at the same place of the text, so that the first match found is that of ``re`` and
the work has a bound. Groups, named ones too, alternatives, classes, anchors and all repetitions are there; what looks ahead or
behind, and what refers back to a group, is refused. The parts for a single character are left to ``re``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from pylib.errors import DecodeError

__all__ = ["LONGEST_PATTERN", "MOST_STEPS", "Match", "Pattern"]

LONGEST_PATTERN: Final = 500
"""Characters of a regular expression."""
MOST_STEPS: Final = 200_000
"""Steps that all matching in one text may take, about a tenth of a second."""
_MOST_PARTS: Final = 2000
_MOST_REPEATS: Final = 1000
_ENDLESS: Final = -1

_COUNT: Final = re.compile(r"\{(\d{1,4})?(,)?(\d{1,4})?\}")
_GROUP: Final = re.compile(r"\?(?:P<([A-Za-z_]\w{0,30})>|(:))")
_CLASS: Final = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[dDwWsS]|[^\w\s]|[nrtfva])")
_PLACES: Final = {"^": "^", "$": "$", "\\b": "b", "\\B": "B", "\\A": "^", "\\Z": "Z"}


class _Step(NamedTuple):
    """``what``: one character, either of two ways, go on elsewhere, remember the place, stand at a place, done."""

    what: str
    one: re.Pattern[str] | None = None
    first: int = 0
    second: int = 0


class Match(NamedTuple):
    """Where it is, and where its groups are; ``(-1, -1)`` is a group that took no part."""

    start: int
    end: int
    groups: tuple[tuple[int, int], ...]


class Pattern:
    """A compiled pattern. Raises ``DecodeError`` for one that cannot be read or is not supported."""

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        if len(text) > LONGEST_PATTERN:
            raise DecodeError(f"a regular expression has at most {LONGEST_PATTERN} characters")
        self._text, self._at, self._flags = text, 0, re.DOTALL if not ignore_case else re.DOTALL | re.IGNORECASE
        if text.startswith("(?i)"):
            self._at, self._flags = 4, self._flags | re.IGNORECASE
        self._steps: list[_Step] = []
        self.groups: list[str] = []
        self._either()
        if self._at < len(text):
            raise DecodeError("the regular expression has a ) too many")
        self._add(_Step("done"))

    # ------------------------------------------------------------------------------------------------------------ reading

    def _add(self, step: _Step) -> int:
        if len(self._steps) >= _MOST_PARTS:
            raise DecodeError("the regular expression has too many parts")
        self._steps.append(step)
        return len(self._steps) - 1

    def _either(self) -> None:
        start, ends = len(self._steps), []
        self._row()
        while self._at < len(self._text) and self._text[self._at] == "|":
            self._at += 1
            self._insert(start)
            ends.append(self._add(_Step("go")))
            self._steps[start] = _Step("or", None, start + 1, len(self._steps))
            start = len(self._steps)
            self._row()
        for end in ends:
            self._steps[end] = _Step("go", None, len(self._steps))

    def _insert(self, at: int) -> None:
        """Make room for one step: what comes after moves on by one."""
        self._add(_Step("go"))
        moved = [self._moved(step, at, 1) for step in self._steps[at:-1]]
        self._steps[at:] = [_Step("go"), *moved]

    @staticmethod
    def _moved(step: _Step, at: int, by: int) -> _Step:
        if step.what not in ("or", "go"):
            return step
        return step._replace(
            first=step.first + by if step.first >= at else step.first,
            second=step.second + by if step.second >= at else step.second,
        )

    def _row(self) -> None:
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            start = len(self._steps)
            place = self._atom()
            least, most, greedy = self._repeats()
            if (least, most) != (1, 1):
                if place:
                    raise DecodeError("the regular expression repeats a place")
                self._repeat(start, least, most, greedy=greedy)

    def _repeats(self) -> tuple[int, int, bool]:
        least, most = 1, 1
        sign = self._text[self._at : self._at + 1]
        counted = _COUNT.match(self._text, self._at) if sign == "{" else None
        if sign and sign in "*+?":
            least, most = {"*": (0, _ENDLESS), "+": (1, _ENDLESS), "?": (0, 1)}[sign]
            self._at += 1
        elif counted is not None and (counted[1] or counted[3]):
            least = int(counted[1] or 0)
            most = int(counted[3]) if counted[3] else _ENDLESS if counted[2] else least
            self._at = counted.end()
        else:
            return 1, 1, True
        if max(least, most) > _MOST_REPEATS or most not in (_ENDLESS, *range(least, _MOST_REPEATS + 1)):
            raise DecodeError("the regular expression repeats too often")
        lazy = self._text[self._at : self._at + 1] == "?"
        self._at += lazy
        if self._text[self._at : self._at + 1] in ("*", "+", "?"):
            raise DecodeError("the regular expression repeats a repetition")
        return least, most, not lazy

    def _repeat(self, start: int, least: int, most: int, *, greedy: bool) -> None:
        body = self._steps[start:]
        del self._steps[start:]

        def again() -> None:
            by = len(self._steps) - start
            for step in body:
                self._add(self._moved(step, start, by))

        def fork(into: int, past: int) -> _Step:
            return _Step("or", None, into, past) if greedy else _Step("or", None, past, into)

        for _ in range(least):
            again()
        if most == _ENDLESS:
            here = self._add(_Step("or"))
            again()
            self._add(_Step("go", None, here))
            self._steps[here] = fork(here + 1, len(self._steps))
            return
        forks = []
        for _ in range(most - least):
            forks.append(self._add(_Step("or")))
            again()
        for here in forks:
            self._steps[here] = fork(here + 1, len(self._steps))

    def _atom(self) -> bool:
        """Read one part; return whether it is a place rather than a character."""
        sign = self._text[self._at]
        pair = self._text[self._at : self._at + 2]
        if pair in _PLACES or sign in "^$":
            word = pair if pair in _PLACES else sign
            self._at += len(word)
            self._add(_Step(f"at {_PLACES[word]}"))
            return True
        if sign == "(":
            self._group()
            return False
        if sign in "*+?":
            raise DecodeError("the regular expression repeats nothing")
        found = _CLASS.match(self._text, self._at) if sign == "[" else _ESCAPE.match(self._text, self._at)
        if sign in "[\\":
            if found is None:
                raise DecodeError("the regular expression has a part that is not supported")
            token = found[0]
        else:
            token = re.escape(sign) if sign != "." else "[^\n]"
        self._at += len(token) if sign in "[\\" else 1
        try:
            self._add(_Step("one", re.compile(token, self._flags)))
        except re.error:
            raise DecodeError("the regular expression cannot be read") from None
        return False

    def _group(self) -> None:
        self._at += 1
        named = _GROUP.match(self._text, self._at)
        if named is None and self._text[self._at : self._at + 1] == "?":
            raise DecodeError("the regular expression looks ahead or behind, or has a flag, which is not supported")
        self._at = self._at if named is None else named.end()
        kept = named is None or named[1] is not None
        number = len(self.groups)
        if kept:
            self.groups.append((named[1] or "") if named is not None else "")
            self._add(_Step("keep", None, 2 * number))
        self._either()
        if self._text[self._at : self._at + 1] != ")":
            raise DecodeError("the regular expression has a ( too many")
        self._at += 1
        if kept:
            self._add(_Step("keep", None, 2 * number + 1))

    # ----------------------------------------------------------------------------------------------------------- matching

    def find(self, text: str, *, at_start: bool = False, left: list[int] | None = None) -> Iterator[Match]:
        """All matches that do not overlap, from the left. ``at_start``: only one that begins there.

        ``left`` holds the steps that are left, to be shared by several searches; it is counted down. Raises ``DecodeError``
        where there are none left.
        """
        left = [MOST_STEPS] if left is None else left
        start = 0
        tried: set[tuple[int, int]] = set()
        while start <= len(text):
            found = self._run(text, start, tried, left)
            if found is not None:
                yield found
                tried = set()
                start = found.end if found.end > found.start else found.end + 1
            else:
                start += 1
            if at_start:
                return

    def _run(self, text: str, start: int, tried: set[tuple[int, int]], left: list[int]) -> Match | None:
        # What failed from an earlier start fails from a later one: "tried" is kept until something is found.
        steps = self._steps
        kept: tuple[int, ...] = (-1,) * (2 * len(self.groups))
        waiting: list[tuple[int, int, tuple[int, ...]]] = [(0, start, kept)]
        while waiting:
            at, place, kept = waiting.pop()
            while (at, place) not in tried:
                tried.add((at, place))
                left[0] -= 1
                if left[0] < 0:
                    raise DecodeError("the regular expression takes too long in this text")
                step = steps[at]
                if step.what == "one":
                    if place >= len(text) or step.one is None or not step.one.match(text[place]):
                        break
                    at, place = at + 1, place + 1
                elif step.what == "or":
                    waiting.append((step.second, place, kept))
                    at = step.first
                elif step.what == "go":
                    at = step.first
                elif step.what == "keep":
                    kept = (*kept[: step.first], place, *kept[step.first + 1 :])
                    at += 1
                elif step.what == "done":
                    pairs = zip(kept[::2], kept[1::2], strict=True)
                    return Match(start, place, tuple((low, high) if high >= 0 else (-1, -1) for low, high in pairs))
                elif _stands(step.what[3:], text, place):
                    at += 1
                else:
                    break
        return None


def _stands(where: str, text: str, place: int) -> bool:
    if where == "^":
        return place == 0
    if where == "$":
        return place == len(text) or (place == len(text) - 1 and text[place] == "\n")
    if where == "Z":
        return place == len(text)
    before, after = (0 <= index < len(text) and bool(re.match(r"\w", text[index])) for index in (place - 1, place))
    return (before != after) == (where == "b")
