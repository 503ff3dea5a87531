"""Dead letters: where they go, and the ``x-death`` header that tells their history, as RabbitMQ writes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pylib.embedded.amqp.broker.message import Message
from pylib.embedded.amqp.wire.tables import Field, Table

if TYPE_CHECKING:
    from pylib.embedded.amqp.broker.agenda import Agenda
    from pylib.embedded.amqp.broker.queue import Queue

__all__ = ["DeadLetters", "dead_letter", "header_routes", "is_cycle"]

#: Dead letters that are published before the other clients have their turn.
AT_ONCE = 200


def header_routes(headers: Table | None) -> tuple[str, ...]:
    """The further routing keys in CC and BCC. Raises ValueError with (header, type) when one is no array."""
    if not headers:
        return ()
    keys: list[str] = []
    for name in ("CC", "BCC"):
        field = headers.get(name)
        if field is None:
            continue
        kind, values = field
        if kind != "A" or not isinstance(values, list):
            raise ValueError(name, kind)
        keys.extend(str(value) for type_, value in values if type_ == "S")
    return tuple(keys)


def dead_letter(message: Message, queue: str, reason: str, exchange: str, key: str | None, seconds: int) -> Message:
    """The message as it is published again: ``x-death`` brought up to date, its expiration taken out."""
    headers: Table = dict(message.headers or {})
    try:
        routes = header_routes(headers)
    except ValueError:
        routes = ()
    keys: list[Field] = [("S", route) for route in (message.routing_keys[0], *routes)]
    death: Table = {
        "reason": ("S", reason),
        "queue": ("S", queue),
        "time": ("T", seconds),
        "exchange": ("S", message.exchange),
        "routing-keys": ("A", keys),
    }
    if message.properties.expiration is not None:
        death["original-expiration"] = ("S", message.properties.expiration)
    _add_death(headers, death)
    if key is not None:
        headers.pop("CC", None)
    properties = message.properties.with_headers(headers, keep_expiration=False)
    return Message(exchange, message.routing_keys if key is None else (key,), properties, message.body)


def _add_death(headers: Table, death: Table) -> None:
    deaths = _deaths(headers)
    current: Table = {"count": ("l", 1)} | death
    others: list[Table] = []
    if deaths is not None:
        which = _cause(death)
        for each in _grouped(deaths):
            if _cause(each) == which:
                # The entry stays as it is, but for its count: the time is that of the first such death.
                count = _value(each, "count")
                current = each | {"count": ("l", count + 1 if isinstance(count, int) else 1)}
            else:
                others.append(each)
        current = dict(sorted(current.items()))
    elif "x-death" not in headers:
        for what in ("reason", "queue", "exchange"):
            headers[f"x-first-death-{what}"] = death[what]
    headers["x-death"] = ("A", [("F", each) for each in (current, *others)])
    # RabbitMQ keeps a table in order once it has touched it.
    in_order = sorted(headers.items())
    headers.clear()
    headers.update(in_order)


def _grouped(deaths: list[Table]) -> list[Table]:
    """One entry for each queue and reason; more than one entry comes out the other way round, as from RabbitMQ."""
    if len(deaths) < 2:
        return deaths
    counts: dict[tuple[object, object], int] = {}
    for each in deaths:
        counts[_cause(each)] = counts.get(_cause(each), 0) + 1
    grouped: dict[tuple[object, object], Table] = {}
    for each in deaths:
        grouped.setdefault(_cause(each), {"count": ("l", counts[_cause(each)])} | each)
    return list(reversed(grouped.values()))


def _cause(death: Table) -> tuple[object, object]:
    return _value(death, "queue"), _value(death, "reason")


def is_cycle(queue: str, headers: Table | None) -> bool:
    """Whether a message that died has been in this queue already with no rejection on the way round."""
    for death in _deaths(headers or {}) or ():
        if _value(death, "reason") == "rejected":
            return False
        if _value(death, "queue") == queue:
            return True
    return False


def _deaths(headers: Table) -> list[Table] | None:
    kind, values = headers.get("x-death", ("V", None))
    if kind != "A" or not isinstance(values, list):
        return None
    return [value for type_, value in values if type_ == "F" and isinstance(value, dict)]


def _value(table: Table, key: str) -> object:
    return table.get(key, ("V", None))[1]


class DeadLetters:
    """Published one after the other, never within each other: a chain of queues is no depth of calls.

    After ``AT_ONCE`` of them the others have their turn: the rest is put on the agenda.
    """

    __slots__ = ("_agenda", "_busy", "_publish", "_waiting")

    def __init__(self, publish: Callable[[Queue, Message, str], None], agenda: Agenda) -> None:
        self._publish = publish
        self._agenda = agenda
        self._waiting: deque[tuple[Queue, Message, str]] = deque()
        self._busy = False

    def add(self, queue: Queue, message: Message, reason: str) -> None:
        self._waiting.append((queue, message, reason))
        if not self._busy:
            self._work()

    def _work(self) -> None:
        self._busy = True
        try:
            for _ in range(AT_ONCE):
                if not self._waiting:
                    break
                self._publish(*self._waiting.popleft())
        finally:
            self._busy = bool(self._waiting)
        if self._waiting:
            self._agenda.at(self._agenda.now(), self._work)
