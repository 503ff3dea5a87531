"""The drawing of a running application: what is said of each part, and that no name can break the form it is in."""

from __future__ import annotations

import pytest

from pylib.observe.drawing import as_dot, as_mermaid, as_text, duration, link_state, size, thread_state
from pylib.observe.health import health
from pylib.runtime.wiring import End, Link, Pipe, ThreadState, Wiring


def thread(name: str = "relay", **more: object) -> ThreadState:
    values: dict[str, object] = {
        "name": name,
        "role": "worker",
        "alive": True,
        "busy_s": 0.0,
        "deadline_s": 30.0,
        "hung": False,
        "tracked": True,
        "restarts": 0,
        "error": "",
        **more,
    }
    return ThreadState(**values)  # type: ignore[arg-type]


def end(name: str) -> End:
    return End(thread=name, kind="PUSH", line="a.py:1", count=1)


def wiring(**more: object) -> Wiring:
    pipe = Pipe(
        endpoint="inproc://in",
        also=("inproc://also",),
        senders=(end("source"),),
        takers=(end("relay"),),
        sent=9,
        taken=5,
        depth=4,
        mark=2000,
    )
    values: dict[str, object] = {
        "at": 1000.0,
        "clock": 1.0,
        "stopping": False,
        "threads": (thread(),),
        "pipes": (pipe,),
        "links": (Link(thread="mqtt", name="MQTT broker at x:1", up=True, since=400.0, received=7, unsettled=2),),
        "unacknowledged": 3,
        "oldest_s": 12.0,
        "oldest": "mqtt",
        **more,
    }
    return Wiring(**values)  # type: ignore[arg-type]


def test_the_text_has_threads_pipes_brokers_and_what_waits() -> None:
    drawn = wiring()
    text = as_text(drawn, {"inproc://in": 2.5}, health(drawn), "garden (process 7)")
    lines = text.splitlines()
    assert lines[0] == "garden (process 7)"
    assert any(line.split() == ["relay", "well"] for line in lines)
    assert "in also  2.5/s  5      4 waiting  source > relay" in text
    assert "up for 10 min, 2 unsettled" in text
    assert "3 deliveries unacknowledged, the oldest for 12 s from mqtt" in text
    assert lines[-1] == "ready"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (thread(), "well"),
        (thread(busy_s=2.0), "busy for 2 s"),
        (thread(busy_s=31.0), "hung for 31 s"),
        (thread(alive=False), "ended"),
        (thread(restarts=2), "well, restarted 2x"),
        (thread(tracked=False), "on its own"),
    ],
)
def test_a_thread_is_said_to_be_what_it_is(state: ThreadState, words: str) -> None:
    assert thread_state(state) == words


def test_a_broker_that_is_away_or_blocks_says_so_with_what_waits_for_it() -> None:
    link = Link(thread="r", name="RabbitMQ", up=False, since=880.0, blocked=True, spooled=5, spooled_bytes=3 << 20, connects=3)
    assert link_state(link, 1000.0) == "down for 2 min, blocked by the broker, 5 in the spool (3.0 MiB), connected 3x"


def test_times_and_sizes_are_said_as_people_say_them() -> None:
    assert [duration(each) for each in (0.25, 3, 119, 600, 7300, 90000, 400000)] == [
        "250 ms",
        "3 s",
        "119 s",
        "10 min",
        "2 h",
        "25 h",
        "5 d",
    ]
    assert [size(each) for each in (5, 2048, 3 << 20, 5 << 30)] == ["5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]


EVIL = 'a"] x\\ -->|b| <script>`#\n\x1b[2J'


def test_a_name_cannot_break_out_of_its_label() -> None:
    drawn = wiring(threads=(thread(EVIL, error=EVIL),))
    dot = as_dot(drawn, {}, EVIL)
    for line in dot.splitlines():
        assert line.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 0, line
    mermaid = as_mermaid(drawn, {})
    assert "<script>" not in mermaid
    assert all(line.count('"') in (0, 2) for line in mermaid.splitlines()), mermaid
    assert "\x1b" not in dot + mermaid + as_text(drawn, {})


def test_what_is_ill_is_red() -> None:
    drawn = wiring(threads=(thread(alive=False),), links=(Link(thread="mqtt", name="m", up=False, since=1.0),))
    assert as_dot(drawn, {}).count('color="red"') == 2
    assert "classDef ill" in as_mermaid(drawn, {})
    assert "classDef ill" not in as_mermaid(wiring(), {})
