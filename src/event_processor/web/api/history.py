"""What happened, for the API: events and their explanation, evaluations, steps, notifications, pictures."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from starlette.responses import FileResponse, Response

from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.outcome import Evaluation
from event_processor.domain.prompts import Request, Scheduled
from event_processor.domain.records import ImageRecord, NotificationRecord
from event_processor.store.reader import StoredEvaluation, StoredEvent, StoredStep
from event_processor.web.api.fields import After, Limit, Name, Time, cursor
from event_processor.web.api.router import Call, Operation
from event_processor.web.problems import ProblemError
from pylib.errors import Rejected

__all__ = ["OPERATIONS", "EvaluationOut", "EventOut", "event_out"]


class EventOut(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the hub decided on. ``event`` is what was reported; ``about`` says in words what else it was."""

    id: int
    cause: str
    at: float
    kind: str
    event: Event | None
    about: str = ""


class EvaluationOut(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule concluded, and why or why not. Without a ``rule`` it answers a person's request."""

    id: int
    event_id: int
    evaluation: Evaluation


class StepOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was to be done, and what became of it."""

    id: str
    kind: str
    rule: str
    output: str
    address: str
    at: float
    expires_at: float
    status: str
    settled_at: float | None
    reason: str | None


class Events(msgspec.Struct, frozen=True):
    items: tuple[EventOut, ...]
    next: str | None = None


class Evaluations(msgspec.Struct, frozen=True):
    items: tuple[EvaluationOut, ...]
    next: str | None = None


class Steps(msgspec.Struct, frozen=True):
    items: tuple[StepOut, ...]


class Explained(msgspec.Struct, frozen=True):
    """All there is about one cause."""

    event: EventOut
    evaluations: tuple[EvaluationOut, ...]
    steps: tuple[StepOut, ...]


class Notifications(msgspec.Struct, frozen=True):
    items: tuple[NotificationRecord, ...]


class Snapshots(msgspec.Struct, frozen=True):
    """Pictures; ``next`` is the moment before which the next page is."""

    items: tuple[ImageRecord, ...]
    next: float | None = None


class EventsAsked(msgspec.Struct, frozen=True, kw_only=True):
    device: str | None = None
    type: str | None = None
    kind: str | None = None
    text: str | None = None
    since: Time | None = None
    until: Time | None = None
    after: After | None = None
    limit: Limit = 100


class EvaluationsAsked(msgspec.Struct, frozen=True, kw_only=True):
    rule: str | None = None
    device: str | None = None
    fired: bool | None = None
    since: Time | None = None
    until: Time | None = None
    after: After | None = None
    limit: Limit = 100


class StepsAsked(msgspec.Struct, frozen=True, kw_only=True):
    output: str | None = None
    status: Literal["pending", "done", "failed", "expired"] | None = None
    since: Time | None = None
    limit: Limit = 100


class NotificationsAsked(msgspec.Struct, frozen=True, kw_only=True):
    step: str | None = None
    limit: Limit = 100


class SnapshotsAsked(msgspec.Struct, frozen=True, kw_only=True):
    device: str | None = None
    before: Time | None = None
    limit: Limit = 100


class ByCause(msgspec.Struct, frozen=True):
    cause: Name


class ByPicture(msgspec.Struct, frozen=True):
    name: Name


def event_out(stored: StoredEvent) -> EventOut:
    """An event as the API shows it."""
    prompt = stored.prompt
    about = ""
    if isinstance(prompt, Availability):
        about = f"{prompt.entity or prompt.device} {'is there' if prompt.online else 'is gone'}"
    elif isinstance(prompt, Request):
        about = f"{prompt.who or 'Somebody'} asked for {prompt.what} {prompt.about}".rstrip()
    elif isinstance(prompt, Scheduled):
        about = f"schedule {prompt.schedule} was due"
    return EventOut(id=stored.id, cause=stored.cause, at=stored.at, kind=stored.kind, event=stored.event, about=about)


def _evaluation(stored: StoredEvaluation) -> EvaluationOut:
    return EvaluationOut(id=stored.id, event_id=stored.event_id, evaluation=stored.evaluation)


def _step(stored: StoredStep) -> StepOut:
    step = stored.step  # its body may hold what is for the output alone
    return StepOut(
        id=step.id,
        kind=step.kind,
        rule=step.rule,
        output=step.output,
        address=step.address,
        at=step.at,
        expires_at=step.expires_at,
        status=stored.status,
        settled_at=stored.settled_at,
        reason=stored.reason,
    )


async def events(call: Call[EventsAsked, None]) -> Events:
    asked, context = call.params, call.context
    page = await context.read(
        context.reader.events,
        device=asked.device,
        type=asked.type,
        kind=asked.kind,
        text=asked.text,
        since=asked.since,
        until=asked.until,
        after=cursor(asked.after),
        limit=asked.limit,
    )
    return Events(tuple(map(event_out, page.rows)), None if page.next is None else str(page.next))


async def event(call: Call[ByCause, None]) -> Explained:
    context = call.context
    found = await context.read(context.reader.explain, call.params.cause)
    if found is None:
        raise ProblemError(404, "There is no such event, or it was forgotten by its age.")
    return Explained(event_out(found.event), tuple(map(_evaluation, found.evaluations)), tuple(map(_step, found.steps)))


async def evaluations(call: Call[EvaluationsAsked, None]) -> Evaluations:
    asked, context = call.params, call.context
    page = await context.read(
        context.reader.evaluations,
        rule=asked.rule,
        device=asked.device,
        fired=asked.fired,
        since=asked.since,
        until=asked.until,
        after=cursor(asked.after),
        limit=asked.limit,
    )
    return Evaluations(tuple(map(_evaluation, page.rows)), None if page.next is None else str(page.next))


async def steps(call: Call[StepsAsked, None]) -> Steps:
    asked, context = call.params, call.context
    found = await context.read(
        context.reader.steps, output=asked.output, status=asked.status, since=asked.since, limit=asked.limit
    )
    return Steps(tuple(map(_step, found)))


async def notifications(call: Call[NotificationsAsked, None]) -> Notifications:
    context = call.context
    found = await context.read(context.series.notifications, step=call.params.step, limit=call.params.limit)
    return Notifications(found)


async def snapshots(call: Call[SnapshotsAsked, None]) -> Snapshots:
    asked, context = call.params, call.context
    found = await context.read(context.series.images, device=asked.device, before=asked.before, limit=asked.limit)
    return Snapshots(found, found[-1].at if len(found) == asked.limit else None)


async def snapshot(call: Call[ByPicture, None]) -> Response:
    try:
        path = call.context.images.path_of(call.params.name)
    except (Rejected, ValueError):
        raise ProblemError(404, "There is no such picture.") from None
    kind = {".jpg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp"}[path.suffix]
    if not await call.context.read(path.is_file):
        raise ProblemError(404, "There is no such picture.")
    return FileResponse(path, media_type=kind, headers={"cache-control": "private, max-age=86400, immutable"})


OPERATIONS: Final = (
    Operation(name="events", method="GET", path="/events", role="viewer", handler=events, params=EventsAsked, answer=Events,
              tag="history", summary="What happened, the latest first"),
    Operation(name="event", method="GET", path="/events/{cause:path}", role="viewer", handler=event, params=ByCause,
              answer=Explained, tag="history", summary="What happened, what each rule concluded, and what was done"),
    Operation(name="evaluations", method="GET", path="/evaluations", role="viewer", handler=evaluations,
              params=EvaluationsAsked, answer=Evaluations, tag="history", summary="What rules concluded, and why"),
    Operation(name="steps", method="GET", path="/steps", role="viewer", handler=steps, params=StepsAsked, answer=Steps,
              tag="history", summary="What was to be done, and what became of it"),
    Operation(name="notifications", method="GET", path="/notifications", role="viewer", handler=notifications,
              params=NotificationsAsked, answer=Notifications, tag="history", summary="What people were told"),
    Operation(name="snapshots", method="GET", path="/snapshots", role="viewer", handler=snapshots, params=SnapshotsAsked,
              answer=Snapshots, tag="history", summary="Pictures, the latest first"),
    Operation(name="snapshot", method="GET", path="/snapshots/{name:path}", role="viewer", handler=snapshot,
              params=ByPicture, media="image/*", tag="history", summary="One picture"),
)  # fmt: skip
