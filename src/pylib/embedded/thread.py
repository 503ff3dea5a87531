"""A server on an asyncio loop of its own, in a thread that an ordinary program starts and closes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, Self, TypeVar

from pylib.errors import ShutdownTimeout
from pylib.runtime.member import STOP, Member, RestartPolicy, Role, stack_of
from pylib.runtime.runtime import Runtime

__all__ = ["ServerThread", "Service"]

log = logging.getLogger("pylib.embedded")

T = TypeVar("T")

#: Seconds that a server may take until it listens, and until it has ended.
START_DEADLINE = 10.0
CLOSE_DEADLINE = 2.0


class Service(Protocol):
    """What runs in the thread. Both are called on the thread's loop."""

    async def open(self) -> int:
        """Listen, and return the port. What it raises is raised by ``ServerThread.start``."""

    async def shut(self) -> None:
        """Stop listening and let the clients go, at once. Called once after an ``open`` that returned."""


class ServerThread:
    """Runs a service: ``start()`` returns when it listens, ``close()`` when its thread has ended.

    name     of the thread, for logs and stacks
    runtime  whose application this server belongs to: its death then stops that application (or follows ``restart``), and
             the runtime closes it after the last stage of its own stop, so that bridges can still settle. None: it stands
             alone, its death is logged, and whoever started it closes it.

    Any thread may call any method; ``start`` and ``close`` may be called again, to no effect.
    """

    def __init__(self, service: Service, name: str, *, runtime: Runtime | None = None, restart: RestartPolicy = STOP) -> None:
        self._service = service
        self._name = name
        self._runtime = runtime
        self._restart = restart
        self._lock = threading.Lock()
        self._member: Member | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._closing = False
        self._listening: Future[int] = Future()

    @property
    def port(self) -> int:
        """The port it listens on, 0 before ``start``."""
        done = self._listening.done() and self._listening.exception() is None
        return self._listening.result() if done else 0

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> Self:
        """Start the thread and return when the service listens. Raises what ``Service.open`` raised."""
        with self._lock:
            if self._thread is None and not self._closing:
                self._member = Member(self._name, role=Role.BRIDGE, policy=self._restart)
                self._thread = threading.Thread(target=self._live, name=self._name, daemon=True)
                self._member.thread = self._thread
                self._thread.start()
                if self._runtime is not None:
                    self._runtime.on_stopped(self.close)
        try:
            self._listening.result(START_DEADLINE)
        except TimeoutError:
            raise ShutdownTimeout(
                f"{self._name} was not listening after {START_DEADLINE:g} s\n{stack_of(self._thread)}"
            ) from None
        return self

    def post(self, call: Callable[[], object]) -> bool:
        """Have a call made soon on the server's loop. False, and nothing happens, when it does not run."""
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has been closed in the meantime
            return False
        return True

    def call(self, call: Callable[[], T], timeout: float = CLOSE_DEADLINE) -> T:
        """Make a call on the server's loop and return its result. Raises RuntimeError when the server does not run."""
        if threading.current_thread() is self._thread:
            return call()
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(call())
            except BaseException as error:
                result.set_exception(error)

        if not self.post(run):
            raise RuntimeError(f"{self._name} is not running: start() it first")
        return result.result(timeout)

    def close(self) -> None:
        """End the service and its thread. Raises ShutdownTimeout, with its stack, when the thread does not end."""
        with self._lock:
            self._closing = True
            thread, member = self._thread, self._member
        if thread is None or member is None:
            return
        member.gate.open()
        self.post(self._ask_to_stop)
        if thread is threading.current_thread():
            return
        thread.join(CLOSE_DEADLINE)
        if thread.is_alive():
            raise ShutdownTimeout(f"{self._name} did not end within {CLOSE_DEADLINE:g} s\n{stack_of(thread)}")
        member.gate.close()  # whoever keeps the closed server keeps no descriptor

    # -- on the thread -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        member = self._member
        if member is None:
            return
        try:
            if self._runtime is not None:
                self._runtime.supervisor.live(member, self._run)
            else:
                self._run()
        except Exception as error:
            log.error("%s died: %s: %s", self._name, type(error).__name__, error, exc_info=error)
        finally:
            if not self._listening.done():
                self._listening.set_exception(ShutdownTimeout(f"{self._name} was closed before it listened"))

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        finally:
            self._loop = self._stop = None

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complain)
        self._stop = asyncio.Event()
        try:
            port = await self._service.open()
        except Exception as error:
            if self._listening.done():  # a restart: the supervisor counts it
                raise
            self._listening.set_exception(error)
            if self._member is not None:
                self._member.gate.open()  # told to the caller of start(): no reason to stop the application
            return
        self._loop = loop
        try:
            if not self._listening.done():
                self._listening.set_result(port)
            if self._closing:
                return
            await self._stop.wait()
        finally:
            await self._service.shut()

    def _ask_to_stop(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """One connection's accident is one line in the log, never the server's end."""
        error = context.get("exception")
        log.error("%s: %s", self._name, context.get("message", error), exc_info=error)
