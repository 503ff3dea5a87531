"""What the store does and costs: python benchmarks/store_writer.py [FOLDER | postgresql://...] [OUTCOMES]

Outcomes as a decision leaves them (an event, two evaluations with three guards each, one step, three changes) go to the
writer's pipe from another thread, and each step comes out of another pipe whose taker accepts it. Then the latency of single
outcomes, one at a time, from the send to the step's arrival; what a start takes; and reading all events back.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

import zmq

from event_processor.domain.events import Event
from event_processor.domain.outcome import Change, Check, Evaluation, Outcome, Step
from event_processor.store.reader import Reader
from event_processor.store.sinks import Sink, broker_message
from event_processor.store.writer import StoreWriter
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket

SINGLE = 2000
IN_A_MESSAGE = 10
DEVICES, RULES = 1000, 200
_CHECKS = (
    Check("enabled", True, "the rule is enabled"),
    Check("mode", True, "armed in away, and the mode is away"),
    Check("latch", False, "it fired 3.2 s ago, and the latch is 10 s"),
)


def outcome(number: int) -> Outcome:
    """Outcome ``number``, with everything in it that a decision has."""
    now = time.time()
    device = f"Door {number % DEVICES}"
    event = Event(
        device=device, kind="input", created_at=now, source="mqtt", topic=f"sensor/house/{number % DEVICES}", type="door",
        label="Front Door", value=number, active=True,
    )  # fmt: skip
    looked = tuple(
        Evaluation(
            rule=f"rule-{(number + which) % RULES}", device=device, at=now, fired=not which, reason="latch",
            explanation=f"{device} is active, and the rule held still", checks=_CHECKS,
        )
        for which in range(2)
    )  # fmt: skip
    step = Step(
        id=f"{now:.6f}-{number}", kind="command", rule="rule-1", output="Siren", address="siren/set", body="ON", at=now,
        expires_at=now + 90,
    )  # fmt: skip
    changes = (
        Change("entity", device, b'{"value":%d,"at":%f}' % (number, now)),
        Change("liveness", device, b'{"last":%f,"interval":60.0}' % now),
        Change("rule", f"latch:rule-{number % RULES}", b"%f" % now),
    )
    return Outcome(cause=f"{now:.6f}~{number}", at=now, event=event, evaluations=looked, steps=(step,), changes=changes)


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else None
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 30_000
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    with contextlib.ExitStack() as stack:
        if base is not None and "://" in base:
            url = base
        else:
            url = str(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base)), "hub.db"))
        measure(url, count)
        began = time.perf_counter()
        runtime = Runtime()
        with runtime.active():
            writer = StoreWriter(url, sinks={})
            loaded = writer.load()
            print(f"start with {len(loaded.state)} values of state: {(time.perf_counter() - began) * 1000:.1f} ms")
            runtime.stop()
        reader = Reader(url)
        began = time.perf_counter()
        events = sum(1 for _ in reader.iter_events(0))
        print(f"read back: {events / (time.perf_counter() - began):.0f} events/s")
        reader.close()
        if "://" not in url:
            print(f"size: {Path(url).stat().st_size / events:.0f} bytes per outcome")


def measure(url: str, count: int) -> None:
    """The rate of ``count`` outcomes, and the latency of single ones."""
    runtime = Runtime()
    with runtime.active():
        pull = zmq_socket(zmq.PULL)
        pull.bind("inproc://commands")
        writer = StoreWriter(url, sinks={"command": Sink("inproc://commands", broker_message)})
        writer.load()
        push = zmq_socket(zmq.PUSH)
        push.connect("inproc://store")
        writer.start()
        single = []
        for number in range(SINGLE):
            one = outcome(number)
            began = time.perf_counter()
            push.send_pyobj(one)
            pull.recv_pyobj()
            single.append((time.perf_counter() - began) * 1000)
        single.sort()
        print(f"one outcome at a time: p50 {single[SINGLE // 2]:.3f} ms, p99 {single[SINGLE * 99 // 100]:.3f} ms")
        batches = [
            [outcome(SINGLE + first + which) for which in range(IN_A_MESSAGE)] for first in range(0, count, IN_A_MESSAGE)
        ]

        def feed() -> None:
            with runtime.active():
                socket = zmq_socket(zmq.PUSH)
                socket.connect("inproc://store")
                for batch in batches:
                    socket.send_pyobj(batch)
                fed.wait(60)
                socket.close()

        fed = threading.Event()
        feeder = threading.Thread(target=feed)
        cpu, began = time.process_time(), time.perf_counter()
        feeder.start()
        for _ in range(count):
            pull.recv_pyobj()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        fed.set()
        feeder.join()
        print(f"stored and sent on: {count / took:.0f} outcomes/s, {cpu / count * 1e6:.0f} us CPU each (all threads)")
        print(f"lost or refused: {writer.health().lost + writer.health().refused}")
        push.close()
        pull.close()
        runtime.stop()


if __name__ == "__main__":
    main()
