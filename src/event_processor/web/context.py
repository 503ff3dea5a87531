"""What pages and the API may use of the hub, in one object: read the store, see the state, ask, follow what happens.

Everything is used on the web's loop. What blocks (the database, files) runs on a few threads of its own: ``await
context.read(call, ...)``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from event_processor.domain.heard import Request
from event_processor.domain.outcome import Evaluation, Outcome
from event_processor.settings import HubSettings
from event_processor.store.errors import StoreUnavailable, say
from event_processor.store.images import ImageFolder
from event_processor.store.reader import Reader
from event_processor.store.series import Series
from event_processor.store.writer import StoreHealth, StoreWriter
from event_processor.web.live import Live
from event_processor.web.mirror import Mirror
from event_processor.web.problems import ProblemError
from event_processor.web.rulefile import Rules
from event_processor.web.schedulefile import Schedules
from pylib.brokers.identity import new_id
from pylib.delivery.sqlite import StoreBroken
from pylib.errors import PylibError
from pylib.observe.health import Health, Problem, health
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import Wiring, snapshot, stack

__all__ = ["HubContext"]

T = TypeVar("T")
P = ParamSpec("P")

ANSWER_WITHIN: Final = 5.0
"""Seconds in which the hub has to answer what it is asked."""

READERS: Final = 4
"""Threads that read the database and files for pages; what is more waits its turn."""


class HubContext:
    """The hub as the web sees it. Made by the composition root, opened and closed by the web's thread.

    ``settings``  what ``app.conf`` says
    ``reader``, ``series``   the store, for ``read``
    ``mirror``    devices, entities, values, modes, switches: no waiting
    ``live``      what happens, as it happens
    ``rules``     the file of rules: read, check, change
    ``schedules`` the schedules of ``app.conf`` and those of their file: read, check, change
    ``images``    the pictures' files
    ``letters``   where the dead letters are
    ``folder``    the state folder

    :param ask: the processor's, from any thread.
    :param problems: what else than threads and connections is wrong.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: HubSettings,
        *,
        ask: Callable[[Request], Future[Evaluation]],
        writer: StoreWriter,
        reader: Reader,
        mirror: Mirror,
        rules: Rules,
        schedules: Schedules,
        images: ImageFolder,
        problems: Callable[[], list[Problem]],
        folder: Path,
        letters: Path,
    ) -> None:
        self.runtime = runtime
        self.settings = settings
        self.reader = reader
        self.series = Series(reader)
        self.mirror = mirror
        self.rules = rules
        self.schedules = schedules
        self.images = images
        self.folder = folder
        self.letters = letters
        self.live = Live(self.wiring)
        self.problems = problems
        self._writer = writer
        self._ask = ask
        self._threads: ThreadPoolExecutor | None = None
        writer.on_stored = self._stored

    # -- by the server -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """On the web's thread, within its loop: be ready for requests."""
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="web-reader")
        self.live.open(asyncio.get_running_loop())

    def close(self) -> None:
        """On the web's thread: end every stream, and wait for nobody."""
        self.live.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = None

    # -- reading -----------------------------------------------------------------------------------------------------

    async def read(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Make a call that blocks, such as one of ``reader``, away from the loop.

        :raises ProblemError: 503 where the store or a file cannot be used just now.
        """
        if self._threads is None:
            raise ProblemError(503, "The hub is stopping.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **named))
        except (StoreUnavailable, StoreBroken, OSError) as error:
            raise ProblemError(503, str(error), retry_after=5) from error
        except OverflowError as error:
            raise ProblemError(400, "A number is too large.") from error

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Have the store's writer run ``work`` in a transaction of its own: accounts, sessions, the audit.

        :raises ProblemError: 503 where the store cannot be written just now. What ``work`` raises itself goes through.
        """
        future: Future[T] = self._writer.submit(work)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            # What has begun goes on.
            raise ProblemError(503, "The store does not answer.", retry_after=5, changed=not future.cancel()) from None
        except SQLAlchemyError as error:
            raise ProblemError(503, f"The store cannot be written: {say(error)}", retry_after=5) from error
        except StoreUnavailable as error:
            raise ProblemError(503, str(error), retry_after=5) from error

    # -- asking ------------------------------------------------------------------------------------------------------

    async def ask(self, what: str, about: str = "", value: object = None, *, who: str, ident: str = "") -> Evaluation:
        """Ask the hub to do something (``domain.requests`` lists what), and wait until what became of it is stored.

        ``ident`` names the request: asked again with the same one, nothing is done again and the first answer is given.
        ``Evaluation.fired`` says whether it was done and ``explanation`` why or why not.

        :raises ProblemError: 503 while the hub does not run, 504 when it did not answer in time.
        """
        cause = ident or new_id()
        request = Request(id=cause, at=self.now(), what=what, who=who, about=about, value=value)
        stored = self.live.expect(cause)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                done = await asyncio.wrap_future(self._ask(request))
                await asyncio.shield(stored)
                return done
        except TimeoutError:
            raise ProblemError(504, "The hub has not answered in time. Ask again with the same key.", changed=True) from None
        except PylibError as error:
            known = await self.read(self.reader.explain, cause)
            found = [each.evaluation for each in known.evaluations if each.evaluation.rule == ""] if known else []
            if not found:
                raise ProblemError(503, f"The hub cannot be asked just now: {error}.", retry_after=1) from None
            return found[0]
        finally:
            self.live.forget(cause)

    async def reload(self, text: str, *, known: str | None) -> None:
        """Save other rules and go by them from now on.

        :raises ProblemError: 412 when the file is no longer the one with the version ``known``, 422 with everything that is
            wrong with the text, 503 when the hub did not answer.
        """
        going = await self.read(self.rules.save, text, known)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await asyncio.shield(asyncio.wrap_future(going))  # that nobody waits any more does not undo it
        except (TimeoutError, PylibError):
            text = "The rules are saved, but the hub has not said yet that it goes by them."
            raise ProblemError(503, text, changed=True) from None

    async def reschedule(self, change: Callable[[], Future[None]]) -> None:
        """Change the schedules by a call of ``schedules``, and wait until the hub goes by them.

        :raises ProblemError: what the call raises; 503 when the hub did not answer.
        """
        going = await self.read(change)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await asyncio.shield(asyncio.wrap_future(going))  # that nobody waits any more does not undo it
        except (TimeoutError, PylibError):
            text = "The schedules are saved, but the hub has not said yet that it goes by them."
            raise ProblemError(503, text, changed=True) from None

    # -- how the hub is ----------------------------------------------------------------------------------------------

    def wiring(self) -> Wiring:
        """The drawing of the running application."""
        return snapshot(self.runtime)

    def health(self) -> Health:
        """Whether it does its work, and what does not."""
        return health(self.wiring(), self.problems())

    def stack(self, thread: str) -> str | None:
        """Where a thread is right now, or None where there is none of that name."""
        return stack(self.runtime, thread)

    def store(self) -> StoreHealth:
        """How the store is."""
        return self._writer.health()

    @property
    def database(self) -> str:
        """The address of the store, for a backup. It may hold a password: never show it."""
        return self.reader.url.render_as_string(hide_password=False)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.runtime.clock.time()

    def _stored(self, outcomes: list[Outcome]) -> None:
        self.mirror.tell(outcomes)
        self.live.tell(outcomes)
