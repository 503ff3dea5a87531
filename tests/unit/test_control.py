"""A running application can be asked how it is, by its own user and by nobody else, and an asker never makes it wait."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.app import ZmqRelay
from pylib.errors import PylibError
from pylib.observe.control import MOST_ASKERS, MOST_REQUEST, Control, ask, control_path, running
from pylib.observe.health import Problem
from pylib.runtime.runtime import Runtime


@pytest.fixture
def path(runtime: Runtime, tmp_path: Path) -> Iterator[Path]:
    path = control_path(tmp_path)
    control = Control(runtime, path, lambda: [Problem(part="store", what="the disk is full", since=1.0)])
    control.offer("broken", lambda request: 1 / 0)
    assert control.start()
    yield path
    control.close()
    assert not path.exists()


def test_it_tells_its_threads_and_what_is_wrong(runtime: Runtime, path: Path) -> None:
    ZmqRelay("relay", "inproc://in", "inproc://out").start()
    drawn = ask(path, {"ask": "wiring"})
    assert isinstance(drawn, dict)
    assert [thread["name"] for thread in drawn["threads"]] == ["relay"]
    found = ask(path, {"ask": "health"})
    assert isinstance(found, dict)
    assert (found["live"], found["ready"]) == (True, False)
    assert found["problems"][0]["what"] == "the disk is full"
    assert "loop.run()" in str(ask(path, {"ask": "stack", "thread": "relay"}))
    assert running(path.parents[1]) == [path]


def test_only_its_own_user_may_ask(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"ask": "nonsense"}, "answers .*wiring"),
        ({"ask": "broken"}, "ZeroDivisionError"),
        ({"ask": "level", "level": "loud"}, "LOUD"),
    ],
)
def test_what_it_cannot_answer_is_said_and_ends_nothing(path: Path, request_: dict[str, object], words: str) -> None:
    with pytest.raises(PylibError, match=words):
        ask(path, request_)
    assert ask(path, {"ask": "level"})


def test_askers_that_say_too_much_or_nothing_take_no_place_for_others(path: Path) -> None:
    crowd = []
    for _ in range(MOST_ASKERS):
        crowd.append(socket.socket(socket.AF_UNIX))
        crowd[-1].connect(str(path))
    with socket.socket(socket.AF_UNIX) as late:
        late.settimeout(5)
        late.connect(str(path))
        assert late.recv(1) == b"", "one more than there is room for was let in"
    crowd[0].settimeout(5)
    with pytest.raises(OSError):  # noqa: PT012  # it may take several sends until the hanging up is seen
        for _ in range(64):
            crowd[0].sendall(b"x" * MOST_REQUEST)
    for each in crowd:
        each.close()
    with pytest.raises(PylibError, match="is it running"):
        ask(path.with_name("1.sock"), {"ask": "wiring"})
