"""The doorbell: a change by another process is heard, and no socket outlives its process for long."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

import pytest

from pylib.delivery.doorbell import Doorbell, ring_all

pytestmark = pytest.mark.leak_check

RING = "import sys; from pathlib import Path; from pylib.delivery.doorbell import ring_all; print(ring_all(Path(sys.argv[1])))"
BELL_THEN_DIE = """
import os, signal, sys
from pathlib import Path
from pylib.delivery.doorbell import Doorbell
bell = Doorbell(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(program: str, path: Path) -> str:
    return subprocess.run([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True, timeout=30).stdout


def test_a_ring_wakes_who_watches_the_descriptor(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path / "delivery.db")
    poller = select.poll()
    poller.register(bell.fileno(), select.POLLIN)
    assert poller.poll(0) == []
    assert bell.drain() is False
    assert run(RING, tmp_path / "delivery.db") == "1\n"
    assert poller.poll(5000)
    assert bell.drain() is True
    assert bell.drain() is False
    assert poller.poll(0) == []
    bell.close()


def test_every_bell_beside_the_file_rings_and_no_other(tmp_path: Path) -> None:
    here = [Doorbell(tmp_path / "delivery.db") for _ in range(3)]
    elsewhere = Doorbell(tmp_path / "other.db")
    assert ring_all(tmp_path / "delivery.db") == 3
    assert [bell.drain() for bell in here] == [True, True, True]
    assert elsewhere.drain() is False
    for bell in (*here, elsewhere):
        bell.close()


def test_a_bell_that_nobody_answers_never_makes_the_ringer_wait(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path / "delivery.db")
    for _ in range(2000):
        assert ring_all(tmp_path / "delivery.db") == 1
    assert bell.drain() is True
    bell.close()


def test_closing_takes_the_socket_away_and_may_be_done_twice(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path / "delivery.db")
    assert bell.path.exists()
    bell.close()
    bell.close()
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_killed_process_is_removed_by_the_next_ring(tmp_path: Path) -> None:
    run(BELL_THEN_DIE, tmp_path / "delivery.db")
    assert len(list(tmp_path.iterdir())) == 1
    assert ring_all(tmp_path / "delivery.db") == 0
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_killed_process_is_removed_by_the_next_bell(tmp_path: Path) -> None:
    run(BELL_THEN_DIE, tmp_path / "delivery.db")
    bell = Doorbell(tmp_path / "delivery.db")
    assert list(tmp_path.iterdir()) == [bell.path]
    bell.close()


def test_the_socket_of_a_living_process_stays_while_others_come_and_go(tmp_path: Path) -> None:
    first = Doorbell(tmp_path / "delivery.db")
    Doorbell(tmp_path / "delivery.db").close()
    ring_all(tmp_path / "delivery.db")
    assert first.path.exists()
    first.close()


def test_a_path_too_long_for_a_socket_address_works_as_well(tmp_path: Path) -> None:
    database = tmp_path / ("long" * 30) / "delivery.db"
    bell = Doorbell(database)
    assert ring_all(database) == 1
    assert bell.drain() is True
    bell.close()
    assert list(database.parent.iterdir()) == []


def test_signs_that_mean_something_to_a_shell_are_ordinary_in_a_path(tmp_path: Path) -> None:
    database = tmp_path / "a[b]*?" / "delivery.db"
    bell = Doorbell(database)
    assert ring_all(database) == 1
    bell.close()
