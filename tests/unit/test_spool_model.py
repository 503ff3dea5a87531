"""The spool against a list: any sequence of uses, restarts and losses of the connection gives what the list gives."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pylib.delivery.spool import Spool, SpoolFull, SpoolLimits
from pylib.delivery.spool_table import ROW_OVERHEAD
from pylib.testing.clock import VirtualClock

MOST = 12
addresses = st.sampled_from(["a", "bb", "ä.ü", ""])
entries = st.tuples(addresses, st.binary(max_size=40), st.none() | st.floats(-5, 20))


class SpoolAgainstAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = VirtualClock()
        self.model: list[tuple[str, bytes, float | None]] = []
        self.expired = 0

    @initialize(policy=st.sampled_from(["block", "drop_oldest", "drop_newest"]), latest=st.booleans())
    def start(self, policy: str, latest: bool) -> None:
        self.limits = SpoolLimits(max_messages=MOST, policy=policy, latest_per_key=latest)  # type: ignore[arg-type]
        self.spool = Spool(self.folder / "s", self.limits, self.clock)
        self.spool.open()

    @rule(batch=st.lists(entries, min_size=1, max_size=MOST + 3))
    def append(self, batch: list[tuple[str, bytes, float | None]]) -> None:
        now = self.clock.time()
        lives = [(address, data, None if life is None else now + life) for address, data, life in batch]
        before, new = list(self.model), list(lives)
        if self.limits.latest_per_key:
            new = [entry for index, entry in enumerate(new) if entry[0] not in {later[0] for later in new[index + 1 :]}]
        if len(before) + len(new) > MOST:
            before = [entry for entry in before if entry[2] is None or entry[2] > now]
        survivors = before
        if self.limits.latest_per_key:
            survivors = [entry for entry in before if entry[0] not in {entry[0] for entry in new}]
        together = survivors + new
        if len(together) > MOST:
            if self.limits.policy == "block":
                try:
                    self.spool.append(lives)
                except SpoolFull:
                    self.model = before
                    return
                raise AssertionError("more was stored than the limit allows")
            together = together[-MOST:] if self.limits.policy == "drop_oldest" else together[:MOST]
        self.spool.append(lives)
        self.model = together

    @rule(most=st.integers(1, MOST))
    def read_and_remove(self, most: int) -> None:
        items = self.spool.read(0, most)
        now = self.clock.time()
        living = [entry for entry in self.model if entry[2] is None or entry[2] > now]
        assert [(item.address, item.data, item.expires_at) for item in items] == living[:most]
        self.spool.remove([item.row for item in items])
        seen = 0
        rest = []
        for entry in self.model:
            alive = entry[2] is None or entry[2] > now
            if alive and seen < most:
                seen += 1
            elif alive or seen >= most:
                rest.append(entry)
        self.model = rest

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.spool = Spool(self.folder / "s", self.limits, self.clock)
        self.spool.open()

    @rule()
    def the_connection_is_lost(self) -> None:
        self.spool._database._drop_connection()

    @invariant()
    def the_counts_are_those_of_the_list(self) -> None:
        if hasattr(self, "spool"):
            assert len(self.spool) == len(self.model)
            assert self.spool.empty == (not self.model)
            assert self.spool.bytes == sum(len(a) + len(data) + ROW_OVERHEAD for a, data, _ in self.model)

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
        shutil.rmtree(self.folder)


SpoolAgainstAList.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestSpoolAgainstAList = SpoolAgainstAList.TestCase
