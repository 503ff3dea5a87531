"""Outcomes to store, and a writer with pipes whose other ends the test holds."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from event_processor.domain.events import Event
from event_processor.domain.outcome import Change, Check, Evaluation, Outcome, Step
from event_processor.store.database import Database
from event_processor.store.sinks import Sink
from event_processor.store.writer import StoreWriter
from pylib.app import AppThread
from pylib.runtime.receipts import Receipt, handling
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket

START = 1_790_000_000.0
PATIENCE = 20.0
COMMANDS, CONTROLS = "inproc://test-commands", "inproc://test-controls"


def event(number: int, **named: Any) -> Event:
    device = named.pop("device", f"Door {number % 10}")
    given: dict[str, Any] = {
        "kind": "input", "created_at": START + number, "source": "mqtt", "topic": f"sensor/{device}", "type": "door",
        "label": "Front Door", "value": number, "active": True,
    }  # fmt: skip
    return Event(device=device, **(given | named))


def step(number: int, position: int = 0, **named: Any) -> Step:
    given: dict[str, Any] = {
        "kind": "command", "rule": "siren-rule", "output": "Siren", "address": "siren/set", "body": {"state": "on"},
        "at": START + number, "expires_at": time.time() + 600,
    }  # fmt: skip
    return Step(id=f"step-{number}-{position}", **(given | named))


def outcome(number: int, steps: int = 0, changes: tuple[Change, ...] | None = None, **named: Any) -> Outcome:
    said = named.pop("event", event(number))
    device = said.device if said is not None else ""
    looked = Evaluation(
        rule=f"rule-{number % 3}", device=device, at=START + number, fired=bool(steps), reason="fired",
        explanation="Front Door is active: siren", checks=(Check("enabled", True, "is enabled"),),
    )  # fmt: skip
    if changes is None:
        changes = (Change("device", device, b'{"last":%d}' % number),)
    all_steps = named.pop("all_steps", tuple(step(number, position) for position in range(steps)))
    return Outcome(
        cause=named.pop("cause", f"cause-{number}"), at=START + number, event=said, evaluations=(looked,),
        steps=all_steps, changes=changes,
    )  # fmt: skip


class Taker(AppThread):
    """Stands for a bridge: takes from a pipe, and accepts at once, or when it is told to."""

    def __init__(self, url: str, *, accepts: bool = True, error: BaseException | None = None) -> None:
        super().__init__(f"taker of {url}")
        self._pipe = zmq_socket(zmq.PULL)
        self._pipe.bind(url)
        self._pipe.owner = self.member
        self.accepts = accepts
        self.error = error
        self.taken: queue.Queue[Any] = queue.Queue()
        self.held: list[tuple[Receipt, ...]] = []

    def run(self) -> None:
        from pylib.runtime.here import HERE

        self.runtime.sockets.adopt([self._pipe], self.member)
        while True:
            try:
                message = self._pipe.recv_pyobj()
            except zmq.error.ContextTerminated:
                break
            receipts, HERE.receipts = HERE.receipts, ()
            if self.accepts:
                settle(receipts, self.error)
            else:
                self.held.append(receipts)
            self.taken.put(message)
        for receipts in self.held:
            settle(receipts, ConnectionError("ended"))
        self._pipe.close()

    def let_go(self, error: BaseException | None = None) -> None:
        """Accept, or refuse, what is held, and from now on everything at once."""
        self.accepts = True
        while self.held:
            settle(self.held.pop(0), error)

    def next(self) -> Any:
        return self.taken.get(timeout=PATIENCE)


def settle(receipts: tuple[Receipt, ...], error: BaseException | None = None) -> None:
    for receipt in receipts:
        if error is None:
            receipt.release()
        else:
            receipt.fail(error)


class Bench:
    """A running writer, what takes its steps, and a way to send to it with a receipt to watch."""

    def __init__(self, runtime: Runtime, url: Any, *, accepts: bool = True, error: BaseException | None = None, **named: Any):
        from event_processor.store.sinks import broker_message

        self.runtime = runtime
        self.commands = Taker(COMMANDS, accepts=accepts, error=error)
        self.controls = Taker(CONTROLS)
        sinks = {"command": Sink(COMMANDS, broker_message), "control": Sink(CONTROLS, broker_message)}
        self.writer = StoreWriter(url, sinks=sinks, **named)
        self.loaded = self.writer.load()
        self.socket = zmq_socket(zmq.PUSH)
        self.socket.connect("inproc://store")

    def start(self) -> Bench:
        self.commands.start()
        self.controls.start()
        self.writer.start()
        return self

    def send(self, message: Any) -> threading.Event:
        """Send as a delivery's handler does; the event is set when its receipt settles."""
        settled = threading.Event()
        receipt = self.runtime.receipts.open(lambda receipt: settled.set())
        with handling((receipt,)):
            self.socket.send_pyobj(message)
        return settled

    def stored(self, *messages: Any) -> None:
        """Send, and wait until each was dealt with."""
        for settled in [self.send(message) for message in messages]:
            assert settled.wait(PATIENCE), "the delivery was never let go of"

    def until(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Wait until something holds that no event tells of; asks after each of the writer's tasks."""
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come to be: {self.writer.health()}"
            pause.wait(0.005)


@contextmanager
def bench(runtime: Runtime, url: Any, **named: Any) -> Iterator[Bench]:
    """A started bench, whose writer has ended and closed the store afterwards."""
    made = Bench(runtime, url, **named)
    made.start()
    try:
        yield made
    finally:
        assert made.writer.stop(5.0), "the writer did not end"
        made.socket.close()
        made.commands.stop(5.0)
        made.controls.stop(5.0)


def rows(url: Any, table: str, columns: str = "*", order: str = "1") -> list[tuple[Any, ...]]:
    """What a table holds."""
    database = Database(url)
    database.open()
    try:
        found = database.connection.exec_driver_sql(f"SELECT {columns} FROM {table} ORDER BY {order}")
        return [tuple(row) for row in found]
    finally:
        database.close()
