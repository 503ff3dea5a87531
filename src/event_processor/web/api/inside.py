"""How the hub itself is, for the API: the wiring, its health, a thread's stack, the level of its log, a backup."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

import msgspec
from starlette.responses import Response, StreamingResponse

from event_processor.store.backup import backup
from event_processor.web.api.fields import Name
from event_processor.web.api.router import Call, Empty, Operation
from event_processor.web.context import HubContext
from event_processor.web.problems import ProblemError
from pylib.errors import ConfigError
from pylib.observe.health import Health
from pylib.runtime.wiring import Wiring

__all__ = ["OPERATIONS", "Level", "log_level", "send_backup", "set_log_level"]

CHUNK: Final = 256 * 1024
"""Bytes of a backup sent at a time."""

Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Me(msgspec.Struct, frozen=True):
    """Who asks, and what this login may do."""

    name: str
    role: str


class LevelOut(msgspec.Struct, frozen=True):
    level: str


class LevelIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Level


class Stack(msgspec.Struct, frozen=True):
    thread: str
    stack: str


class ByThread(msgspec.Struct, frozen=True):
    thread: Name


def log_level() -> str:
    """The level of the log."""
    return logging.getLevelName(logging.getLogger().level)


def set_log_level(level: Level) -> str:
    """Set the level of the log until the next start."""
    logging.getLogger().setLevel(level)
    return log_level()


def make_backup(database: str, folder: Path) -> BinaryIO:
    """Write a backup into ``folder``; it is gone from there already, and ends when the file that is returned is closed.
    Blocks."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=folder) as own:
        target = Path(own) / "hub.zip"
        backup(database, target)
        return target.open("rb")


async def send_backup(context: HubContext) -> Response:
    """A backup as a download. Raises ``ProblemError`` 503 where the store cannot be read."""
    try:
        file = await context.read(make_backup, context.database, context.folder)
    except ConfigError as error:
        raise ProblemError(503, str(error)) from None
    name = f"hub-{datetime.fromtimestamp(context.now(), UTC):%Y%m%d-%H%M%S}.zip"

    async def chunks() -> AsyncIterator[bytes]:
        with file:
            while chunk := await context.read(file.read, CHUNK):
                yield chunk

    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks(), media_type="application/zip", headers=headers)


async def me(call: Call[Empty, None]) -> Me:
    return Me(call.user.name, call.user.role)


async def wiring(call: Call[Empty, None]) -> Wiring:
    return call.context.wiring()


async def health(call: Call[Empty, None]) -> Health:
    return call.context.health()


async def stack(call: Call[ByThread, None]) -> Stack:
    found = call.context.stack(call.params.thread)
    if found is None:
        raise ProblemError(404, "There is no such thread.")
    return Stack(call.params.thread, found)


async def level(call: Call[Empty, None]) -> LevelOut:
    return LevelOut(log_level())


async def put_level(call: Call[Empty, LevelIn]) -> LevelOut:
    call.record("log.level", call.body.level)
    return LevelOut(set_log_level(call.body.level))


async def download(call: Call[Empty, None]) -> Response:
    """Everything that is stored, also the hashes of passwords: for an admin, and written down."""
    return await send_backup(call.context)


OPERATIONS: Final = (
    Operation(name="me", method="GET", path="/me", role="viewer", handler=me, answer=Me, tag="hub", summary="Who asks"),
    Operation(name="wiring", method="GET", path="/wiring", role="viewer", handler=wiring, answer=Wiring, tag="hub",
              summary="The running application: threads, pipes, connections"),
    Operation(name="health", method="GET", path="/health", role="viewer", handler=health, answer=Health, tag="hub",
              summary="Whether the hub does its work, and what does not, since when"),
    Operation(name="stack", method="GET", path="/wiring/{thread:path}/stack", role="admin", handler=stack, params=ByThread,
              answer=Stack, tag="hub", summary="Where a thread is right now"),
    Operation(name="log.level.get", method="GET", path="/log-level", role="admin", handler=level, answer=LevelOut, tag="hub",
              summary="The level of the hub's log"),
    Operation(name="log.level", method="PUT", path="/log-level", role="admin", handler=put_level, body=LevelIn,
              answer=LevelOut, tag="hub", summary="Set the level of the hub's log until its next start"),
    Operation(name="backup", method="POST", path="/backup", role="admin", handler=download, media="application/zip",
              secret=True, tag="hub", summary="Everything that is stored, in one file"),
)  # fmt: skip
