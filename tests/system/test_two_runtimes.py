"""Two applications in one process do not notice each other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import zmq

from pylib.app import AppThread, ZmqRelay
from pylib.runtime.runtime import Runtime
from pylib.threads import die, shutting_down
from pylib.zmq import zmq_socket, zmq_term

pytestmark = [pytest.mark.timeout(30), pytest.mark.leak_check]


class Upper(ZmqRelay):
    def process_message(self, sink_socket: Any) -> None:
        sink_socket.send_pyobj(self.socket.recv_pyobj().upper())


class Pipeline:
    """The same addresses in each: a runtime is a world of its own."""

    def __init__(self) -> None:
        self.runtime = Runtime()
        with self.runtime.active():
            self.sink = zmq_socket(zmq.PULL)
            self.sink.bind("inproc://out")
            self.relay = Upper("upper", "inproc://in", "inproc://out")
            self.source = zmq_socket(zmq.PUSH)
            self.source.connect("inproc://in")
            self.relay.start()

    def carry(self, message: str) -> Any:
        self.source.send_pyobj(message)
        return self.sink.recv_pyobj()

    def end(self) -> None:
        with self.runtime.active():
            die()
            zmq_term()
        assert self.runtime.context.closed
        assert not self.relay.is_alive()
        for gate in (self.runtime.latch.gate, self.relay.member.gate):
            gate.close()


def test_one_runtime_stops_and_the_other_runs_on() -> None:
    first, second = Pipeline(), Pipeline()
    assert first.carry("a") == "A"
    assert second.carry("b") == "B"
    first.end()
    with second.runtime.active():
        assert not shutting_down
    assert second.relay.is_alive()
    assert [second.carry(text) for text in ("c", "d")] == ["C", "D"]
    second.end()


def test_a_death_in_one_runtime_is_no_reason_for_the_other() -> None:
    first, second = Pipeline(), Pipeline()
    first.source.send_pyobj(42)  # has no upper()
    assert first.runtime.latch.wait(5)
    assert first.runtime.exit_code == 1
    assert second.carry("b") == "B"
    assert second.runtime.exit_code == 0
    first.runtime.latch._causes.clear()  # the logged traceback holds what the leak check counts
    first.end()
    second.end()


def test_a_thread_belongs_to_the_runtime_in_which_it_was_made_not_to_that_of_its_starter() -> None:
    first, second = Runtime(), Runtime()
    found: list[bool] = []
    done = threading.Event()

    class Looker(AppThread):
        def run(self) -> None:
            found.append(bool(shutting_down))
            done.set()

    with first.active():
        thread = Looker()
    thread.untrack()
    second.trip()
    with second.active():
        assert shutting_down
        thread.start()
    assert done.wait(5)
    assert found == [False]
    for runtime in (first, second):
        assert runtime.stop() == []
        runtime.latch.gate.close()
    thread.member.gate.close()
