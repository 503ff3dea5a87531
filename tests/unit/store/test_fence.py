"""A hub that was taken for dead and is not: from the moment at which another writes to the store, it does nothing more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from event_processor.store.database import Database
from event_processor.store.fence import Fence
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import Bench, outcome, rows

pytestmark = pytest.mark.timeout(60)


@contextmanager
def taken_over(url: str) -> Iterator[None]:
    """Another hub, which does not wait for ever."""
    with closing(Database(url)) as later:
        later.open()
        Fence().claim(later.connection, "the test's")
        yield


def test_a_hub_whose_store_was_taken_over_writes_and_sends_nothing_more_and_ends(runtime: Runtime, postgresql: str) -> None:
    b = Bench(runtime, postgresql).start()
    b.stored(outcome(1))
    with taken_over(postgresql):
        b.send(outcome(2, steps=1))
        assert runtime.latch.wait(10), "a hub whose time is over went on"
        cause = runtime.latch.cause
        assert cause is not None
        assert "Another hub has taken over the store" in cause.reason
        assert runtime.exit_code == 1
    b.socket.close()
    runtime.stop()
    assert rows(postgresql, "events", "cause") == [("cause-1",)]
    assert b.commands.taken.empty(), "a step of what was not stored was sent"


def test_a_hub_that_ends_in_order_is_waited_for_and_not_cut_off(runtime: Runtime, postgresql: str) -> None:
    b = Bench(runtime, postgresql).start()
    b.stored(outcome(1))
    assert b.writer.stop(5.0)
    began = time.monotonic()
    with taken_over(postgresql):
        assert time.monotonic() - began < 1.5, "nobody held it any more"
    b.socket.close()


def test_a_hub_that_lost_its_connection_goes_on_where_nobody_took_over(runtime: Runtime, postgresql: str) -> None:
    b = Bench(runtime, postgresql).start()
    b.stored(outcome(1))
    with closing(Database(postgresql)) as other:
        other.open()
        other.connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    b.stored(outcome(2, steps=1))
    assert b.commands.next()[2]["message_id"] == "step-2-0"
    assert b.writer.health().ok, "one connection that was cut is no reason to store nothing"
    assert b.writer.stop(5.0)
    b.socket.close()
    assert rows(postgresql, "events", "cause") == [("cause-1",), ("cause-2",)]
