"""The threads that ``async def`` handlers run on: one asyncio loop for all calls, one thread for each handler's pipe."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from zmq.error import Again, ContextTerminated

from pylib.app import AppThread, LoopThread
from pylib.application.brokers import share
from pylib.application.results import Outlets, awaited
from pylib.application.workers import WORKER_RESTARTS, Call, failed
from pylib.brokers.port import Delivery
from pylib.brokers.turns import OUT_OF_TURN, Turns
from pylib.errors import MessageError, ShutdownTimeout
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop
from pylib.runtime.receipts import Receipt, fail_handling, settle_handling
from pylib.zmq import Closable

__all__ = ["AsyncThread", "AsyncWorker"]

AHEAD: Final = 2
"""Deliveries taken from the pipe for each call that may be under way."""

CANCELLED: Final = 0.1
"""Seconds that cancelled calls have at a stop to end."""


class AsyncThread(AppThread):
    """The one thread with an asyncio loop, on which every ``async def`` handler runs."""

    def __init__(self) -> None:
        AppThread.__init__(self, "asyncio")
        self.loop = asyncio.new_event_loop()
        self.member.finish = self._finish

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            if pending:
                self.loop.run_until_complete(asyncio.wait(pending, timeout=CANCELLED))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            self.loop.close()

    def submit(self, call: Call, delivery: Delivery, deadline: float) -> Future[list[Any]] | None:
        """Make a call soon; any thread. None when the loop has ended."""

        async def work() -> list[Any]:
            async with asyncio.timeout(deadline):
                return await awaited(call(delivery))

        coroutine = work()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:  # closed: the application stops
            coroutine.close()
            return None

    def _finish(self, seconds: float) -> None:
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:  # closed already
            return


class _Job:
    """One delivery and the receipts that came with it."""

    __slots__ = ("delivery", "receipts")

    def __init__(self, delivery: Delivery, receipts: tuple[Receipt, ...]) -> None:
        self.delivery = delivery
        self.receipts = receipts


class AsyncWorker(LoopThread, Closable):
    """Runs an ``async def`` handler, ``lanes`` calls at a time on the asyncio thread; the messages of one key share a lane
    and keep their order. Pipes and receipts stay on this thread.

    :param order: what keeps messages in order. Must not raise.
    :param deadline: seconds after which a call is cancelled and its message fails.
    """

    def __init__(
        self, who: str, url: str, call: Call, outlets: Mapping[str, str], asyncio_thread: AsyncThread, lanes: int,
        order: Callable[[Delivery], str], deadline: float,
    ) -> None:  # fmt: skip
        AppThread.__init__(self, who, restart=WORKER_RESTARTS)
        Closable.__init__(self, connect_url=url)
        self._who = who
        self._call = call
        self._outlets = Outlets(self, outlets)
        self._asyncio = asyncio_thread
        self._order = order
        self._turns = Turns(order)
        self._deadline = deadline
        self._lanes: list[deque[_Job]] = [deque() for _ in range(lanes)]
        self._under_way = 0
        self._watching = False
        self._ending = False
        self._serving: Loop | None = None

    def arrange(self, loop: Loop) -> None:
        self._serving = loop
        self._watching = False
        self._watch()

    def drain(self, loop: Loop) -> None:
        self._ending = True
        self._take()
        if not self._under_way:
            loop.stop()

    def cleanup(self) -> None:
        """However it ended: what is not finished now is not done, and calls of this life report to nobody."""
        self._serving = None
        self._give_up()

    def _watch(self) -> None:
        if not self._watching and self._serving is not None:
            self._watching = True
            self._serving.watch(self.socket, READ, lambda mask: self._take())

    def _take(self) -> None:
        """Take as many as the lanes are meant for; the rest waits in the pipe."""
        while self._under_way < AHEAD * len(self._lanes):
            try:
                delivery, _carried = self.socket.take()
            except Again:
                return
            lane = self._lanes[share(self._order(delivery), len(self._lanes))]
            lane.append(_Job(delivery, HERE.receipts))
            HERE.receipts = ()
            self._under_way += 1
            if len(lane) == 1:
                self._begin(lane)
        if self._watching and self._serving is not None:
            self._watching = False
            self._serving.unwatch(self.socket)

    def _begin(self, lane: deque[_Job]) -> None:
        """Call the handler for the first of a lane that is not refused."""
        while self._turns.held and lane and self._turns.refuses(lane[0].delivery):
            HERE.receipts = lane.popleft().receipts
            self._under_way -= 1
            fail_handling(OUT_OF_TURN)
        if not lane:
            return
        loop, job = self._serving, lane[0]
        future = self._asyncio.submit(self._call, job.delivery, self._deadline)
        if future is None or loop is None:
            self._give_up()
        else:
            future.add_done_callback(lambda done: loop.post(lambda: self._finished(lane, job, done)))

    def _finished(self, lane: deque[_Job], job: _Job, done: Future[list[Any]]) -> None:
        if not lane or lane[0] is not job:  # given up meanwhile
            return
        lane.popleft()
        self._under_way -= 1
        HERE.receipts = job.receipts
        try:
            if done.cancelled():
                self._turns.hold(job.delivery)
                fail_handling(asyncio.CancelledError())
            else:
                self._outlets.send(done.result(), job.delivery, self._who)
        except ContextTerminated:
            raise
        except TimeoutError as error:
            self._turns.hold(job.delivery)
            late = TimeoutError(f"the call took longer than {self._deadline:g} s and was cancelled")
            failed(self._who, job.delivery, error if str(error) else late)
        except Exception as error:
            self._turns.failed(job.delivery, final=isinstance(error, MessageError))
            failed(self._who, job.delivery, error)
        else:
            if self._turns.held and not done.cancelled():
                self._turns.succeeded(job.delivery)
            settle_handling()
        if lane:
            self._begin(lane)
        if self._ending:
            if not self._under_way and self._serving is not None:
                self._serving.stop()
        else:
            self._watch()

    def _give_up(self) -> None:
        """Fail whatever has not finished: nothing of it is acknowledged, so it comes again."""
        for lane in self._lanes:
            while lane:
                job = lane.popleft()
                self._turns.hold(job.delivery)
                HERE.receipts = job.receipts
                fail_handling(ShutdownTimeout(f"{self._who} ended before this call did"))
        self._under_way = 0
