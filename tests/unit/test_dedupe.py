"""The memory of message ids: what it drops, what it forgets, and what a kill can do to it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pylib.delivery.dedupe import Seen
from pylib.delivery.sqlite import StoreBroken

pytestmark = pytest.mark.leak_check

MakeSeen = Callable[..., Seen]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "seen.db"


@pytest.fixture
def make_seen() -> Iterator[MakeSeen]:
    made: list[Seen] = []

    def make(limit: int = 100, path: Path | None = None) -> Seen:
        made.append(Seen(limit, path))
        return made[-1]

    yield make
    for seen in made:
        seen.close()


def test_the_second_of_two_is_a_duplicate(make_seen: MakeSeen) -> None:
    seen = make_seen()
    assert [seen.first(i) for i in ("a", "b", "a", "a")] == [True, True, False, False]
    assert seen.duplicates == 2


def test_a_message_without_an_id_is_always_new(make_seen: MakeSeen) -> None:
    seen = make_seen()
    assert [seen.first(i) for i in (None, None, "", "")] == [True] * 4
    assert seen.without_id == 4
    assert len(seen) == 0


@pytest.mark.parametrize("durable", [False, True])
def test_only_the_newest_are_remembered(make_seen: MakeSeen, file: Path, durable: bool) -> None:
    seen = make_seen(3, file if durable else None)
    for ident in ("a", "b", "c", "d", "e"):
        seen.first(ident)
        seen.commit()
    assert len(seen) == 3
    assert [seen.first(i) for i in ("c", "d", "e")] == [False] * 3
    assert seen.first("a") is True


def test_long_ids_are_told_apart_and_take_no_more_room(make_seen: MakeSeen, file: Path) -> None:
    seen = make_seen(10, file)
    long = "x" * 60_000
    assert [seen.first(i) for i in (long + "a", long + "b", long + "a")] == [True, True, False]
    seen.commit()
    seen.close()
    assert file.stat().st_size < 60_000
    assert make_seen(10, file).first(long + "b") is False


def test_what_was_committed_is_known_after_a_restart_and_the_rest_is_new(make_seen: MakeSeen, file: Path) -> None:
    seen = make_seen(path=file)
    seen.first("committed")
    seen.commit()
    seen.first("not committed")
    seen.close()
    again = make_seen(path=file)
    assert again.first("committed") is False
    assert again.first("not committed") is True


def test_no_file_is_made_before_there_is_something_to_keep(make_seen: MakeSeen, file: Path) -> None:
    seen = make_seen(path=file)
    seen.commit()
    seen.first("a")
    assert len(seen) == 1
    assert not file.exists()
    seen.commit()
    assert file.exists()


def test_what_failed_is_new_when_it_comes_again(make_seen: MakeSeen, file: Path) -> None:
    for seen in (make_seen(), make_seen(path=file)):
        seen.first("a")
        seen.forget("a")
        assert seen.first("a") is True
    seen.roll_back()
    assert seen.first("a") is True


def test_effect_and_id_are_one_commit(make_seen: MakeSeen, file: Path) -> None:
    seen = make_seen(path=file)
    with seen.transaction() as database:
        database.execute("CREATE TABLE effects (id TEXT)")
    seen.first("before")
    with pytest.raises(RuntimeError), seen.transaction() as database:  # noqa: PT012 - the block is what is tested
        assert seen.first("a")
        database.execute("INSERT INTO effects VALUES ('a')")
        raise RuntimeError("the handler failed")
    assert seen.first("before") is False, "what was seen before the block still waits for its commit"
    with seen.transaction() as database:
        assert database.execute("SELECT count(*) FROM effects").fetchone() == (0,)
        assert seen.first("a") is True
        assert seen.first("a") is False
        database.execute("INSERT INTO effects VALUES ('a')")
    seen.close()
    again = make_seen(path=file)
    assert (again.first("a"), again.first("before")) == (False, False)
    with again.transaction() as database:
        assert database.execute("SELECT count(*) FROM effects").fetchone() == (1,)


def test_a_transaction_without_a_file_is_a_mistake(make_seen: MakeSeen) -> None:
    with pytest.raises(ValueError, match="needs a file"), make_seen().transaction():
        pass


def test_a_locked_file_stores_nothing_and_the_commit_can_be_repeated(make_seen: MakeSeen, file: Path) -> None:
    seen = make_seen(path=file)
    seen.first("a")
    seen.commit()
    seen.first("b")
    other = sqlite3.connect(file, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBroken, match="locked"):
            seen.commit()
    finally:
        other.close()
    seen.commit()
    seen.close()
    again = make_seen(path=file)
    assert [again.first(i) for i in ("a", "b")] == [False, False]


def test_a_damaged_file_is_replaced(make_seen: MakeSeen, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(os.urandom(50_000))
    seen = make_seen(path=file)
    assert seen.first("a") is True
    seen.commit()
    assert "is kept as" in caplog.text


HANDLE_UNTIL_KILLED = """
import os, sys
from pathlib import Path
from pylib.delivery.dedupe import Seen
seen = Seen(100_000, Path(sys.argv[1]))
with seen.transaction() as database:
    database.execute("CREATE TABLE IF NOT EXISTS effects (id TEXT)")
for n in range(100_000):
    with seen.transaction() as database:
        if seen.first(str(n)):
            database.execute("INSERT INTO effects VALUES (?)", (str(n),))
    os.write(1, b"%d\\n" % n)
"""


def test_each_message_has_its_effect_once_through_kills(file: Path) -> None:
    """All messages come again after each kill: the broker knows of no acknowledgement."""
    done = 0
    for lines in (1, 30, 60, 100, 170):
        with subprocess.Popen([sys.executable, "-c", HANDLE_UNTIL_KILLED, str(file)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            done = max(done, lines + len(child.stdout.read().splitlines()))
    check = sqlite3.connect(file)
    effects = [int(ident) for (ident,) in check.execute("SELECT id FROM effects")]
    check.close()
    assert sorted(effects) == list(range(len(effects)))
    assert len(effects) >= done
