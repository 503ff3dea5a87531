"""The threads that handlers run on: one pipe and one function each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import zmq
from zmq.error import Again, ContextTerminated

from pylib.app import AppThread, LoopThread, RestartPolicy
from pylib.application.binding import awaited, messages_of
from pylib.application.messages import Message
from pylib.brokers.port import Delivery
from pylib.errors import MessageError
from pylib.observe.reporting import report
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop, Timer
from pylib.runtime.receipts import Receipt, fail_handling, handling, settle_handling
from pylib.zmq import Closable

__all__ = ["AsyncThread", "AsyncWorker", "Outlets", "TimerThread", "Worker"]

log = logging.getLogger("pylib.application")

BATCH = 200
#: A handler's thread that dies of something other than a message is started again, so often within a minute.
WORKER_RESTARTS = RestartPolicy(limit=5, within=60.0)

Call = Callable[[Delivery], Any]


class Outlets:
    """One thread's pipes to the brokers, by the brokers' names."""

    def __init__(self, owner: Closable, urls: Mapping[str, str]) -> None:
        self._sockets: dict[str, Any] = {}
        for name, url in urls.items():
            socket = owner.get_socket(zmq.PUSH)
            socket.connect(url)
            self._sockets[name] = socket

    def send(self, messages: Iterable[Message], cause: Delivery | None, who: str) -> None:
        """Send a handler's messages; what it was handling is settled when all of them are accepted."""
        for number, message in enumerate(messages):
            message_id = message.message_id
            if message_id is None and cause is not None and cause.message_id is not None:
                # The same for every repetition of the cause, so that a receiver can tell.
                message_id = f"{cause.message_id}/{who}/{number}"
            created_at = time.time()
            how = {
                "created_at": created_at,
                "message_id": message_id,
                "qos": message.qos,
                "retain": message.retain,
                "headers": message.headers,
                "expires_at": None if message.expires is None else created_at + message.expires,
            }
            self._sockets[message.broker].send_pyobj((message.address, message.payload, how))


class Worker(LoopThread, Closable):
    """Runs a handler: takes deliveries from its pipe, calls the function, sends what it returns.

    A failure costs the one message: it is tried again later, and becomes a dead letter in the end.
    """

    def __init__(self, name: str, url: str, call: Call, outlets: Mapping[str, str]) -> None:
        AppThread.__init__(self, name, restart=WORKER_RESTARTS)
        Closable.__init__(self, connect_url=url)
        self._call = call
        self._outlets = Outlets(self, outlets)

    def arrange(self, loop: Loop) -> None:
        loop.watch(self.socket, READ, lambda mask: self._serve(BATCH))

    def drain(self, loop: Loop) -> None:
        # A pipe holds at most two high-water marks: more than that is not waiting, it is arriving.
        self._serve(2 * self.socket.getsockopt(zmq.RCVHWM))
        loop.stop()

    def _serve(self, most: int) -> None:
        member, monotonic = self.member, self.runtime.clock.monotonic
        for _ in range(most):
            try:
                delivery, _carried = self.socket.take()
            except Again:
                return
            member.busy_since = monotonic()
            try:
                result = self._call(delivery)
                if result is not None:
                    self._outlets.send(messages_of(result, self.name), delivery, self.name)
            except ContextTerminated:
                raise
            except Exception as error:
                failed(self.name, delivery, error)
            else:
                settle_handling()


def failed(who: str, delivery: Delivery, error: Exception) -> None:
    """A handler raised: fail the message at hand, which says what follows."""
    orphan = not HERE.receipts
    fail_handling(error)
    if not isinstance(error, MessageError):
        report(error, thread=who, topic=delivery.address)
    elif orphan:
        log.warning("%s: a message on %s was dropped: %s", who, delivery.address, error)


class AsyncThread(AppThread):
    """The one thread with an asyncio loop, on which every ``async def`` handler runs."""

    def __init__(self) -> None:
        AppThread.__init__(self, "asyncio")
        self.loop = asyncio.new_event_loop()
        self.member.finish = self._finish

    def _finish(self, seconds: float) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self.loop.close()


class AsyncWorker(LoopThread, Closable):
    """Runs an ``async def`` handler, ``lanes`` calls at a time on the asyncio thread; the messages of one key share a lane
    and keep their order. Pipes and receipts stay on this thread.
    """

    def __init__(
        self, name: str, url: str, call: Call, outlets: Mapping[str, str], asyncio_thread: AsyncThread, lanes: int,
        key: Callable[[Delivery], str],
    ) -> None:  # fmt: skip
        AppThread.__init__(self, name, restart=WORKER_RESTARTS)
        Closable.__init__(self, connect_url=url)
        self._call = call
        self._outlets = Outlets(self, outlets)
        self._asyncio = asyncio_thread
        self._key = key
        self._lanes: list[deque[tuple[Delivery, tuple[Receipt, ...]]]] = [deque() for _ in range(lanes)]
        self._under_way = 0
        self._watching = False
        self._ending = False
        self._serving: Loop | None = None

    def arrange(self, loop: Loop) -> None:
        self._serving = loop
        self._watch()

    def drain(self, loop: Loop) -> None:
        self._ending = True
        self._take()
        if not self._under_way:
            loop.stop()

    def _watch(self) -> None:
        if not self._watching and self._serving is not None:
            self._watching = True
            self._serving.watch(self.socket, READ, lambda mask: self._take())

    def _take(self) -> None:
        """Take as many as the lanes are meant for; the rest waits in the pipe."""
        loop = self._serving
        while self._under_way < 2 * len(self._lanes):
            try:
                delivery, _carried = self.socket.take()
            except Again:
                return
            receipts, HERE.receipts = HERE.receipts, ()
            lane = self._lanes[hash(self._key(delivery)) % len(self._lanes)]
            lane.append((delivery, receipts))
            self._under_way += 1
            if len(lane) == 1:
                self._begin(lane)
        if self._watching and loop is not None:
            self._watching = False
            loop.unwatch(self.socket)

    def _begin(self, lane: deque[tuple[Delivery, tuple[Receipt, ...]]]) -> None:
        delivery = lane[0][0]
        loop = self._serving
        if loop is None:
            return

        async def work() -> list[Any]:
            return await awaited(self._call(delivery))

        future = asyncio.run_coroutine_threadsafe(work(), self._asyncio.loop)
        future.add_done_callback(lambda done: loop.post(lambda: self._finished(lane, done)))

    def _finished(self, lane: deque[tuple[Delivery, tuple[Receipt, ...]]], done: Any) -> None:
        delivery, receipts = lane.popleft()
        self._under_way -= 1
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        try:
            with handling(receipts):
                if error is not None:
                    raise error
                self._outlets.send(messages_of(done.result(), self.name), delivery, self.name)
        except ContextTerminated:
            raise
        except asyncio.CancelledError:
            pass  # the stop's doing: unacknowledged, it comes again
        except Exception as problem:
            failed(self.name, delivery, problem)
        if lane:
            self._begin(lane)
        if self._ending:
            if not self._under_way and self._serving is not None:
                self._serving.stop()
        else:
            self._watch()


class TimerThread(LoopThread, Closable):
    """Calls functions at intervals and sends what they return."""

    def __init__(self, calls: list[tuple[float, Callable[[], Any], str]], url: str, outlets: Mapping[str, str]) -> None:
        AppThread.__init__(self, "timers", restart=WORKER_RESTARTS)
        Closable.__init__(self, connect_url=url)
        self._calls = calls
        self._outlets = Outlets(self, outlets)
        self._timers: dict[str, Timer] = {}

    def arrange(self, loop: Loop) -> None:
        for interval, call, name in self._calls:
            self._fire(loop, interval, call, name)

    def _fire(self, loop: Loop, interval: float, call: Callable[[], Any], name: str) -> None:
        began = loop.monotonic()
        try:
            self._outlets.send(messages_of(call(), name), None, name)
        except ContextTerminated:
            raise
        except Exception as error:
            log.error("%s failed (%s: %s); it is called again in %g s.", name, type(error).__name__, error, interval)
            report(error, thread=name)
        late = loop.monotonic() - began
        self._timers[name] = loop.call_later(max(0.0, interval - late), lambda: self._fire(loop, interval, call, name))
