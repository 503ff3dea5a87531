"""Sections of ``app.conf`` that look like the hub's and are not: a misspelt one would be passed over without a word.

Other sections are none of the hub's business: applications may keep theirs in the same file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["misspelt"]

#: Those that the hub reads; a colon at the end stands for a name of the user's.
SECTIONS: Final = (
    "rabbitmq", "mqtt", "hub", "web", "links", "type_links", "output:", "meter:", "mapping:", "schedule:", "notify:"
)  # fmt: skip


def misspelt(sections: Iterable[str]) -> Iterator[str]:
    """Say of each section that is nearly one of the hub's which one may have been meant.

    :param sections: the names of all sections of the file.
    """
    for section in sections:
        kind, colon, name = section.partition(":")
        if kind + colon in SECTIONS:
            continue
        known = [each.rstrip(":") for each in SECTIONS]
        if near := difflib.get_close_matches(kind.strip().lower(), known, 1, 0.79):
            named = f"{near[0]}:{name.strip() or 'NAME'}" if f"{near[0]}:" in SECTIONS else near[0]
            yield f"nothing reads the section [{section}]: did you mean [{named}]?"
