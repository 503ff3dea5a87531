"""The retry store: what failed is on the disk before anybody is told so, in order per key, and never in two places."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pylib.delivery import letter_table
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import Letter, Limits
from pylib.delivery.retry import RetryStore
from pylib.delivery.sqlite import StoreBroken, StoreFull
from pylib.errors import ConfigError
from pylib.testing.clock import VirtualClock

pytestmark = pytest.mark.leak_check

MakeStore = Callable[..., RetryStore]


def letter(key: str = "kitchen", body: bytes = b"on", due_at: float = 0.0, **more: object) -> Letter:
    values: dict[str, object] = {
        "origin": "subscriber", "broker": "mqtt://127.0.0.1:1883", "address": f"home/{key}", "key": key, "body": body,
        "received_at": 1_700_000_000.0, "due_at": due_at, "tries": 1, "error": "ValueError: no", **more,
    }  # fmt: skip
    return Letter(**values)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "delivery.db"


@pytest.fixture
def make_store(database: Path, virtual_clock: VirtualClock) -> Iterator[MakeStore]:
    made: list[RetryStore] = []

    def make(origin: str = "subscriber", **options: object) -> RetryStore:
        store = RetryStore(database, origin, virtual_clock, **options)  # type: ignore[arg-type]
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> RetryStore:
    return make_store()


def bodies(letters: list[Letter]) -> list[bytes]:
    return [found.body for found in letters]


def test_an_application_that_never_fails_makes_no_file(store: RetryStore, database: Path) -> None:
    assert not store.waiting_keys()
    assert store.next_due() is None
    assert store.due(2e9) == []
    store.refresh()
    assert not database.parent.exists()


def test_the_opening_is_told_once(make_store: MakeStore) -> None:
    opened: list[int] = []
    store = make_store(on_open=lambda: opened.append(1))
    store.next_due()
    assert opened == []
    store.put(letter())
    store.put(letter())
    store.refresh()
    assert opened == [1]


def test_a_letter_comes_back_as_it_was_put_after_a_restart(make_store: MakeStore) -> None:
    put = letter(
        body=b"\x00\xff", message_id="m-1", created_at=1.5, expires_at=2e9, content_type="application/msgpack",
        headers={"n": 1, "nested": {"raw": b"\x01"}, "list": [None, True]}, traceback="Traceback\n",
    )  # fmt: skip
    first = make_store()
    ident = first.put(put)
    first.close()
    [got] = make_store().due(2.0)
    assert got == Letter(**{**{n: getattr(put, n) for n in Letter.__struct_fields__}, "ident": ident})


def test_of_one_key_only_the_oldest_is_tried_and_other_keys_do_not_wait(store: RetryStore) -> None:
    for body in (b"1", b"2", b"3"):
        store.put(letter("kitchen", body))
    store.put(letter("hall", b"4"))
    assert sorted(bodies(store.due(1.0))) == [b"1", b"4"]
    assert store.due(1.0) == []
    assert store.waiting_keys() == {"kitchen", "hall"}


def test_the_letters_of_a_key_come_in_the_order_in_which_they_were_put(store: RetryStore) -> None:
    store.put_many([letter("kitchen", str(n).encode()) for n in range(5)])
    seen = []
    while letters := store.due(1.0):
        [found] = letters
        seen.append(found.body)
        store.succeeded(found.ident)
    assert seen == [b"0", b"1", b"2", b"3", b"4"]
    assert not store.waiting_keys()
    assert store.next_due() is None


def test_a_letter_that_fails_again_keeps_its_place_and_counts_its_tries(
    store: RetryStore, virtual_clock: VirtualClock
) -> None:
    now = virtual_clock.time()
    store.put(letter("kitchen", b"1"))
    store.put(letter("kitchen", b"2"))
    [first] = store.due(now)
    store.failed(first.ident, "KeyError: 'x'", "Traceback", now + 5.0)
    assert store.next_due() == now + 5.0
    assert store.due(now + 4.9) == []
    [again] = store.due(now + 5.0)
    assert (again.body, again.tries, again.error, again.traceback) == (b"1", 2, "KeyError: 'x'", "Traceback")


def test_a_letter_is_parked_exactly_once_and_frees_its_key(store: RetryStore, database: Path) -> None:
    ident = store.put(letter("kitchen", b"poison"))
    store.put(letter("kitchen", b"good"))
    assert store.park(ident, "ValueError: no", "Traceback") is True
    assert store.park(ident, "ValueError: no", "Traceback") is False
    store.succeeded(ident)
    store.failed(ident, "late", "", 0.0)
    assert bodies(store.due(1.0)) == [b"good"]
    dead = DeadLetters(database)
    assert [found.ident for found in dead.list()] == [ident]
    assert dead.totals().waiting == 1
    dead.close()


def test_what_cannot_be_decoded_is_a_dead_letter_at_once(store: RetryStore, database: Path) -> None:
    ident = store.bury(letter(body=b"\xc1", error="DecodeError: not JSON"))
    assert not store.waiting_keys()
    dead = DeadLetters(database)
    assert dead.show(ident).error == "DecodeError: not JSON"
    dead.close()


def test_an_expired_letter_is_never_given_out_but_parked(
    store: RetryStore, database: Path, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    now = virtual_clock.time()
    ident = store.put(letter("siren", b"stale", expires_at=now + 10.0))
    store.put(letter("siren", b"fresh"))
    assert store.next_due() is not None
    assert store.due(now + 10.0) == []
    assert bodies(store.due(now + 10.0)) == [b"fresh"]
    assert store.expired == 1
    assert "had expired" in caplog.text
    dead = DeadLetters(database)
    assert dead.show(ident).error.startswith("Expired: ")
    dead.close()


def test_what_was_given_out_and_not_tried_can_be_put_back(store: RetryStore) -> None:
    store.put(letter())
    [out] = store.due(1.0)
    assert store.next_due() is None
    store.put_back(out.ident)
    assert bodies(store.due(1.0)) == [b"on"]


def test_a_refresh_does_not_give_out_twice_what_is_being_tried(store: RetryStore) -> None:
    store.put(letter())
    [out] = store.due(1.0)
    store.refresh()
    assert store.due(1.0) == []
    store.succeeded(out.ident)
    assert not store.waiting_keys()


def test_each_origin_is_given_its_own_letters_only(make_store: MakeStore) -> None:
    one, other = make_store("one"), make_store("other")
    one.put(letter("kitchen", b"1"))
    other.put(letter("kitchen", b"2"))
    assert bodies(one.due(1.0)) == [b"1"]
    assert bodies(other.due(1.0)) == [b"2"]
    assert bodies(make_store("one").due(1.0)) == [b"1"]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, -864_000.0])
def test_a_clock_that_is_set_neither_holds_up_nor_hastens_a_retry(
    store: RetryStore, virtual_clock: VirtualClock, jump: float
) -> None:
    store.put(letter(due_at=virtual_clock.time() + 10.0))
    virtual_clock.jump(jump)
    virtual_clock.advance(9.0)
    assert store.due(virtual_clock.time()) == []
    virtual_clock.advance(1.0)
    assert bodies(store.due(virtual_clock.time())) == [b"on"]


def test_a_due_time_from_a_clock_that_was_wrong_is_brought_near(make_store: MakeStore, virtual_clock: VirtualClock) -> None:
    first = make_store()
    first.put(letter(due_at=virtual_clock.time() + 1e9))
    first.close()
    due = make_store(limits=Limits(longest_wait=60.0)).next_due()
    assert due is not None
    assert due <= virtual_clock.time() + 60.0


def test_too_many_waiting_letters_are_refused_and_none_is_dropped(make_store: MakeStore) -> None:
    store = make_store(limits=Limits(waiting_letters=2))
    store.put_many([letter("a"), letter("b")])
    with pytest.raises(StoreFull, match="mend what makes the handler fail"):
        store.put(letter("c"))
    assert store.waiting_keys() == {"a", "b"}
    [first, _] = store.due(1.0)
    store.succeeded(first.ident)
    store.put(letter("c"))


def test_passwords_in_reasons_are_not_stored(store: RetryStore, database: Path) -> None:
    store.put(letter(error="E: amqp://me:hunter2@host/", traceback="amqp://me:hunter2@host/"))
    store.close()
    assert b"hunter2" not in database.read_bytes()


def test_text_that_is_not_utf8_is_stored_all_the_same(store: RetryStore) -> None:
    store.put(letter(error="E: \udcff"))
    [out] = store.due(1.0)
    assert out.error == "E: \\udcff"


# -- what can go wrong with the disk


def test_a_full_disk_raises_stores_nothing_and_goes_on_when_there_is_room(store: RetryStore, database: Path) -> None:
    store.put(letter("a", b"1"))
    connection = store._table._open().open()
    connection.execute("PRAGMA max_page_count = 1")  # SQLite brings it up to the present size: the disk is full now
    with pytest.raises(StoreBroken, match="disk is full"):
        store.put(letter("b", b"x" * 100_000))
    assert store.waiting_keys() == {"a"}
    connection.execute("PRAGMA max_page_count = 1000000")
    store.put(letter("b", b"2"))
    assert sorted(bodies(store.due(1.0))) == [b"1", b"2"]


WRITE_TO_THE_LIMIT = """
import resource, sys
from pathlib import Path
from pylib.delivery.letters import Letter
from pylib.delivery.retry import RetryStore
from pylib.delivery.sqlite import StoreBroken
store = RetryStore(Path(sys.argv[1]), "subscriber")
def put(n):
    return store.put(Letter(origin="", broker="", address="a", key=str(n), body=b"x" * 20_000, received_at=0.0))
print(put(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    for n in range(1, 100):
        print(put(n))
except StoreBroken as error:
    print("broken")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(put(1000))
print(len(store.waiting_keys()))
store.close()
"""


def test_writes_that_the_system_refuses_lose_nothing_that_was_stored(database: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TO_THE_LIMIT, str(database)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert "broken" in lines
    stored = [int(line) for line in lines[:-1] if line != "broken"]
    assert int(lines[-1]) == len(stored)
    store = RetryStore(database, "subscriber")
    assert sorted(found.ident for found in store.due(2e9)) == sorted(stored)
    store.close()


def test_a_locked_file_raises_within_its_time_and_works_again_afterwards(store: RetryStore, database: Path) -> None:
    store.put(letter("a"))
    other = sqlite3.connect(database, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBroken, match="locked"):
            store.put(letter("b"))
    finally:
        other.close()
    store.put(letter("b"))
    assert store.waiting_keys() == {"a", "b"}


def test_what_could_not_be_parked_is_not_forgotten(store: RetryStore, database: Path, virtual_clock: VirtualClock) -> None:
    now = virtual_clock.time()
    store.put(letter("siren", expires_at=now - 1.0))
    store.put(letter("hall", b"good"))
    other = sqlite3.connect(database, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert bodies(store.due(now)) == [b"good"], "what is good is tried although the other cannot be parked"
        with pytest.raises(StoreBroken, match="locked"):
            store.due(now)
    finally:
        other.close()
    assert store.due(now) == []
    assert store.waiting_keys() == {"hall"}
    assert store.expired == 1


def test_an_outcome_that_could_not_be_stored_can_be_told_again(store: RetryStore, database: Path) -> None:
    store.put(letter())
    [out] = store.due(1.0)
    other = sqlite3.connect(database, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBroken, match="locked"):
            store.succeeded(out.ident)
    finally:
        other.close()
    assert store.due(1.0) == [], "it is not tried again meanwhile"
    store.succeeded(out.ident)
    assert not store.waiting_keys()


def test_a_commit_waits_for_the_disk(store: RetryStore) -> None:
    """Without this a power cut takes what was acknowledged; no kill of a process can show it."""
    store.put(letter())
    assert store._table.query("PRAGMA synchronous") == [(2,)]
    assert store._table.query("PRAGMA journal_mode") == [("wal",)]


def test_a_damaged_file_is_set_aside_reported_and_replaced(
    make_store: MakeStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_store()
    first.put_many([letter(str(n), b"x" * 500) for n in range(200)])
    first.close()
    with database.open("r+b") as file:
        file.seek(20_480)
        file.write(os.urandom(8_192))
    second = make_store()
    assert not second.waiting_keys()
    second.put(letter())
    assert bodies(second.due(1.0)) == [b"on"]
    assert (database.parent / "delivery.db.corrupt-1").exists()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_damaged_file_is_not_renamed_under_somebody_who_has_it_open(make_store: MakeStore, database: Path) -> None:
    holder, other = make_store("holder"), make_store("other")
    holder.put_many([letter(str(n), b"x" * 500) for n in range(200)])
    holder._table.query("PRAGMA wal_checkpoint(TRUNCATE)")
    database.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreBroken):
        other.put(letter())
    assert not list(database.parent.glob("*.corrupt-*"))
    holder.close()
    other.put(letter())
    assert list(database.parent.glob("*.corrupt-1"))


def test_a_file_of_another_program_is_refused_and_left_alone(store: RetryStore, database: Path) -> None:
    database.parent.mkdir()
    foreign = sqlite3.connect(database)
    foreign.execute("CREATE TABLE recipes (name TEXT)")
    foreign.close()
    with pytest.raises(ConfigError, match="another program"):
        store.put(letter())
    foreign = sqlite3.connect(database)
    assert foreign.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    foreign.close()


def test_an_upgrade_keeps_what_is_stored(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_store()
    ident = old.put(letter(body=b"old"))
    old.close()
    newer = "ALTER TABLE letters ADD COLUMN flavour TEXT NOT NULL DEFAULT 'plain';"
    monkeypatch.setattr(letter_table, "MIGRATIONS", (*letter_table.MIGRATIONS, newer))
    new = make_store()
    assert [found.ident for found in new.due(1.0)] == [ident]
    assert new._table.query("SELECT flavour FROM letters") == [("plain",)]
    assert new._table.query("PRAGMA user_version") == [(2,)]
    new.close()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="newer version"):
        make_store().due(1.0)


PUT_UNTIL_KILLED = """
import itertools, os, sys
from pathlib import Path
from pylib.delivery.letters import Letter
from pylib.delivery.retry import RetryStore
store = RetryStore(Path(sys.argv[1]), "subscriber")
for n in itertools.count():
    ident = store.put(Letter(origin="", broker="", address="a", key=str(n), body=b"x" * 3000, received_at=0.0))
    os.write(1, b"%d\\n" % ident)
    if n % 3 == 0:
        store.park(ident, "ValueError: no", "")
"""


@pytest.mark.parametrize("lines", [1, 20, 45, 90, 200])
def test_a_kill_in_the_middle_loses_nothing_that_was_confirmed(database: Path, lines: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PUT_UNTIL_KILLED, str(database)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        confirmed = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in child.stdout.read().splitlines()]
    check = sqlite3.connect(database)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()
    store, dead = RetryStore(database, "subscriber"), DeadLetters(database)
    try:
        waiting = [found.ident for found in store.due(2e9, 100_000)]
        parked = [found.ident for found in dead.list(100_000)]
        totals = dead.totals()
    finally:
        store.close()
        dead.close()
    assert set(confirmed) <= {*waiting, *parked}
    assert set(waiting).isdisjoint(parked)
    assert len(waiting) + len(parked) <= len(confirmed) + 1
    assert (totals.waiting, totals.dead) == (len(waiting), len(parked))


ADD_DEAD_LETTERS = """
import sys
from pathlib import Path
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import Letter
dead = DeadLetters(Path(sys.argv[1]))
for n in range(100):
    dead.add(Letter(origin="child", broker="", address="a", key="k", body=b"x", received_at=0.0))
dead.close()
"""


def test_two_processes_write_into_one_file_at_once(store: RetryStore, database: Path) -> None:
    """Both make the file, too."""
    with subprocess.Popen([sys.executable, "-c", ADD_DEAD_LETTERS, str(database)]) as child:
        for n in range(100):
            store.put(letter(str(n)))
        assert child.wait(60) == 0
    dead = DeadLetters(database)
    totals, idents = dead.totals(), {found.ident for found in dead.list(1000)}
    dead.close()
    waiting = {found.ident for found in store.due(1.0, 1000)}
    assert (totals.waiting, totals.dead) == (100, 100)
    assert len(waiting | idents) == 200
