"""A backup taken while outcomes are stored as fast as that goes: of one moment, whole, and restored with nothing missing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from event_processor.domain.outcome import Change
from event_processor.store.backup import backup
from event_processor.store.reader import Reader
from event_processor.store.restore import restore
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket
from tests.unit.store.kit import Bench, bench, outcome, rows
from tests.unit.store.test_migrations import foreign_keys_hold

pytestmark = [pytest.mark.timeout(110), pytest.mark.slow]

BACKUPS = 2
IN_A_MESSAGE = 20


def feed(b: Bench, enough: threading.Event) -> None:
    number = 0
    with b.runtime.active():
        socket = zmq_socket(8)
        socket.connect("inproc://store")
        while not enough.is_set():
            batch = [
                outcome(n, steps=1, changes=(Change("timer", "last", b"%d" % n),))
                for n in range(number, number + IN_A_MESSAGE)
            ]
            socket.send_pyobj(batch)
            number += IN_A_MESSAGE
        b.until(lambda: b.writer.health().stored == number)
        socket.close()


def test_a_backup_under_load_is_restored_with_nothing_lost(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    taken = []
    with bench(runtime, store_url) as b:
        enough = threading.Event()
        feeder = threading.Thread(target=feed, args=(b, enough))
        feeder.start()
        try:
            b.until(lambda: b.writer.health().stored > 500)
            for number in range(BACKUPS):
                before = b.writer.health().stored
                backup(store_url, tmp_path / f"{number}.backup")
                taken.append((before, b.writer.health().stored))
        finally:
            enough.set()
            feeder.join(60)
    assert all(after > before for before, after in taken), "nothing was stored meanwhile: this was no load"
    for number, (before, after) in enumerate(taken):
        target = str(tmp_path / f"{number}.db")
        restore(tmp_path / f"{number}.backup", target)
        ((count,),) = rows(target, "events", "count(*)")
        assert before <= count <= after + 2000, "what was stored when it began is in it"
        assert rows(target, "evaluations", "count(*)") == [(count,)]
        assert rows(target, "steps", "count(*)") == [(count,)]
        reader = Reader(target)
        assert [each.cause for each in reader.iter_events(0)] == [f"cause-{n}" for n in range(count)]
        assert reader.state("timer") == {"last": b"%d" % (count - 1)}, "state and history are of the same moment"
        reader.close()
        assert foreign_keys_hold(target)
        print(f"backup {number}: {count} events, {after - before} stored while it was taken, 0 missing, foreign keys hold")
