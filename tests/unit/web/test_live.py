"""What happens, for many pages at once: bundles, slow pages, answers that are waited for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from event_processor.domain.events import Event
from event_processor.domain.outcome import Change, Evaluation, Outcome
from event_processor.web import live as module
from event_processor.web.live import Live, News
from event_processor.web.mirror import Mirror
from pylib.runtime.wiring import Wiring


def _outcome(cause: str, *changes: Change) -> Outcome:
    event = Event(device="Front Door", kind="input", created_at=1.0, source="mqtt", topic="t")
    return Outcome(cause=cause, at=1.0, event=event, changes=changes)


def _wiring() -> Wiring:
    return Wiring(at=1.0, clock=1.0, stopping=False, threads=(), pipes=(), links=(), unacknowledged=0, oldest_s=0.0, oldest="")


def _run(live: Live, body: object) -> None:
    async def main() -> None:
        live.open(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(10):
                await body()  # type: ignore[operator]  # each test's own coroutine function
        finally:
            live.close()

    asyncio.run(main())


def _tell(live: Live, *outcomes: Outcome) -> None:
    """As the writer does: from another thread."""
    thread = threading.Thread(target=live.tell, args=(outcomes,))
    thread.start()
    thread.join()


def test_what_is_told_reaches_every_page_and_is_written_out_once() -> None:
    live, made = Live(_wiring), []

    def write(news: News) -> str:
        made.append(news)
        return ",".join(outcome.cause for outcome in news.outcomes)

    async def body() -> None:
        async with live.follow() as first, live.follow() as second:
            _tell(live, _outcome("a"), _outcome("b"))
            texts = [news.once("text", write) for news in (await anext(first), await anext(second)) if news is not None]
            assert texts == ["a,b", "a,b"]

    _run(live, body)
    assert len(made) == 1


def test_a_storm_comes_in_bundles() -> None:
    live = Live(_wiring)

    async def body() -> None:
        async with live.follow() as feed:
            bundles, seen = 0, 0
            for number in range(200):
                _tell(live, _outcome(f"{number}"))
            while seen < 200:
                news = await anext(feed)
                assert news is not None
                bundles, seen = bundles + 1, seen + len(news.outcomes)
            assert bundles <= 3

    _run(live, body)


def test_a_page_that_does_not_keep_up_is_told_to_load_again_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE", 0.0)
    live = Live(_wiring)

    async def body() -> None:
        async with live.follow() as slow, live.follow() as quick:
            for number in range(module.MOST_BUNDLES + 1):
                _tell(live, _outcome(f"{number}"))
                news = await anext(quick)
                assert news is not None
                assert [outcome.cause for outcome in news.outcomes] == [f"{number}"]
            news = await anext(slow)
            assert news is not None
            assert news.lost

    _run(live, body)


def test_more_than_can_wait_for_the_loop_is_lost_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(_wiring)

    async def body() -> None:
        async with live.follow() as feed:
            _tell(live, *(_outcome(f"{number}") for number in range(module.MOST_WAITING + 5)))
            news = await anext(feed)
            assert news is not None
            assert news.lost
            assert len(news.outcomes) == module.MOST_WAITING

    _run(live, body)


def test_an_answer_is_waited_for_by_its_cause_and_nothing_is_kept_without_followers() -> None:
    live = Live(_wiring)

    async def body() -> None:
        _tell(live, _outcome("before"))
        assert not live._inbox
        waiting = live.expect("mine")
        answer = Evaluation(rule="", device="", at=1.0, fired=True, reason="signal", explanation="done")
        _tell(live, _outcome("other"), Outcome(cause="mine", at=1.0, evaluations=(answer,)))
        assert (await waiting).evaluations == (answer,)
        live.forget("mine")

    _run(live, body)


def test_the_wiring_is_drawn_while_somebody_looks() -> None:
    drawn = []

    def wiring() -> Wiring:
        drawn.append(1)
        return _wiring()

    live = Live(wiring)

    async def body() -> None:
        async with live.follow("wiring") as feed:
            news = await anext(feed)
            assert news is not None
            assert news.wiring is not None

    _run(live, body)
    assert len(drawn) == 1


def test_every_feed_ends_with_the_hub() -> None:
    live = Live(_wiring)

    async def body() -> None:
        async with live.follow() as feed:
            asyncio.get_running_loop().call_soon(live.close)
            assert [news async for news in feed] == []
        async with live.follow() as late:
            assert [news async for news in late] == []

    _run(live, body)


def test_the_mirror_shows_the_latest_and_passes_over_what_cannot_be_read() -> None:
    mirror = Mirror({("mode", "house"): b'{"current":"home"}', ("device", "broken"): b"{", ("timer", "x"): b"[1,2]"})
    assert mirror.devices() == {}
    mode = mirror.mode()
    assert mode is not None
    assert mode.current == "home"
    entity = Change("entity", "Front Door", b'{"key":"Front Door","device":"front","name":"Door"}')
    value = Change("value", "Front Door", b'[97,true,1.0,1.0,"door",true]')
    off = Change("setting", "enabled:device:front door", b"false")
    mirror.tell([_outcome("1", entity, value, off)])
    assert mirror.values()["Front Door"].value == 97
    assert [each.key for each in mirror.of_device("front")] == ["Front Door"]
    assert not mirror.enabled("device", "Front Door")
    first = mirror.values()["Front Door"]
    assert mirror.values()["Front Door"] is first  # decoded once
    mirror.tell([_outcome("2", Change("entity", "Front Door", None), Change("setting", "enabled:device:front door", None))])
    assert mirror.entities() == {}
    assert mirror.enabled("device", "Front Door")
