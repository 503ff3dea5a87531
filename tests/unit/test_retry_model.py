"""Random lives of letters against a model of a dozen lines: nothing is lost, doubled or overtaken, whatever happens."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import Letter
from pylib.delivery.retry import RetryStore
from pylib.testing.clock import VirtualClock

KEYS = st.sampled_from(["kitchen", "hall", "garden"])


class Lives(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.clock = VirtualClock()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "delivery.db"
        self.store = RetryStore(self.path, "subscriber", self.clock)
        self.dead_letters = DeadLetters(self.path, self.clock)
        self.waiting: dict[str, list[int]] = {}
        self.due_at: dict[int, float] = {}
        self.out: dict[int, str] = {}
        self.dead: dict[int, str] = {}

    @rule(key=KEYS, delay=st.sampled_from([0.0, 5.0]))
    def put(self, key: str, delay: float) -> None:
        due_at = self.clock.time() + delay
        ident = self.store.put(Letter(origin="", broker="", address=key, key=key, body=b"x", received_at=0.0, due_at=due_at))
        assert ident not in self.due_at, "a number is never used twice"
        self.waiting.setdefault(key, []).append(ident)
        self.due_at[ident] = due_at

    @rule()
    def take(self) -> None:
        now = self.clock.time()
        heads = {idents[0]: key for key, idents in self.waiting.items()}
        expected = {i: key for i, key in heads.items() if i not in self.out and self.due_at[i] <= now}
        assert {letter.ident: letter.key for letter in self.store.due(now)} == expected
        self.out |= expected

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "park", "put_back"]))
    def tell(self, data: st.DataObject, outcome: str) -> None:
        ident = data.draw(st.sampled_from(sorted(self.out)))
        key = self.out.pop(ident)
        if outcome == "failed":
            self.due_at[ident] = self.clock.time() + 5.0
            self.store.failed(ident, "E: again", "", self.due_at[ident])
        elif outcome == "put_back":
            self.store.put_back(ident)
        else:
            self.waiting[key].remove(ident)
            if not self.waiting[key]:
                del self.waiting[key]
            if outcome == "park":
                assert self.store.park(ident, "E: enough", "")
                self.dead[ident] = key
            else:
                self.store.succeeded(ident)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), keep=st.booleans())
    def replay_or_drop(self, data: st.DataObject, keep: bool) -> None:
        ident = data.draw(st.sampled_from(sorted(self.dead)))
        key = self.dead.pop(ident)
        if not keep:
            self.dead_letters.drop(ident)
            return
        self.dead_letters.replay(ident)
        self.waiting.setdefault(key, []).append(ident)
        self.due_at[ident] = self.clock.time()
        self.store.refresh()

    @rule(jump=st.sampled_from([0.0, 0.0, 4000.0]))
    def wait(self, jump: float) -> None:
        self.clock.advance(5.0 + jump)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = RetryStore(self.path, "subscriber", self.clock)
        self.out.clear()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.waiting_keys() == self.waiting.keys()
        totals = self.dead_letters.totals()
        assert totals.waiting == sum(map(len, self.waiting.values()))
        assert {summary.ident for summary in self.dead_letters.list(1000)} == self.dead.keys()
        heads = [idents[0] for idents in self.waiting.values() if idents[0] not in self.out]
        assert self.store.next_due() == min((self.due_at[ident] for ident in heads), default=None)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.dead_letters.close()
            self.folder.cleanup()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
