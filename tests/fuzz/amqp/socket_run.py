"""Mutated frames into the embedded AMQP broker over its socket, as from the network."""

from __future__ import annotations

import logging
import random
import socket
import time
from contextlib import suppress

from pylib.embedded.amqp import AmqpBroker
from tests.fuzz.amqp.checks import read_all
from tests.fuzz.amqp.core_run import Alarm, Report
from tests.fuzz.amqp.mutator import spoiled
from tests.fuzz.amqp.sessions import handshake, honest_steps, set_up

PATIENCE = 20.0


def fuzz_socket(seed: int, frames: int) -> Report:
    """Send so many mutated frames; raises AssertionError with the number of the session that shows a defect."""
    report, alarm = Report(), Alarm()
    log = logging.getLogger("pylib.embedded.amqp")
    log.addHandler(alarm)
    propagate, log.propagate = log.propagate, False
    try:
        with AmqpBroker() as broker:
            while report.frames < frames:
                try:
                    _session(random.Random(seed * 1_000_003 + report.sessions), broker.port, report)
                    assert not alarm.records, alarm.records[0]
                except Exception as e:
                    raise AssertionError(f"seed {seed}, session {report.sessions}: {type(e).__name__}: {e}") from e
                report.sessions += 1
                if report.sessions % 200 == 0:
                    broker.reset()
            deadline = time.monotonic() + PATIENCE
            while broker.connections():
                assert time.monotonic() < deadline, f"{broker.connections()} connections are left"
            broker.reset()
            assert broker.memory() == 0
    finally:
        log.removeHandler(alarm)
        log.propagate = propagate
    return report


def _session(rng: random.Random, port: int, report: Report) -> None:
    steps = honest_steps(rng, 16)
    honest = [frame for step in steps for frame in step]
    before = [frame for step in steps[: rng.randrange(8)] for frame in step]
    start = handshake() + (set_up() if rng.random() < 0.5 else []) + before
    if rng.random() < 0.1:
        start = start[: rng.randrange(6)]
    bad = [spoiled(rng, frame, honest) for step in steps[8 : 8 + rng.choice([1, 2, 4])] for frame in step]
    report.frames += len(bad)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        with suppress(ConnectionError):
            client.sendall(b"".join(start + bad))
            # The end of what the client has to say: a broker that still waits for a frame's rest has to let go.
            client.shutdown(socket.SHUT_WR)
        output = bytearray()
        while True:
            try:
                data = client.recv(65536)
            except ConnectionError:
                break
            if not data:
                break
            output += data
    ending = read_all(bytes(output))
    report.count(f"closed {ending.close}" if ending.close else "ended")
