"""Dead letters: bounded, and replayed on purpose only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pylib.config.appconfig import AppConfig
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.doorbell import Doorbell
from pylib.delivery.letters import Letter, Limits, NoSuchLetter, store_path
from pylib.delivery.retry import RetryStore
from pylib.errors import Rejected
from pylib.testing.clock import VirtualClock

pytestmark = pytest.mark.leak_check

MakeDead = Callable[..., DeadLetters]


def letter(address: str = "home/kitchen", body: bytes = b"on", **more: object) -> Letter:
    values: dict[str, object] = {
        "origin": "subscriber", "broker": "mqtt://127.0.0.1:1883", "address": address, "key": "kitchen", "body": body,
        "received_at": 1_700_000_000.0, "tries": 5, "error": "ValueError: no", "message_id": "m-1", **more,
    }  # fmt: skip
    return Letter(**values)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "delivery.db"


@pytest.fixture
def make_dead(database: Path, virtual_clock: VirtualClock) -> Iterator[MakeDead]:
    made: list[DeadLetters] = []

    def make(**limits: int) -> DeadLetters:
        dead = DeadLetters(database, virtual_clock, limits=Limits(**limits))
        made.append(dead)
        return dead

    yield make
    for dead in made:
        dead.close()


@pytest.fixture
def dead(make_dead: MakeDead) -> DeadLetters:
    return make_dead()


@pytest.fixture
def store(database: Path, virtual_clock: VirtualClock) -> Iterator[RetryStore]:
    store = RetryStore(database, "subscriber", virtual_clock)
    yield store
    store.close()


def test_asking_makes_no_file(dead: DeadLetters, database: Path) -> None:
    assert dead.list() == []
    assert dead.count() == 0
    assert dead.drop_all() == 0
    assert dead.replay_all() == (0, 0)
    for ask in (dead.show, dead.drop, dead.replay):
        with pytest.raises(NoSuchLetter):
            ask(1)
    assert not database.exists()


def test_the_list_has_the_newest_first_and_turns_pages(dead: DeadLetters, virtual_clock: VirtualClock) -> None:
    idents = []
    for _ in range(5):
        idents.append(dead.add(letter()))
        virtual_clock.advance(1.0)
    assert [found.ident for found in dead.list(2)] == idents[:-3:-1]
    assert [found.ident for found in dead.list(2, 4)] == idents[:1]
    assert dead.count() == 5


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("home/kitchen", {"home/kitchen"}),
        ("home/*", {"home/kitchen", "home/a?c", "home/[x]"}),
        ("home/a?c", {"home/a?c"}),
        ("home/[x]", {"home/[x]"}),
        ("*bbc*", {"garden/abbc"}),
        ("%", set()),
    ],
)
def test_the_list_chooses_by_address(dead: DeadLetters, pattern: str, expected: set[str]) -> None:
    for address in ("home/kitchen", "home/a?c", "home/[x]", "garden/abbc"):
        dead.add(letter(address))
    assert {found.address for found in dead.list(address=pattern)} == expected


def test_the_list_chooses_by_origin(dead: DeadLetters) -> None:
    one = dead.add(letter(origin="one"))
    dead.add(letter(origin="two"))
    assert [found.ident for found in dead.list(origin="one")] == [one]


def test_a_dropped_letter_is_gone_and_its_number_is_not_used_again(dead: DeadLetters) -> None:
    ident = dead.add(letter())
    dead.drop(ident)
    with pytest.raises(NoSuchLetter, match=f"no dead letter {ident} "):
        dead.show(ident)
    with pytest.raises(NoSuchLetter):
        dead.drop(ident)
    assert dead.add(letter()) > ident
    assert dead.drop_all() == 1
    assert dead.count() == 0


def test_a_letter_that_waits_for_another_try_is_no_dead_letter(dead: DeadLetters, store: RetryStore) -> None:
    ident = store.put(letter())
    assert dead.list() == []
    for ask in (dead.show, dead.drop, dead.replay):
        with pytest.raises(NoSuchLetter):
            ask(ident)
    assert dead.drop_all() == 0
    assert [found.ident for found in store.due(2e9)] == [ident]


def test_a_replayed_letter_is_tried_at_once_with_its_id_and_its_tries_from_nothing(
    dead: DeadLetters, store: RetryStore, database: Path, virtual_clock: VirtualClock
) -> None:
    ident = dead.add(letter(due_at=virtual_clock.time() + 1e6))
    assert not store.waiting_keys()
    bell = Doorbell(database)
    dead.replay(ident)
    assert bell.drain() is True
    bell.close()
    store.refresh()
    [found] = store.due(virtual_clock.time())
    assert (found.ident, found.message_id, found.tries, found.parked_at) == (ident, "m-1", 0, None)
    assert dead.count() == 0
    with pytest.raises(NoSuchLetter):
        dead.replay(ident)


def test_a_replayed_letter_queues_behind_what_waits_of_its_key(dead: DeadLetters, store: RetryStore) -> None:
    first = store.put(letter(body=b"1"))
    second = store.put(letter(body=b"2"))
    store.park(first, "ValueError: no", "")
    dead.replay(first)
    store.refresh()
    [found] = store.due(2e9)
    assert found.ident == second
    store.succeeded(second)
    assert [found.ident for found in store.due(2e9)] == [first]


def test_an_expired_letter_is_not_replayed_without_force(
    dead: DeadLetters, store: RetryStore, virtual_clock: VirtualClock
) -> None:
    ident = dead.add(letter(expires_at=virtual_clock.time() + 10.0))
    virtual_clock.advance(15.0)
    with pytest.raises(Rejected, match="expired 5 s ago"):
        dead.replay(ident)
    assert dead.count() == 1
    dead.replay(ident, force=True)
    [found] = store.due(virtual_clock.time())
    assert found.expires_at is None


def test_force_leaves_a_life_that_is_not_over_as_it_is(
    dead: DeadLetters, store: RetryStore, virtual_clock: VirtualClock
) -> None:
    end = virtual_clock.time() + 10.0
    dead.replay(dead.add(letter(expires_at=end)), force=True)
    assert [found.expires_at for found in store.due(virtual_clock.time())] == [end]


def test_all_are_replayed_in_order_and_expired_ones_are_left(
    dead: DeadLetters, store: RetryStore, virtual_clock: VirtualClock
) -> None:
    for n in range(4):
        dead.add(letter(body=str(n).encode(), expires_at=1.0 if n == 2 else None))
    dead.add(letter("garden/other"))
    assert dead.replay_all(address="home/*") == (3, 1)
    seen = []
    while found := store.due(virtual_clock.time()):
        seen.append(found[0].body)
        store.succeeded(found[0].ident)
    assert seen == [b"0", b"1", b"3"]
    assert dead.count() == 2
    assert dead.replay_all(force=True) == (2, 0)


def test_beyond_the_limit_of_letters_the_oldest_make_room_and_are_counted(
    make_dead: MakeDead, caplog: pytest.LogCaptureFixture
) -> None:
    dead = make_dead(dead_letters=3)
    idents = [dead.add(letter()) for _ in range(5)]
    assert [found.ident for found in dead.list()] == idents[:1:-1]
    assert dead.totals().dropped == 2
    assert "dropped the 1 oldest dead letters" in caplog.text
    assert len(caplog.records) == 1, "one line in a minute says it"


def test_beyond_the_limit_of_bytes_the_oldest_make_room_and_the_newest_stays(make_dead: MakeDead) -> None:
    dead = make_dead(dead_bytes=10_000)
    for _ in range(5):
        dead.add(letter(body=b"x" * 3000))
    assert dead.count() == 3
    assert dead.totals().dead_bytes <= 10_000
    ident = dead.add(letter(body=b"x" * 20_000))
    assert [found.ident for found in dead.list()] == [ident]


def test_parking_makes_room_as_adding_does(database: Path, virtual_clock: VirtualClock) -> None:
    store = RetryStore(database, "subscriber", virtual_clock, limits=Limits(dead_letters=1))
    for ident in (store.put(letter()), store.put(letter())):
        store.park(ident, "ValueError: no", "Traceback")
    store.close()
    dead = DeadLetters(database)
    assert [found.ident for found in dead.list()] == [2]
    assert dead.totals().dropped == 1
    dead.close()


def test_the_totals_are_those_of_the_rows_whatever_was_done(dead: DeadLetters, store: RetryStore) -> None:
    for n in range(6):
        store.put(letter(body=b"x" * n, key=str(n)))
    store.failed(1, "E: " + "longer" * 50, "Traceback" * 10, 0.0)
    store.park(2, "E: " + "longer" * 50, "Traceback" * 10)
    store.park(3, "E", "")
    dead.replay(3)
    store.succeeded(4)
    dead.add(letter(body=b"xyz"))
    dead.drop(2)
    rows = store._table.query(
        "SELECT sum(parked_at IS NULL), sum((parked_at IS NULL) * size), sum(parked_at IS NOT NULL), "
        "sum((parked_at IS NOT NULL) * size) FROM letters"
    )
    totals = dead.totals()
    assert rows == [(totals.waiting, totals.waiting_bytes, totals.dead, totals.dead_bytes)]


@pytest.mark.parametrize(
    ("settings", "environ", "expected"),
    [
        ("[app]\nstate_dir=/var/lib/hub\n", {"STATE_DIRECTORY": "/s"}, "/var/lib/hub/delivery.db"),
        ("", {"STATE_DIRECTORY": "/s/hub:/s/other"}, "/s/hub/delivery.db"),
        ("[app]\nname=my hub\n", {"XDG_STATE_HOME": "/x"}, "/x/my_hub/delivery.db"),
        ("", {"APP_NAME": "../hub"}, "HOME/.local/state/_hub/delivery.db"),
    ],
)
def test_the_file_is_where_the_settings_and_the_system_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, environ: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "app.conf").write_text(settings)
    found = store_path(AppConfig(tmp_path / "app.conf", environ))
    assert str(found) == expected.replace("HOME", str(tmp_path))
