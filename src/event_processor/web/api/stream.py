"""``/api/stream``: what happens, as it happens (server-sent events, in the form of the HTML standard)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Literal

import msgspec
from starlette.responses import Response, StreamingResponse

from event_processor.domain.events import Event
from event_processor.domain.outcome import Evaluation
from event_processor.web.api.router import Call, Operation
from event_processor.web.live import Live, News

__all__ = ["OPERATIONS"]


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome: what was reported, what rules concluded, how many steps were taken, and what is different now."""

    cause: str
    at: float
    event: Event | None
    evaluations: tuple[Evaluation, ...]
    steps: int
    changed: tuple[tuple[str, str], ...]


class StreamAsked(msgspec.Struct, frozen=True, kw_only=True):
    topic: Literal["outcomes", "wiring"] = "outcomes"


async def stream(call: Call[StreamAsked, None]) -> Response:
    follow = _follow(call.context.live, call.params.topic)
    return StreamingResponse(follow, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _follow(live: Live, topic: Literal["outcomes", "wiring"]) -> AsyncIterator[bytes]:
    yield b": you are connected\n\n"
    async with live.follow(topic) as feed:
        async for news in feed:
            yield b": still there\n\n" if news is None else news.once(f"api {topic}", _written)


def _written(news: News) -> bytes:
    parts = [b"event: lost\ndata: {}\n\n"] if news.lost else []
    if news.wiring is not None:
        parts.append(b"event: wiring\ndata: " + msgspec.json.encode(news.wiring) + b"\n\n")
    for outcome in news.outcomes:
        happening = Happening(
            cause=outcome.cause,
            at=outcome.at,
            event=outcome.event,
            evaluations=outcome.evaluations,
            steps=len(outcome.steps),
            changed=tuple((change.scope, change.key) for change in outcome.changes),
        )
        parts.append(b"event: outcome\ndata: " + msgspec.json.encode(happening) + b"\n\n")
    return b"".join(parts)


OPERATIONS: Final = (
    Operation(name="stream", method="GET", path="/stream", role="viewer", handler=stream, params=StreamAsked,
              media="text/event-stream", tag="history",
              summary="What happens, as it happens: events outcome, wiring, and lost where some were missed"),
)  # fmt: skip
