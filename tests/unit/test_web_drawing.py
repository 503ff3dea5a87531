"""The drawings of the dashboard: boxes, arrows, and what is wrong said in words."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("starlette")

from event_processor.web.pages.drawing import Arrow, Box, columns, draw
from event_processor.web.pages.render import value_text
from event_processor.web.pages.wiring_view import drawn, pipe_rows, thread_rows
from pylib.runtime.wiring import End, Link, Pipe, ThreadState, Wiring, rate


def thread(name: str, **more: object) -> ThreadState:
    known = {"role": "pipe", "alive": True, "busy_s": 0.0, "deadline_s": 5.0, "hung": False, "tracked": True, "restarts": 0}
    return ThreadState(name=name, error=str(more.pop("error", "")), **(known | more))  # type: ignore[arg-type]


def pipe(endpoint: str, start: str, end: str, *, taken: int = 0, depth: int = 0) -> Pipe:
    ends = tuple(End(thread=name, kind="PUSH", line="src/app.py:1", count=taken) for name in (start, end))
    return Pipe(
        endpoint=f"inproc://{endpoint}", also=(), senders=ends[:1], takers=ends[1:], sent=taken + depth, taken=taken,
        depth=depth, mark=100,
    )  # fmt: skip


def wiring(clock: float, *threads: ThreadState, pipes: tuple[Pipe, ...] = (), links: tuple[Link, ...] = ()) -> Wiring:
    return Wiring(
        at=1000.0 + clock, clock=clock, stopping=False, threads=threads, pipes=pipes, links=links, unacknowledged=0,
        oldest_s=0.0, oldest="",
    )  # fmt: skip


def text_of(svg: str) -> str:
    return "\n".join(ElementTree.fromstring(svg).itertext())


def test_arrows_go_to_the_right_but_for_the_one_that_closes_a_circle() -> None:
    arrows = [Arrow("a", "b"), Arrow("b", "c"), Arrow("a", "c"), Arrow("c", "a")]
    assert columns(["c", "b", "a"], arrows, first=["a"]) == {"a": 0, "b": 1, "c": 2}


def test_who_is_fed_by_a_broker_stands_next_to_it_whatever_else_it_is_sent() -> None:
    arrows = [Arrow("broker", "in"), Arrow("in", "work"), Arrow("work", "in")]
    assert columns(["broker", "work", "in"], arrows, ["broker"], {"in"}) == {"broker": 0, "in": 1, "work": 2}


def test_a_name_from_outside_is_text_in_a_drawing_and_no_markup() -> None:
    nasty = '<script>alert("x")</script>'
    svg = draw(
        [Box("a", (nasty, "HEAD"), href='/x"onload="y'), Box("b", ("b",))],
        [Arrow("a", "b", nasty)],
        {"a": 0, "b": 1},
        nasty,
        "d",
    )
    root = ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert not any("onload" in name for each in root.iter() for name in each.attrib)
    assert nasty in (root.get("aria-label") or "")
    assert "HEAD" in text_of(svg)


def test_a_thread_that_has_ended_stands_out_by_class_and_by_words_and_comes_first() -> None:
    now = wiring(1.0, thread("Well"), thread("Dead", alive=False, error="KeyError: 'x'"), thread("Busy", busy_s=2.0))
    svg = drawn(now)
    sick = [each for each in ElementTree.fromstring(svg).iter() if each.get("class") == "sick"]
    assert [each.get("data-box") for each in sick] == ["Dead"]
    assert "✗ ended" in text_of(svg)
    assert "KeyError" in text_of(svg)
    assert [row.name for row in thread_rows(now)] == ["Dead", "Busy", "Well"]


def test_a_pipe_says_what_flows_and_what_waits_and_that_it_is_full() -> None:
    threads = (thread("a"), thread("b"))
    before = wiring(0.0, *threads, pipes=(pipe("p", "a", "b", taken=100),))
    after = wiring(2.0, *threads, pipes=(pipe("p", "a", "b", taken=150, depth=100),))
    assert "25/s 100 wait" in text_of(drawn(after, before))
    assert 'class="pipe full"' in drawn(after, before)
    [row] = pipe_rows(after, rate(before, after))
    assert (row.rate, row.depth, row.ill.grade) == ("25/s", 100, "bad")
    assert "full" in row.ill.words


def test_a_broker_that_is_away_is_sick_and_says_why() -> None:
    link = Link(thread="a", name="RabbitMQ at localhost:5672", up=False, since=990.0, error="refused")
    svg = drawn(wiring(0.0, thread("a"), links=(link,)))
    assert 'class="sick"' in svg
    assert "refused" in text_of(svg)


@pytest.mark.parametrize(
    ("value", "unit", "active", "kind", "text"),
    [
        (21.5, "°C", None, "temperature", "21.5 °C"),
        ("ON", "", True, "door", "open"),
        (None, "", False, "motion", "quiet"),
        (True, "", None, "", "on"),
        (None, "", None, "", "–"),
        ("heat", "", True, "climate", "heat"),
        (184230, "L", None, "water", "184230 L"),
        (float("inf"), "", None, "", "inf"),
        ("x" * 500, "", None, "", "x" * 59 + "…"),
    ],
)
def test_values_are_written_as_people_read_them(value: object, unit: str, active: bool | None, kind: str, text: str) -> None:
    assert value_text(value, unit, active, kind) == text  # type: ignore[arg-type]  # all are scalars
