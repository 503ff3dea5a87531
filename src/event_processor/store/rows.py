"""Outcomes as rows, and back. Pure: nothing here touches a database.

Bodies of steps are MessagePack, which keeps bytes as bytes; everything else that has no column of its own is JSON, so that
``sqlite3`` or ``psql`` show it to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.outcome import Check, Evaluation, Outcome, Scope, Step
from event_processor.domain.prompts import Prompt, Request, Scheduled
from event_processor.store.tables import PENDING
from pylib.errors import Rejected

__all__ = ["STEP_COLUMNS", "OutcomeRows", "Row", "checks_of", "event_of", "prompt_of", "rows_of", "step_of"]

Row: TypeAlias = tuple[object, ...]

STEP_COLUMNS: Final = (
    "id", "event_id", "position", "kind", "rule", "output", "address", "body", "at", "expires_at", "qos", "retain", "status",
)  # fmt: skip

_json: Final = msgspec.json.Encoder()
_pack: Final = msgspec.msgpack.Encoder()
_unpack: Final = msgspec.msgpack.Decoder()
_events: Final = msgspec.json.Decoder(Event)
_checks: Final = msgspec.json.Decoder(tuple[Check, ...])
_prompts: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    "presence": msgspec.json.Decoder(Availability),
    "request": msgspec.json.Decoder(Request),
    "schedule": msgspec.json.Decoder(Scheduled),
}


class OutcomeRows:
    """One outcome, made into rows that only lack the event's number, which comes first in each."""

    __slots__ = ("changes", "evaluations", "event", "outcome", "steps")

    def __init__(
        self,
        outcome: Outcome,
        event: Row,
        evaluations: Sequence[Row],
        steps: Sequence[Row],
        changes: Mapping[tuple[Scope, str], str | None],
    ) -> None:
        self.outcome = outcome
        self.event = event
        self.evaluations = evaluations
        self.steps = steps
        self.changes = changes


def rows_of(outcome: Outcome) -> OutcomeRows:
    """Make rows of an outcome. Raises ``Rejected`` where something in it cannot be written down."""
    event, at = outcome.event, outcome.at
    try:
        if event is not None:
            kind = event.kind if outcome.decided else "doubted"
            body = _json.encode(event).decode()
            head: Row = (outcome.cause, at, event.device, kind, event.type, event.topic, event.active, body)
        else:
            head = (outcome.cause, at, *_prompted(outcome.prompt))
        evaluations = [
            (e.rule, e.device, e.at, e.fired, e.reason, e.explanation, _json.encode(e.checks).decode())
            for e in outcome.evaluations
        ]
        steps = [
            (
                step.id, position, step.kind, step.rule, step.output, step.address, _pack.encode(step.body), step.at,
                step.expires_at, step.qos, step.retain, PENDING,
            )
            for position, step in enumerate(outcome.steps)
        ]  # fmt: skip
        changes = {(c.scope, c.key): None if c.value is None else c.value.decode() for c in outcome.changes}
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise Rejected(f"the outcome of {outcome.cause!r} cannot be written down: {error}") from error
    return OutcomeRows(outcome, head, evaluations, steps, changes)


def _prompted(prompt: Prompt | None) -> Row:
    """Device, kind, type, topic, whether active, and body of what is no event."""
    if prompt is None:
        return "", "timer", "", "", None, None
    body = _json.encode(prompt).decode()
    if isinstance(prompt, Availability):
        return prompt.entity or prompt.device, "presence", "online" if prompt.online else "offline", "", prompt.online, body
    if isinstance(prompt, Request):
        return prompt.about, "request", prompt.what, "", None, body
    return prompt.schedule, "schedule", "", "", None, body


def event_of(kind: str, body: str | None) -> Event | None:
    """The event of a row, where it is about one. Raises ``msgspec.DecodeError`` for text that is none."""
    return None if body is None or kind in _prompts else _events.decode(body)


def prompt_of(kind: str, body: str | None) -> Prompt | None:
    """What else a row is about; None for an event's and a timer's."""
    decoder = _prompts.get(kind)
    prompt: Prompt | None = None if decoder is None or body is None else decoder.decode(body)
    return prompt


def checks_of(text: str) -> tuple[Check, ...]:
    """The guards of an evaluation's row."""
    return _checks.decode(text)


def step_of(row: Any) -> Step:
    """A step of a row that has the columns of ``steps``."""
    return Step(
        id=row.id,
        kind=row.kind,
        rule=row.rule,
        output=row.output,
        address=row.address,
        body=_unpack.decode(cast(bytes, row.body)),
        at=row.at,
        expires_at=row.expires_at,
        qos=row.qos,
        retain=bool(row.retain),
    )


def evaluation_of(row: Any) -> Evaluation:
    """An evaluation of a row that has the columns of ``evaluations``."""
    return Evaluation(
        rule=row.rule,
        device=row.device,
        at=row.at,
        fired=bool(row.fired),
        reason=row.reason,
        explanation=row.explanation,
        checks=checks_of(row.checks),
    )
