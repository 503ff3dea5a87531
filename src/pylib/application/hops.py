"""Handlers as hops of a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pylib.application.results import awaited
from pylib.brokers.port import Delivery
from pylib.runtime.hops import Hops

__all__ = ["traced"]


def traced(hops: Hops, who: str, call: Callable[[Delivery], Any], *, is_async: bool) -> Callable[[Delivery], Any]:
    """The handler, each call of it a hop. An ``async`` one finds its trace in the delivery: it has no thread of its own."""
    if not is_async:
        return hops.around(who, call)

    async def run(delivery: Delivery) -> list[Any]:
        with hops.hop(who, delivery.headers):
            return await awaited(call(delivery))

    return run
