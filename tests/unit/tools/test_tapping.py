"""A pipe of a running application can be looked at: copies, bounded, at no cost and without a trace while nobody looks."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from pylib.app import ZmqRelay
from pylib.errors import PylibError
from pylib.observe.control import Control, ask, control_path
from pylib.observe.tapping import LEASE, MOST_KEPT, MOST_NOTED, MOST_TAPS, Taps
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket
from pylib.testing.clock import VirtualClock


def bodies(answer: dict[str, object]) -> list[object]:
    messages = answer["messages"]
    assert isinstance(messages, list)
    return [msgspec.msgpack.decode(base64.b64decode(each["body"])) for each in messages]


class Ends:
    """A pipe with both its ends in this thread."""

    def __init__(self, runtime: Runtime) -> None:
        self.taker = runtime.sockets.open(zmq.PULL)
        self.taker.bind("inproc://looked-at")
        self.sender = runtime.sockets.open(zmq.PUSH)
        self.sender.connect("inproc://looked-at")

    def pass_on(self, *objects: object) -> None:
        for each in objects:
            self.sender.send_pyobj(each)
            assert self.taker.recv_pyobj() == each


@pytest.fixture
def ends(runtime: Runtime) -> Iterator[Ends]:
    ends = Ends(runtime)
    yield ends
    ends.taker.close()
    ends.sender.close()


def test_what_passes_is_seen_in_order_and_nothing_is_taken(runtime: Runtime, ends: Ends) -> None:
    taps = Taps(runtime)
    ends.pass_on("before anybody looked")
    first = taps.answer({"endpoint": "inproc://looked-at", "after": -1})
    assert first["messages"] == []
    ends.pass_on({"a": 1}, ("topic", b"\x00", {"qos": 1}))
    ends.sender.send_pyobj("taken")
    assert ends.taker.take()[0] == "taken"
    ends.sender.send(b"raw")
    assert ends.taker.recv() == b"raw"
    answer = taps.answer({"endpoint": "inproc://looked-at", "after": first["last"]})
    assert bodies(answer) == [{"a": 1}, ["topic", b"\x00", {"qos": 1}], "taken", b"raw"]
    assert bodies(taps.answer({"endpoint": "inproc://looked-at", "after": answer["last"]})) == []
    taps.close()


def test_what_the_receiver_does_with_a_message_does_not_change_the_copy(runtime: Runtime, ends: Ends) -> None:
    taps = Taps(runtime)
    taps.answer({"endpoint": "inproc://looked-at", "after": -1})
    ends.sender.send_pyobj({"list": [1]})
    ends.taker.recv_pyobj()["list"].append(2)
    assert bodies(taps.answer({"endpoint": "inproc://looked-at", "after": 0})) == [{"list": [1]}]
    taps.close()


def test_what_nobody_fetches_is_bounded_and_counted(runtime: Runtime, ends: Ends) -> None:
    taps = Taps(runtime)
    taps.answer({"endpoint": "inproc://looked-at", "after": -1})
    ends.pass_on(*range(MOST_KEPT + 7), "x" * MOST_NOTED, Oddity())
    answer = taps.answer({"endpoint": "inproc://looked-at", "after": 0})
    assert answer["missed"] == 9
    shown = bodies(answer)
    assert shown[0] == 9
    assert "too large to be shown" in str(shown[-2])
    assert "Oddity" in str(shown[-1])
    taps.close()


class Oddity:
    """An object that no format knows and that cannot even be shown."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Oddity)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_while_nobody_looks_the_socket_is_as_it_was(ends: Ends) -> None:
    clock = VirtualClock()
    runtime = ends.taker.registry
    assert kind(ends.taker) == "Socket"
    taps = Taps(_Like(runtime, clock))  # type: ignore[arg-type]
    taps.answer({"endpoint": "inproc://looked-at"})
    assert kind(ends.taker) != "Socket"
    taps.expire()
    still = taps.busy
    assert still
    clock.advance(LEASE + 1)
    taps.expire()
    assert kind(ends.taker) == "Socket"
    assert not taps.busy
    ends.pass_on("still works")


def kind(socket: Socket) -> str:
    return type(socket).__name__


class _Like:
    """As much of a runtime as taps need, with a clock of the test's own."""

    def __init__(self, sockets: object, clock: VirtualClock) -> None:
        self.sockets = sockets
        self.clock = clock


def test_a_pipe_that_is_not_there_is_named_and_there_is_an_end_to_taps(runtime: Runtime, ends: Ends) -> None:
    taps = Taps(runtime)
    with pytest.raises(PylibError, match="inproc://looked-at"):
        taps.answer({"endpoint": "inproc://nowhere"})
    sockets = []
    for number in range(MOST_TAPS):
        socket = runtime.sockets.open(zmq.PULL)
        socket.bind(f"inproc://more-{number}")
        sockets.append(socket)
        taps.answer({"endpoint": f"inproc://more-{number}"})
    with pytest.raises(PylibError, match="looked at already"):
        taps.answer({"endpoint": "inproc://looked-at"})
    taps.close()
    for socket in sockets:
        socket.close()


def test_a_running_thread_is_looked_at_by_way_of_the_control_and_goes_on(runtime: Runtime, tmp_path: Path) -> None:
    path = control_path(tmp_path)
    control = Control(runtime, path, name="garden")
    assert control.start()
    ZmqRelay("relay", "inproc://in", "inproc://out").start()
    taker = runtime.sockets.open(zmq.PULL)
    taker.bind("inproc://out")
    sender = runtime.sockets.open(zmq.PUSH)
    sender.connect("inproc://in")
    ask(path, {"ask": "tap", "endpoint": "inproc://in", "after": -1})
    stop = threading.Event()
    for number in range(50):
        sender.send_pyobj({"number": number})
    assert [taker.recv_pyobj() for _ in range(50)] == [{"number": number} for number in range(50)]
    answer = ask(path, {"ask": "tap", "endpoint": "inproc://in", "after": 0})
    assert isinstance(answer, dict)
    assert len(answer["messages"]) == 50
    stop.set()
    for socket in (taker, sender):
        socket.close()
    control.close()


def test_a_second_application_of_the_process_in_the_same_folder_has_a_socket_of_its_own(
    runtime: Runtime, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)  # longer than a socket's address may be
    controls = [Control(runtime, control_path(deep), name=name) for name in ("one", "two")]
    for control in controls:
        assert control.start()
    paths = sorted((deep / "control").glob("*.sock"))
    answers = [ask(path, {"ask": "about"}) for path in paths]
    assert sorted(answer["name"] for answer in answers if isinstance(answer, dict)) == ["one", "two"]
    for control in controls:
        control.close()
    assert not list((deep / "control").glob("*.sock"))
