"""What happens, as it happens, for many pages at once.

The store's writer tells of outcomes after their commit; whoever follows gets them in bundles. A page that does not keep up
loses what it missed and is told so; it holds up nobody else, and memory stays bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

from event_processor.domain.outcome import Outcome
from pylib.runtime.wiring import Wiring

__all__ = ["Feed", "Live", "News", "Topic"]

T = TypeVar("T")
Topic: TypeAlias = Literal["outcomes", "wiring"]

PACE: Final = 0.1
"""Seconds between two bundles for the pages; the first after a rest goes out at once."""

MOST_WAITING: Final = 10_000
"""Outcomes that may wait for the web's thread; of more the oldest are lost, and all pages are told so."""

MOST_BUNDLES: Final = 32
"""Bundles that may wait for one page; one more, and that page is told that it has lost some."""

TICK_EVERY: Final = 1.0
"""Seconds between two drawings of the wiring, while somebody follows it."""

KEEP_ALIVE: Final = 15.0
"""Seconds after which a quiet feed gives ``None``, for a sign of life on the connection."""


class News:
    """One bundle. ``outcomes`` in their order, or a ``wiring``; ``lost`` says that something is missing before it: reload."""

    __slots__ = ("_made", "lost", "outcomes", "wiring")

    def __init__(self, outcomes: tuple[Outcome, ...] = (), wiring: Wiring | None = None, lost: bool = False) -> None:
        self.outcomes = outcomes
        self.wiring = wiring
        self.lost = lost
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[News], T]) -> T:
        """What ``make`` makes of this bundle, made once for all that follow. ``name`` tells the forms apart."""
        if name not in self._made:
            self._made[name] = make(self)
        made: T = self._made[name]
        return made


class Feed:
    """One follower. For one task; use it with ``async with``, and iterate: bundles, and ``None`` when it has been quiet.

    The iteration ends when the hub stops.
    """

    def __init__(self, live: Live, topics: frozenset[Topic]) -> None:
        self.topics = topics
        self._live = live
        self._waiting: deque[News] = deque()
        self._rung = asyncio.Event()
        self._over = False

    async def __aenter__(self) -> Self:
        self._live._join(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._live._leave(self)

    def __aiter__(self) -> AsyncIterator[News | None]:
        return self

    async def __anext__(self) -> News | None:
        if not self._waiting and not self._over:
            self._rung.clear()
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await self._rung.wait()
            except TimeoutError:
                return None
        if self._over:
            raise StopAsyncIteration
        return self._waiting.popleft()

    def _put(self, news: News) -> None:
        if len(self._waiting) >= MOST_BUNDLES:
            self._waiting.clear()
            news = News(lost=True)
        self._waiting.append(news)
        self._rung.set()

    def _end(self) -> None:
        self._over = True
        self._rung.set()


class Live:
    """``tell`` is called on the writer's thread; everything else on the web's loop, between ``open`` and ``close``.

    :param wiring: draws the application, for those who follow that.
    """

    def __init__(self, wiring: Callable[[], Wiring]) -> None:
        self._wiring = wiring
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[Outcome] = deque(maxlen=MOST_WAITING)
        self._posted = False
        # How many were lost: counted by the writer's thread alone; and how many of them the pages have been told of.
        self._lost = self._lost_told = 0
        self._feeds: set[Feed] = set()
        self._awaited: dict[str, asyncio.Future[Outcome]] = {}
        self._bundle: list[Outcome] = []
        self._sent_at = float("-inf")
        self._flushing: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None

    # -- on the writer's thread --------------------------------------------------------------------------------------

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """These were stored. Never blocks and never raises."""
        loop = self._loop
        if loop is None or not (self._feeds or self._awaited):
            return
        self._lost += max(0, len(self._inbox) + len(outcomes) - MOST_WAITING)
        self._inbox.extend(outcomes)
        if not self._posted:
            self._posted = True
            try:
                loop.call_soon_threadsafe(self._arrived)
            except RuntimeError:  # the loop has ended in the meantime
                self._posted = False

    # -- on the loop -------------------------------------------------------------------------------------------------

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on there is a loop to tell."""
        self._loop = loop

    def close(self) -> None:
        """End every feed, and give up on every answer."""
        self._loop = None
        for timer in (self._flushing, self._ticking):
            if timer is not None:
                timer.cancel()
        self._flushing = self._ticking = None
        for feed in tuple(self._feeds):
            feed._end()
        for future in self._awaited.values():
            future.cancel()
        self._awaited.clear()

    def follow(self, *topics: Topic) -> Feed:
        """Follow what happens: outcomes where nothing else is asked for."""
        return Feed(self, frozenset(topics or ("outcomes",)))

    def expect(self, cause: str) -> asyncio.Future[Outcome]:
        """The outcome of a cause that is about to be asked for. ``forget`` it when it is no longer waited for."""
        future = self._awaited.get(cause)
        if future is None:
            future = self._awaited[cause] = asyncio.get_running_loop().create_future()
        return future

    def forget(self, cause: str) -> None:
        """Nobody waits for this cause any more."""
        self._awaited.pop(cause, None)

    def _join(self, feed: Feed) -> None:
        if self._loop is None:
            feed._end()
            return
        self._feeds.add(feed)
        if "wiring" in feed.topics and self._ticking is None:
            self._tick()

    def _leave(self, feed: Feed) -> None:
        self._feeds.discard(feed)

    def _arrived(self) -> None:
        self._posted = False
        while self._inbox:
            outcome = self._inbox.popleft()
            future = self._awaited.get(outcome.cause)
            if future is not None and not future.done():
                future.set_result(outcome)
            if outcome.event is not None or outcome.evaluations or outcome.changes:
                self._bundle.append(outcome)
        loop = self._loop
        if loop is None or self._flushing is not None or not (self._bundle or self._lost != self._lost_told):
            return
        wait = self._sent_at + PACE - loop.time()
        if wait <= 0:
            self._flush()
        else:
            self._flushing = loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        loop = self._loop
        if loop is None:
            return
        self._sent_at = loop.time()
        lost = self._lost
        news = News(tuple(self._bundle), lost=lost != self._lost_told)
        self._bundle, self._lost_told = [], lost
        self._spread("outcomes", news)

    def _tick(self) -> None:
        self._ticking = None
        loop = self._loop
        if loop is not None and any("wiring" in feed.topics for feed in self._feeds):
            self._spread("wiring", News(wiring=self._wiring()))
            self._ticking = loop.call_later(TICK_EVERY, self._tick)

    def _spread(self, topic: Topic, news: News) -> None:
        for feed in tuple(self._feeds):
            if topic in feed.topics:
                feed._put(news)
