"""A hub that is killed while it stores: what was acknowledged is there, whole, and every step goes out with one id."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from pylib.testing.processes import run_python

pytestmark = [pytest.mark.timeout(110), pytest.mark.slow]

FEEDER = Path(__file__).with_name("store_feeder.py")
QUICK_KILLS = 8


def kill_and_look(file: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill a feeder so many times at random moments; returns how many outcomes and steps were checked."""
    chance = random.Random(seed)
    kept: set[int] = set()
    took: list[str] = []
    first = 0
    root = FEEDER.parents[2]
    for _ in range(kills):
        with run_python(FEEDER, str(file), str(first), folder=root) as feeder:
            feeder.wait_for("ready", timeout=30)
            threading.Event().wait(chance.uniform(0.01, 0.4))
            feeder.kill()
            output = feeder.output
        kept |= {int(number) for number in re.findall(r"^kept (\d+)$", output, re.MULTILINE)}
        took += re.findall(r"^took (\S+)$", output, re.MULTILINE)
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            stored = {int(cause.partition("-")[2]) for (cause,) in connection.execute("SELECT cause FROM events")}
            assert kept <= stored, f"acknowledged and not stored: {sorted(kept - stored)[:5]}"
            # Whole outcomes only, and the state is that of the last one.
            assert connection.execute(
                "SELECT count(*) FROM events e WHERE (SELECT count(*) FROM evaluations v WHERE v.event_id = e.id) != 2"
                " OR (SELECT count(*) FROM steps s WHERE s.event_id = e.id) != 1"
            ).fetchone() == (0,)
            last = connection.execute("SELECT value FROM state WHERE key = 'last'").fetchone()
            assert last is None or int(last[0]) == max(stored)
            assert stored == set(range(len(stored))), "nothing between two that are stored is missing"
        first = len(stored)
    with run_python(FEEDER, str(file), str(first), "1", folder=root) as feeder:
        assert feeder.wait(60) == 0
        took += re.findall(r"^took (\S+)$", feeder.output, re.MULTILINE)
    with closing(sqlite3.connect(file)) as connection:
        steps = {ident for (ident,) in connection.execute("SELECT id FROM steps")}
        assert connection.execute("SELECT DISTINCT status FROM steps").fetchall() == [("done",)]
    assert set(took) == steps, "every step went out, under the id that is stored"
    return len(stored), len(took) - len(steps)


def test_nothing_acknowledged_is_lost_when_the_hub_is_killed_while_it_commits(tmp_path: Path) -> None:
    stored, again = kill_and_look(tmp_path / "hub.db", QUICK_KILLS, seed=5)
    assert stored > 100
    print(f"{QUICK_KILLS} kills, {stored} outcomes stored, 0 lost, {again} steps sent again under the same id")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_nothing_acknowledged_is_lost_in_two_hundred_kills(tmp_path: Path) -> None:
    stored, again = kill_and_look(tmp_path / "hub.db", 200, seed=6)
    print(f"200 kills, {stored} outcomes stored, 0 lost, {again} steps sent again under the same id")
