"""Objects that cross a pipe as they are: immutable ones need no copy, and a pickle is the larger part of what a pipe costs.

A class says that its objects never change, with ``travels_by_reference = True``. Whoever takes such an object from an
``inproc`` pipe gets the very object that was sent. All others are pickled, so that no two threads share what may change.
"""

from __future__ import annotations

import itertools
import pickle
from typing import Any, Final

__all__ = ["Handover"]

# A pickle of protocol 2 and later begins with b"\x80".
_HANDED: Final = b"\x00ref"
_LENGTH: Final = len(_HANDED) + 8


class Handover:
    """The objects that are under way in one runtime. Each is put once and taken once; any thread may do either.

    What was put and is never taken (a pipe that was closed with messages in it) stays until the runtime is gone, which bounds
    it by what the pipes hold; ``discard`` takes a frame back that was not sent.
    """

    __slots__ = ("_ids", "_under_way")

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._under_way: dict[int, object] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def freeze(self, obj: object, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
        """The frame that stands for an object. Raises what pickling it raises."""
        if getattr(type(obj), "travels_by_reference", False):
            ident = next(self._ids)
            self._under_way[ident] = obj
            return _HANDED + ident.to_bytes(8, "little")
        return pickle.dumps(obj, protocol)

    def thaw(self, frame: bytes) -> Any:
        """The object that a frame stands for; what follows it in the frame is ignored. Raises what unpickling raises."""
        if frame[:4] == _HANDED:
            return self._under_way.pop(int.from_bytes(frame[4:_LENGTH], "little"))
        return pickle.loads(frame)

    def discard(self, frame: bytes) -> None:
        """Forget what a frame stands for that nobody will take."""
        if frame[:4] == _HANDED:
            self._under_way.pop(int.from_bytes(frame[4:_LENGTH], "little"), None)
