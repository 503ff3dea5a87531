"""Memory given back to the system.

Python frees what a queue held, but the C library keeps freed pieces for the next allocation: after a large queue has drained,
its process stays as large as it ever was. glibc gives pages back when it is asked to.
"""

from __future__ import annotations

import ctypes

__all__ = ["give_back"]


def give_back() -> bool:
    """Ask the C library to return what is free to the system: some milliseconds. False where there is no way to ask."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return bool(trim(0))
