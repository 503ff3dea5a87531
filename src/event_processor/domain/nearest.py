"""What somebody may have meant by a name that nothing has. Pure: for every sentence that says "there is no such ..."."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question to hang on a sentence, such as ``": did you mean kitchen window?"``; nothing where no name is near.

    :param names: what there is, as it is written; compared without regard to case.
    """
    written = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), written, 1, 0.75)
    return f": did you mean {written[near[0]]}?" if near else ""
