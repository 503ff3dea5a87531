"""The arguments of queues and consumers: checked as RabbitMQ checks them, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pylib.embedded.amqp.wire.erlang import shown
from pylib.embedded.amqp.wire.errors import fail
from pylib.embedded.amqp.wire.tables import TYPE_NAMES, Field, Table

__all__ = ["QueueOptions", "assert_equal_arguments", "assert_field", "check_consume", "consumer_priority", "queue_options"]

_INTEGERS: Final = frozenset("bBsuIilL")
#: RabbitMQ's bound on times to live: ten years, in milliseconds.
LONGEST_TTL = 315_360_000_000

_CLASSIC: Final = (
    "x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-max-length",
    "x-max-length-bytes", "x-max-priority", "x-overflow", "x-queue-mode", "x-queue-version", "x-single-active-consumer",
    "x-queue-type", "x-queue-master-locator",
)  # fmt: skip
_QUORUM: Final = (
    "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy", "x-expires", "x-max-length",
    "x-max-length-bytes", "x-max-in-memory-length", "x-max-in-memory-bytes", "x-overflow", "x-single-active-consumer",
    "x-queue-type", "x-quorum-initial-group-size", "x-delivery-limit", "x-message-ttl", "x-queue-leader-locator",
)  # fmt: skip
_STREAM: Final = (
    "x-max-length-bytes", "x-queue-type", "x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size",
    "x-queue-leader-locator",
)  # fmt: skip
_EVERY: Final = frozenset((*_CLASSIC, *_QUORUM, *_STREAM))


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What a queue's arguments ask for. Times in seconds."""

    message_ttl: float | None = None
    expires: float | None = None
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = "drop-head"
    max_priority: int | None = None
    single: bool = False
    quorum: bool = False
    delivery_limit: int | None = None


_Check = Callable[[Field, Table], str | None]


def _integer(field: Field, _: Table) -> str | None:
    kind, _value = field
    return None if kind in _INTEGERS else f'"expected integer, got {TYPE_NAMES[kind]}"'


def _natural(field: Field, table: Table) -> str | None:
    problem = _integer(field, table)
    if problem is None and isinstance(field[1], int) and field[1] < 0:
        return f"{{value_negative,{field[1]}}}"
    return problem


def _ttl(field: Field, table: Table) -> str | None:
    problem = _natural(field, table)
    if problem is None and isinstance(field[1], int) and field[1] > LONGEST_TTL:
        return f"{{value_too_large,{field[1]}}}"
    return problem


def _expires(field: Field, table: Table) -> str | None:
    return "{value_zero,0}" if field[0] in _INTEGERS and field[1] == 0 else _ttl(field, table)


def _priority(field: Field, table: Table) -> str | None:
    problem = _natural(field, table)
    if problem is None and isinstance(field[1], int) and field[1] > 255:
        return f"{{max_value_exceeded,{field[1]}}}"
    return problem


def _positive(field: Field, table: Table) -> str | None:
    return "{value_zero,0}" if field[0] in _INTEGERS and field[1] == 0 else _natural(field, table)


def _boolean(field: Field, _: Table) -> str | None:
    return None if field[0] == "t" else f"{{unacceptable_type,{TYPE_NAMES[field[0]]}}}"


def _string(field: Field, _: Table) -> str | None:
    return None if field[0] == "S" else f"{{unacceptable_type,{TYPE_NAMES[field[0]]}}}"


def _dead_letter_key(field: Field, table: Table) -> str | None:
    return _string(field, table) or (None if "x-dead-letter-exchange" in table else "routing_key_but_no_dlx_defined")


def _one_of(*allowed: str, otherwise: str) -> _Check:
    def check(field: Field, table: Table) -> str | None:
        return _string(field, table) or (None if field[1] in allowed else otherwise.format(field[1]))

    return check


def _version(field: Field, table: Table) -> str | None:
    problem = _natural(field, table)
    return problem or (None if field[1] in (1, 2) else f"\"unsupported queue version '{field[1]}'\"")


_QUEUE_TYPE: Final = _one_of("classic", "quorum", "stream", otherwise="\"unsupported queue type '{}'\"")

_CHECKS: Final[tuple[tuple[str, _Check], ...]] = (
    ("x-expires", _expires),
    ("x-message-ttl", _ttl),
    ("x-dead-letter-exchange", _string),
    ("x-dead-letter-routing-key", _dead_letter_key),
    ("x-dead-letter-strategy", _one_of("at-most-once", "at-least-once", otherwise="invalid_dlx_strategy")),
    ("x-max-length", _natural),
    ("x-max-length-bytes", _natural),
    ("x-max-in-memory-length", _natural),
    ("x-max-in-memory-bytes", _natural),
    ("x-max-priority", _priority),
    ("x-overflow", _one_of("drop-head", "reject-publish", "reject-publish-dlx", otherwise="invalid_overflow")),
    ("x-queue-mode", _one_of("default", "lazy", otherwise="\"unsupported queue mode '{}'\"")),
    ("x-queue-version", _version),
    ("x-single-active-consumer", _boolean),
    ("x-quorum-initial-group-size", _positive),
)


def queue_options(name: str, arguments: Table) -> QueueOptions:
    """Check the arguments of a new queue (``name`` as error texts show it) and say what they mean."""
    _check(name, arguments, "x-queue-type", _QUEUE_TYPE)
    kind = _text(arguments, "x-queue-type") or "classic"
    if kind == "stream":
        fail(540, f"{name}: this broker has classic and quorum queues, no streams")
    allowed = _QUORUM if kind == "quorum" else _CLASSIC
    for key, check in _CHECKS:
        if key in allowed:
            _check(name, arguments, key, check)
    for key in arguments:
        if key in _EVERY and key not in allowed:
            fail(406, f"invalid arg '{key}' for {name} of queue type rabbit_{kind}_queue")
    return QueueOptions(
        message_ttl=_seconds(arguments, "x-message-ttl"),
        expires=_seconds(arguments, "x-expires"),
        dead_letter_exchange=_text(arguments, "x-dead-letter-exchange"),
        dead_letter_key=_text(arguments, "x-dead-letter-routing-key"),
        max_length=_number(arguments, "x-max-length"),
        max_bytes=_number(arguments, "x-max-length-bytes"),
        overflow=_text(arguments, "x-overflow") or "drop-head",
        max_priority=_number(arguments, "x-max-priority"),
        single=arguments.get("x-single-active-consumer", ("t", False))[1] is True,
        quorum=kind == "quorum",
        delivery_limit=_number(arguments, "x-delivery-limit"),
    )


def check_consume(name: str, quorum: bool, arguments: Table) -> None:
    """Check the arguments of basic.consume."""
    _check(name, arguments, "x-priority", _integer)
    if not quorum:
        _check(name, arguments, "x-cancel-on-ha-failover", _boolean)
    for key in ("x-stream-offset", *(("x-cancel-on-ha-failover",) if quorum else ())):
        if key in arguments:
            fail(406, f"invalid arg '{key}' for {name} of queue type rabbit_{'quorum' if quorum else 'classic'}_queue")


def consumer_priority(arguments: Table) -> int:
    """The priority of a consumer."""
    return _number(arguments, "x-priority") or 0


def _check(name: str, arguments: Table, key: str, check: _Check) -> None:
    field = arguments.get(key)
    problem = check(field, arguments) if field is not None else None
    if problem is not None:
        fail(406, f"invalid arg '{key}' for {name}: {problem}")


def _number(arguments: Table, key: str) -> int | None:
    value = arguments.get(key, ("V", None))[1]
    return value if isinstance(value, int) else None


def _seconds(arguments: Table, key: str) -> float | None:
    value = _number(arguments, key)
    return None if value is None else value / 1000.0


def _text(arguments: Table, key: str) -> str | None:
    value = arguments.get(key, ("V", None))[1]
    return value if isinstance(value, str) else None


# -- is it declared as it was? -------------------------------------------------------------------------------------------


def assert_field(name: str, key: str, received: object, current: object) -> None:
    """Fail with 406 unless both are the same."""
    if received != current:
        fail(406, f"inequivalent arg '{key}' for {name}: received '{shown(received)}' but current is '{shown(current)}'")


def assert_equal_arguments(name: str, received: Table, current: Table, keys: tuple[str, ...]) -> None:
    """Fail with 406 unless the arguments agree in ``keys``; types of one class (the integers) are the same."""
    for key in keys:
        new, old = received.get(key), current.get(key)
        if new == old:
            continue
        if key == "x-queue-type" and {new, old} == {None, ("S", "classic")}:
            continue
        if new is not None and old is not None:
            if type(new[1]) is not type(old[1]) or new[1] != old[1]:
                fail(406, f"inequivalent arg '{key}' for {name}: received '{shown(new[1])}' but current is '{shown(old[1])}'")
            continue
        fail(406, f"inequivalent arg '{key}' for {name}: received {_whole(new)} but current is {_whole(old)}")


def equivalence_keys(quorum: bool) -> tuple[str, ...]:
    """The arguments in which two declarations of a queue have to agree."""
    return _QUORUM if quorum else _CLASSIC


def _whole(field: Field | None) -> str:
    return "none" if field is None else f"the value '{shown(field[1])}' of type '{TYPE_NAMES[field[0]]}'"
