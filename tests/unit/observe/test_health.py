"""Health is a judgement on the drawing: which part is not as it should be, and since when."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from pylib.delivery.spool_limits import SpoolLimits
from pylib.observe.health import OLDEST_S, Problem, health
from pylib.observe.observing import health_of
from pylib.rabbit import RabbitMQRelay
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import Link, ThreadState, Wiring
from pylib.testing.ports import free_port
from pylib.zmq import zmq_socket

THREAD = ThreadState(
    name="water", role="pipe", alive=True, busy_s=0.0, deadline_s=5.0, hung=False, tracked=True, restarts=0, error=""
)
LINK = Link(thread="relay", name="RabbitMQ at x:5672", up=True, since=50.0)


def drawing(thread: dict[str, Any] | None = None, link: dict[str, Any] | None = None, **more: Any) -> Wiring:
    threads = (msgspec.structs.replace(THREAD, **(thread or {})),)
    links = (msgspec.structs.replace(LINK, **(link or {})),)
    facts: dict[str, Any] = {"unacknowledged": 0, "oldest_s": 0.0, "oldest": "", "stopping": False}
    return Wiring(at=100.0, clock=1.0, threads=threads, pipes=(), links=links, **{**facts, **more})


def test_what_is_as_it_should_be_is_ready() -> None:
    assert health(drawing()).ready
    assert health(drawing()).problems == ()


@pytest.mark.parametrize(
    ("wiring", "part", "words", "since", "fatal"),
    [
        (drawing(thread={"busy_s": 9.0}), "thread water", "busy with one thing for 9 s", 91.0, True),
        (drawing(thread={"down_since": 97.0, "restarts": 2, "error": "OSError: x"}), "thread water", "2nd time", 97.0, False),
        (drawing(thread={"alive": False, "error": "OSError: x"}), "thread water", "ended (OSError: x)", 100.0, False),
        (
            drawing(link={"up": False, "error": "it does not answer"}),
            "relay (RabbitMQ at x:5672)",
            "does not answer",
            50.0,
            False,
        ),
        (drawing(link={"blocked": True, "blocked_since": 80.0}), "relay (RabbitMQ at x:5672)", "alarms", 80.0, False),
        (drawing(link={"stalled": "the disk is full", "stalled_since": 70.0}), "spool of relay", "full", 70.0, False),
        (drawing(oldest_s=OLDEST_S + 5, oldest="soil/7"), "deliveries", "soil/7", 35.0, False),
        (drawing(stopping=True), "application", "stopping", 100.0, False),
    ],
)
def test_each_ill_is_named_with_its_part_and_its_beginning(
    wiring: Wiring, part: str, words: str, since: float, fatal: bool
) -> None:
    found = health(wiring)
    (problem,) = found.problems
    assert (problem.part, problem.since, problem.fatal) == (part, since, fatal)
    assert words in problem.what
    assert not found.ready
    assert found.live is not fatal


def test_a_broker_that_is_away_is_named_once() -> None:
    (problem,) = health(drawing(link={"up": False, "error": "RabbitMQ at x:5672: connection refused"})).problems
    assert (problem.part, problem.what) == ("relay (RabbitMQ at x:5672)", "not connected: connection refused")


def test_what_other_parts_say_of_themselves_counts() -> None:
    found = health(drawing(), [Problem(part="store", what="its disk is full", since=3.0)])
    assert (found.live, found.ready) == (True, False)


def test_a_thread_that_may_end_when_it_likes_is_no_problem() -> None:
    assert health(drawing(thread={"tracked": False, "alive": False})).ready


def test_a_spool_that_takes_no_more_says_so_and_since_when(runtime: Runtime, tmp_path: Path) -> None:
    """A relay whose broker is away, with room for two messages on its disk."""
    relay = RabbitMQRelay(
        "inproc://relay", f"127.0.0.1:{free_port()}", "home", wait=True, spool=tmp_path / "spool.db",
        spool_limits=SpoolLimits(max_messages=2),
    )  # fmt: skip
    relay.start()
    before = time.time()
    pipe = zmq_socket(zmq.PUSH)
    pipe.connect("inproc://relay")
    for number in range(3):
        pipe.send_pyobj((f"event.notify.{number}.x", {"n": number}))
    healthy, end = health_of(runtime), time.monotonic() + 20
    while not (stalled := [each for each in healthy().problems if each.part.startswith("spool of")]):
        assert time.monotonic() < end, healthy()
        threading.Event().wait(0.02)
    assert before <= stalled[0].since <= time.time()
    assert stalled[0].what
    pipe.close()
    runtime.stop()
