"""Mutated frames into the sessions of the embedded AMQP broker, without a socket and on a clock of its own."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field

from pamqp.commands import Basic, Channel, Queue
from pamqp.commands import Connection as Con
from pamqp.frame import marshal

from pylib.embedded.amqp.broker.core import Core
from pylib.embedded.amqp.limits import Limits
from pylib.embedded.amqp.session.connection import Connection, State
from tests.fuzz.amqp.checks import read_all
from tests.fuzz.amqp.mutator import spoiled
from tests.fuzz.amqp.sessions import content, handshake, honest_steps, set_up

# Longer than this for one frame is a hang in the making; a loaded machine stays far below.
SLOWEST_SECONDS = 2.0
LIMITS = Limits(connections=50, queues=50, exchanges=50, bindings=500, consumers=100, queue_length=1000,
                queue_bytes=1 << 20, memory=8 << 20, message=1 << 20)  # fmt: skip


class Alarm(logging.Handler):
    """Collects what the broker logs as its own defect."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


@dataclass(slots=True)
class Report:
    """What a run did."""

    frames: int = 0
    sessions: int = 0
    slowest: float = 0.0
    endings: dict[str, int] = field(default_factory=dict)

    def count(self, ending: str) -> None:
        self.endings[ending] = self.endings.get(ending, 0) + 1


class Client:
    """One session object with what it has sent."""

    def __init__(self, core: Core) -> None:
        self.connection = Connection(core, has_output=lambda _: None, hold=lambda _: None)
        self.output = b""
        self.slowest = 0.0

    def send(self, data: bytes) -> None:
        began = time.perf_counter()
        self.connection.receive(data)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        self.collect()

    def collect(self) -> None:
        while data := self.connection.take_output():
            self.output += data
            self.connection.feed_starved()

    @property
    def open(self) -> bool:
        return self.connection.state not in (State.CLOSING, State.GONE)


class CoreFuzz:
    """Sessions one after the other on one broker, which has to be empty and in order after each hundred of them."""

    def __init__(self, seed: int, first: int = 0) -> None:
        self.seed = seed
        self.now = 0.0
        self.core = Core(LIMITS, lambda: self.now, "guest", "guest")
        # To see a defect again, start at the hundred before its session.
        self.report = Report(sessions=first)
        self.alarm = Alarm()
        self.stranger = Client(self.core)

    def run(self, frames: int) -> Report:
        """Send so many mutated frames. Raises AssertionError with the number of the session that shows a defect."""
        log = logging.getLogger("pylib.embedded.amqp")
        log.addHandler(self.alarm)
        propagate, log.propagate = log.propagate, False
        try:
            while self.report.frames < frames:
                self.session(self.report.sessions)
                self.report.sessions += 1
                if self.report.sessions % 100 == 0:
                    self.in_order()
            self.in_order()
        except Exception as e:
            raise AssertionError(f"seed {self.seed}, session {self.report.sessions}: {type(e).__name__}: {e}") from e
        finally:
            log.removeHandler(self.alarm)
            log.propagate = propagate
        return self.report

    def session(self, number: int) -> None:
        """One client, honest for a while and then not."""
        rng = random.Random(self.seed * 1_000_003 + number)
        client = Client(self.core)
        way_in = handshake(heartbeat=rng.choice([0, 0, 1]))
        steps = honest_steps(rng, 30)
        honest = [frame for step in steps for frame in step]
        if rng.random() < 0.1:  # spoil the handshake itself
            spoil_at = rng.randrange(len(way_in))
            for frame in way_in[:spoil_at]:
                client.send(frame)
            self.spoil(rng, client, way_in[spoil_at:], honest)
        else:
            for frame in way_in + (set_up() if rng.random() < 0.7 else []):
                client.send(frame)
            self.spoil(rng, client, honest, honest)
        self.leave(rng, client)
        self.report.slowest = max(self.report.slowest, client.slowest)
        assert client.slowest < SLOWEST_SECONDS, f"one frame took {client.slowest:.1f} s"
        assert not self.alarm.records, self.alarm.records[0]

    def spoil(self, rng: random.Random, client: Client, frames: list[bytes], others: list[bytes]) -> None:
        for frame in frames:
            if not client.open:
                return
            if rng.random() < 0.4:
                client.send(frame)
                continue
            data = spoiled(rng, frame, others)
            self.report.frames += 1
            if rng.random() < 0.1 and len(data) > 1:
                cut = rng.randrange(1, len(data))
                client.send(data[:cut])
                client.send(data[cut:])
            else:
                client.send(data)
            if rng.random() < 0.05:
                self.now += rng.choice([0.03, 0.2, 3.0])
                self.core.agenda.run()
                client.collect()

    def leave(self, rng: random.Random, client: Client) -> None:
        """See how the session ended, or end it."""
        state = client.connection.state
        ending = read_all(client.output)
        if state is State.CLOSING:
            assert ending.close is not None, "it waits for close-ok of a close it did not send"
            self.report.count(f"closed {ending.close}")
            if rng.random() < 0.5:
                client.send(marshal(Con.CloseOk(), 0))
            else:  # a client that never answers
                self.now += 30
                self.core.agenda.run()
            # A broken frame may have swallowed the close-ok: then time ends it.
            if not client.connection.gone:
                self.now += 30
                self.core.agenda.run()
            assert client.connection.gone, "a connection outlives its close"
        elif state is State.GONE:
            by_the_book = (
                not ending.opened or ending.close is not None or ending.close_ok or "heartbeats" in client.connection.reason
            )
            assert by_the_book, f"hung up on without a word: {client.connection.reason}"
            self.report.count("before it was open" if not ending.opened else f"ended {ending.close or 'as asked'}")
        else:
            self.report.count("still open")
            client.connection.drop("the client hung up")
        client.collect()
        read_all(client.output)

    def in_order(self) -> None:
        """The broker still serves, and nothing of the sessions is left in it."""
        probe = Client(self.core)
        for frame in handshake():
            probe.send(frame)
        probe.output = b""
        for method in (Queue.Declare(queue="probe", exclusive=True), Basic.Qos(0, 1, False)):
            probe.send(marshal(method, 1))
        size = 7
        for data in content(random.Random(1), 2, size):
            probe.send(data)
        probe.send(marshal(Channel.Close(200, "", 0, 0), 1))
        probe.send(marshal(Con.Close(200, "", 0, 0), 0))
        assert probe.connection.gone, "an honest client is not served any more"
        assert read_all(probe.output).close_ok, "an honest client's close is not answered"
        self.core.clear()
        self.now += 120
        self.core.agenda.run()
        left = {
            "queues": self.core.queue_count, "bindings": self.core.bindings, "consumers": self.core.consumers,
            "bytes": self.core.memory.used, "appointments": int(self.core.agenda.next_due() is not None),
        }  # fmt: skip
        assert not any(left.values()), f"left in the empty broker: {left}"
