"""Somebody who wants to hear of every hop of a message: a tracer. What a runtime without one pays is a look at None.

The trace of a message hangs on its receipt, which travels with it anyway: not a byte more crosses a pipe. At the edges it is
a header (``traceparent``, W3C Trace Context): a user property of MQTT 5, an entry in the header table of AMQP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from pylib.runtime.receipts import Receipt

__all__ = ["Held", "Hops"]

Headers: TypeAlias = Mapping[str, Any]


class Held(Protocol):
    """What waits for the outcome of a message that was sent: a receipt, or a span that ends with it."""

    def release(self) -> None:
        """It was accepted."""

    def fail(self, error: BaseException) -> None:
        """It was not."""


class Hops(Protocol):
    """Set as ``runtime.receipts.hops`` before threads start. Any thread may call it; nothing of it raises or blocks."""

    def arrived(self, who: str, broker: str, address: str, headers: Headers | None) -> Headers:
        """A delivery came from a broker. Gives its headers with the trace in them, a new one where it came without."""

    def carry(self, receipt: Receipt, headers: Headers | None) -> None:
        """Hang the trace that these headers name on a receipt."""

    def inherit(self, receipt: Receipt, receipts: tuple[Receipt, ...]) -> None:
        """Hang the trace of the first of these receipts on another one."""

    def hop(
        self, who: str, headers: Headers | None = None, receipts: tuple[Receipt, ...] | None = None
    ) -> AbstractContextManager[None]:
        """Around the handling of a message: the one with these receipts, by default those that the calling thread handles,
        or else with these headers."""

    def around(self, who: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, each call of it a hop. A generator is read to its end within the hop."""

    def taking(self, who: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a function that takes its message by itself, so that it is known afterwards only."""

    def leaving(
        self, who: str, broker: str, address: str, headers: Headers | None, receipts: tuple[Receipt, ...]
    ) -> tuple[Headers, Held]:
        """A message goes to a broker: its headers with the trace in them, and whom to tell its outcome."""
