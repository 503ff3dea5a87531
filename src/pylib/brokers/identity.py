"""Message ids, and what a message keeps when it is passed on: its id, its age, and how often it was passed on before."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any, Final

from pylib.brokers.port import Delivery, Header
from pylib.errors import Rejected

__all__ = ["forward", "new_id"]

#: Header that counts how many bridges a message has passed.
HOPS: Final = "pylib-hops"
#: A message that passed more than this is going in a circle.
MOST_HOPS: Final = 8

_run = os.urandom(6).hex()
_count = itertools.count(1)


def new_id() -> str:
    """An id that is unique among all runs of all applications, and cheap: a random part for the run, then a count."""
    return f"{_run}-{next(_count):x}"


def _after_fork() -> None:
    global _run  # a child's ids must not repeat its parent's
    _run = os.urandom(6).hex()


os.register_at_fork(after_in_child=_after_fork)


def _plain(value: object) -> Header:
    """A header's value as both brokers can carry it: AMQP tables hold bytes, times and tables too."""
    if value is None or isinstance(value, str | int | float):
        return value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def forward(delivery: Delivery, address: str, body: bytes | None = None) -> tuple[str, bytes, dict[str, Any]]:
    """A delivery as a message to another topic or routing key: ``(address, body, how)``, as the pipes out take it.

    It keeps its id, so that the receiver can tell a repetition, its moment of creation, from which its life counts, its
    expiry, and its other headers. Raises ``Rejected`` when it has been passed on more than eight times, which happens when
    two bridges face each other. MQTT 3.1.1 has no place for any of this: there a circle is not noticed.
    """
    headers: dict[str, Header] = {name: _plain(value) for name, value in delivery.headers.items()} if delivery.headers else {}
    hops = headers.get(HOPS, 0)
    try:
        hops = int(hops) + 1  # type: ignore[arg-type]  # whatever it is, int() says
    except (TypeError, ValueError):
        hops = 1
    if hops > MOST_HOPS:
        raise Rejected(f"it has been passed on {hops - 1} times: two bridges seem to face each other")
    headers[HOPS] = hops
    how: dict[str, Any] = {
        "message_id": delivery.message_id or new_id(),
        "created_at": delivery.created_at if delivery.created_at is not None else time.time(),
        "headers": headers,
    }
    if delivery.content_type is not None:
        how["content_type"] = delivery.content_type
    if delivery.expires_at is not None:
        how["expires_at"] = delivery.expires_at
    return address, delivery.body if body is None else body, how
