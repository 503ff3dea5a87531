"""Packets that were almost right, at a running server: it neither ends nor hangs, and closes each connection by the book.

``PYLIB_FUZZ_PACKETS`` says how many (200,000 for the figures); ``PYLIB_FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Iterator

import pytest

from pylib.embedded.mqtt import MqttBroker, MqttLimits
from tests.conformance.mqtt import kit
from tests.conformance.mqtt.kit import PATIENCE, Endpoint, client

PACKETS = int(os.environ.get("PYLIB_FUZZ_PACKETS", "10000"))
SEED = int(os.environ.get("PYLIB_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
IN_ONE_CONNECTION = 8
SILENCE = 3.0
"""Seconds without an answer after which the server counts as hung."""

WILL = kit.Arrived("will/x", b"gone", 1)
GOOD = [
    kit.connect("fuzz"),
    kit.connect("fuzz", clean=False, keep_alive=5),
    kit.connect("", will=WILL, user="u", password="p"),
    kit.publish("a/b", b"payload"),
    kit.publish("a/b", b"payload", 1, 7, retain=True),
    kit.publish("a/ö/c", b"x" * 300, 2, 9, dup=True),
    *(kit.answer(kind, packet_id) for kind in (kit.PUBACK, kit.PUBREC, kit.PUBREL, kit.PUBCOMP) for packet_id in (1, 9)),
    kit.subscribe(("a/#", 2), ("+/b", 1), ("$share/g/a", 0)),
    kit.subscribe(("#", 1)),
    kit.unsubscribe("a/#", "nothing"),
    kit.packet(kit.PINGREQ),
    kit.packet(kit.DISCONNECT),
]


def mutated(chance: random.Random) -> bytes:
    """One packet that was taken apart a little: bits, bytes, lengths, pieces of others."""
    data = bytearray(chance.choice(GOOD))
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(8)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.choice((1, 2, 20)))
        elif kind == 3:
            del data[at : at + chance.choice((1, 2, 20))]
        elif kind == 4:
            data += chance.choice(GOOD)
        elif kind == 5 and len(data) > 1:  # a new body under a right length: the parts inside are wrong
            body = bytearray(data[2:]) or bytearray(b"\0")
            body[chance.randrange(len(body))] = chance.randrange(256)
            data[:] = kit.packet(data[0], bytes(body))
        elif kind == 6 and len(data) > 2:
            data[:] = kit.packet(chance.randrange(256), bytes(data[2:]))
        else:
            data[at:at] = data[:at]
    return bytes(data)


def streams(chance: random.Random, count: int) -> Iterator[tuple[int, bytes]]:
    """What goes over one connection each, until there were so many packets: mostly behind a CONNECT that is right."""
    while count > 0:
        packets = [mutated(chance) for _ in range(min(count, chance.randrange(1, IN_ONE_CONNECTION)))]
        count -= len(packets)
        greeting = kit.connect(chance.choice(("fuzz", "", "other"))) if chance.random() < 0.9 else b""
        yield len(packets), greeting + b"".join(packets)


def swallow(broker: Endpoint, stream: bytes) -> None:
    """Send it, then end our side; the server has to end its own."""
    with socket.create_connection((broker.host, broker.port), PATIENCE) as line:
        line.settimeout(SILENCE)
        try:
            line.sendall(stream)
            line.shutdown(socket.SHUT_WR)
            while line.recv(65536):
                pass
        except TimeoutError:
            raise AssertionError(f"the server did not close a connection, seed {SEED}: {stream.hex()}") from None
        except OSError:
            pass  # closed while we still sent


def test_mutated_packets_neither_end_nor_hang_the_server(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(SEED)
    began, sent, connections = time.monotonic(), 0, 0
    limits = MqttLimits(sessions=50, retained_messages=200, held_bytes=4_000_000)
    with caplog.at_level(logging.ERROR), MqttBroker(limits=limits) as broker:
        target = Endpoint("embedded", broker.host, broker.port)
        with client(target, "watch") as watch:
            for count, stream in streams(chance, PACKETS):
                swallow(target, stream)
                sent += count
                connections += 1
                if connections % 100 == 0:
                    watch.expect_nothing()
            watch.expect_nothing()
        assert [record.getMessage() for record in caplog.records] == [], f"seed {SEED}"
        broker.reset()
        held = broker._thread.call(lambda: broker._service.broker.budget.most - broker._service.broker.budget.free)
        assert held == 0
    print(f"mqtt fuzz: {sent} packets over {connections} connections in {time.monotonic() - began:.0f} s, seed {SEED}")
