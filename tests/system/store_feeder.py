"""A program that stores outcomes as fast as it can, until it is killed: ``store_feeder.py FILE FIRST [COUNT]``.

Prints ``kept N`` when the delivery of outcome N was let go of, and ``took ID`` for each step that came out of the other end.
With COUNT it ends by itself: after so many, and after everything that was pending has come out.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import zmq

from event_processor.domain.outcome import Change, Evaluation, Outcome, Step
from event_processor.store.sinks import Sink, broker_message
from event_processor.store.writer import StoreWriter
from pylib.app import ZmqRelay
from pylib.runtime.receipts import handling
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket

UNDER_WAY = 300


class Bridge(ZmqRelay):
    """Accepts every step at once, and says which."""

    def __init__(self) -> None:
        super().__init__("bridge", "inproc://commands", "inproc://nowhere")

    def process(self, message: tuple[str, object, dict[str, object]]) -> None:
        say(f"took {message[2]['message_id']}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # whole lines, and none in a buffer when the kill comes


def outcome(number: int) -> Outcome:
    now = time.time()
    looked = tuple(
        Evaluation(rule=f"rule-{which}", device="Door", at=now, fired=True, reason="fired", explanation="Door is active")
        for which in range(2)
    )
    todo = Step(
        id=f"step-{number}", kind="command", rule="rule-0", output="Siren", address="siren/set", body="on", at=now,
        expires_at=now + 600,
    )  # fmt: skip
    changes = (Change("timer", "last", b"%d" % number), Change("rule", f"latch-{number % 7}", b"%d" % number))
    return Outcome(cause=f"cause-{number}", at=now, evaluations=looked, steps=(todo,), changes=changes)


def main(file: str, first: int, count: int | None) -> None:
    runtime = Runtime()
    with runtime.active():
        bridge = Bridge()
        writer = StoreWriter(file, sinks={"command": Sink("inproc://commands", broker_message)})
        writer.load()
        socket = zmq_socket(zmq.PUSH)
        socket.connect("inproc://store")
        bridge.start()
        writer.start()
        say("ready")
        room = threading.Semaphore(UNDER_WAY)

        def kept(number: int) -> None:
            say(f"kept {number}")
            room.release()

        number = first
        while count is None or number < first + count:
            room.acquire()
            receipt = runtime.receipts.open(lambda receipt, number=number: kept(number))  # type: ignore[misc]
            with handling((receipt,)):
                socket.send_pyobj(outcome(number))
            number += 1
        pause = threading.Event()
        while (health := writer.health()).in_flight or health.behind or health.stored < count:
            pause.wait(0.01)
        socket.close()
        runtime.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
