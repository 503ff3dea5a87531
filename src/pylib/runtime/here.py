"""What the running thread is: which member of which runtime, and which deliveries it is handling."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylib.runtime.member import Member
    from pylib.runtime.receipts import Receipt
    from pylib.runtime.runtime import Runtime

__all__ = ["CURRENT", "HERE", "Here"]


class Here(threading.local):
    """Per-thread facts that the sockets consult on every message, hence plain attributes and no look-ups."""

    member: Member | None = None
    # The receipts of the message (or, while holding, messages) that this thread is working on.
    receipts: tuple[Receipt, ...] = ()
    holding: bool = False


HERE = Here()
CURRENT: ContextVar[Runtime | None] = ContextVar("pylib_runtime", default=None)
