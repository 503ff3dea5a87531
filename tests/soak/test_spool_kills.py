"""The spool under SIGKILL, failing fsyncs and power cuts: what it acknowledged is there afterwards, in order.

The program under test appends numbered batches, prints a number when it is acknowledged, and removes from the front
now and then. Short forms run with `make test` (tests/unit/test_spool_kills.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_spool_kills import cut_power, failing_syncs, kill_while_writing

pytestmark = pytest.mark.soak


@pytest.mark.timeout(1800)
def test_five_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_while_writing(tmp_path, kills=500, seed=11)


@pytest.mark.timeout(1800)
def test_a_failing_fsync_at_any_moment_never_acknowledges_what_is_not_stored(tmp_path: Path) -> None:
    for first in range(3, 43):
        failing_syncs(tmp_path / str(first), first)


@pytest.mark.timeout(1800)
def test_five_hundred_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    cut_power(tmp_path, cuts=500, seed=5)
