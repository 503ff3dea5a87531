"""The drawing of a running application is what is really there."""

from __future__ import annotations

import threading

import zmq

from pylib.app import AppThread, ZmqRelay
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import rate, snapshot, stack
from pylib.zmq import Closable, zmq_socket


class Slow(AppThread, Closable):
    """Takes a message each time that it is allowed to."""

    def __init__(self) -> None:
        AppThread.__init__(self, name="slow")
        Closable.__init__(self, connect_url="inproc://slow")
        self.allowed = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)

    def run(self) -> None:
        while True:
            self.allowed.acquire()
            self.socket.recv_pyobj()
            self.taken.release()


def test_a_pipe_shows_who_sends_who_takes_and_how_many_messages_wait_in_it(runtime: Runtime) -> None:
    slow = Slow()
    relay = ZmqRelay("relay", "inproc://in", "inproc://slow")
    slow.start()
    relay.start()
    pipe = zmq_socket(zmq.PUSH)
    pipe.connect("inproc://in")
    before = snapshot(runtime)
    for n in range(7):
        pipe.send_pyobj(n)
    for _ in range(3):
        slow.allowed.release()
        assert slow.taken.acquire(timeout=5)
    relay.stop()  # everything that it was sent has gone on by then
    after = snapshot(runtime)
    drawn = {each.endpoint: each for each in after.pipes}
    assert drawn["inproc://slow"].depth == 4
    assert [end.thread for end in drawn["inproc://slow"].takers] == ["slow"]
    assert drawn["inproc://slow"].takers[0].line.rpartition(":")[0].endswith("test_wiring.py")
    assert drawn["inproc://in"].depth == 0
    assert (drawn["inproc://in"].sent, drawn["inproc://in"].taken) == (7, 7), "a socket that is closed took its count along"
    assert rate(before, after)["inproc://slow"] > 0
    assert [thread.name for thread in after.threads] == ["slow"]
    assert "run" in (stack(runtime, "slow") or "")
    assert stack(runtime, "nobody") is None
    for _ in range(9):
        slow.allowed.release()


def test_what_is_not_acknowledged_is_counted_and_the_oldest_is_named(runtime: Runtime) -> None:
    assert snapshot(runtime).oldest == ""
    first = runtime.receipts.open(lambda receipt: None, label="sensor/first")
    second = runtime.receipts.open(lambda receipt: None, label="sensor/second")
    drawn = snapshot(runtime)
    assert (drawn.unacknowledged, drawn.oldest) == (2, "sensor/first")
    assert drawn.oldest_s >= 0.0
    first.release()
    assert snapshot(runtime).oldest == "sensor/second"
    second.release()
