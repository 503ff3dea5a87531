"""Patterns over names: ``*`` stands for any characters, ``?`` for one; compared without regard to case.

Matched in time linear in the pattern's stars times the name's length: no pattern that a person writes can stall the hub.
"""

from __future__ import annotations

__all__ = ["is_pattern", "name_matches"]


def is_pattern(written: str) -> bool:
    """Say whether ``written`` has wildcards."""
    return "*" in written or "?" in written


def name_matches(pattern: str, name: str) -> bool:
    """Match a name against a pattern, both in lower case already. Never backtracks further than to the last star."""
    at = mark = 0
    star = -1
    position = 0
    while position < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[position]):
            at += 1
            position += 1
        elif star >= 0:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    return pattern[at:].strip("*") == ""
