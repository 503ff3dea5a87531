"""Random trees of messages against a model: each delivery is settled once, exactly when nothing of its tree is left.

The model knows nothing of holders: a tree is what one delivery caused, each of its messages waits in a pipe or is being
handled, and the delivery is due when none is left.
"""

from __future__ import annotations

import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pylib.runtime.here import HERE
from pylib.runtime.receipts import Receipt, fail_handling, handling, hold, settle
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket

PIPES = 3
Message = tuple[int, ...]  # the deliveries that it stands for


class Trees(RuleBasedStateMachine):
    """One thread plays all takers in turn, as it may."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime = Runtime()
        self.settled: dict[int, BaseException | None] = {}
        self.count = 0
        # The model.
        self.waiting: list[list[Message]] = [[] for _ in range(PIPES)]
        self.in_hand: set[int] = set()
        self.failed: set[int] = set()
        self.delivered: set[int] = set()
        self.holding = False

    @initialize()
    def open_pipes(self) -> None:
        self.takes: list[Socket] = []
        self.gives: list[Socket] = []
        for number in range(PIPES):
            self._open(number)

    def _open(self, number: int) -> None:
        take = self.runtime.sockets.open(zmq.PULL)
        take.bind(f"inproc://{number}")
        give = self.runtime.sockets.open(zmq.PUSH)
        give.connect(f"inproc://{number}")
        self.takes[number : number + 1] = [take]
        self.gives[number : number + 1] = [give]

    def _on_settled(self, receipt: Receipt) -> None:
        number = receipt.token
        assert isinstance(number, int)
        assert number not in self.settled, "settled twice"
        self.settled[number] = receipt.error

    # -- what can happen ---------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.in_hand)
    @rule(to=st.lists(st.integers(0, PIPES - 1), max_size=3))
    def a_delivery_arrives(self, to: list[int]) -> None:
        number, self.count = self.count, self.count + 1
        self.delivered.add(number)
        with handling((self.runtime.receipts.open(self._on_settled, number),)):
            for pipe in to:
                self.gives[pipe].send_pyobj("x")
                self.waiting[pipe].append((number,))

    @precondition(lambda self: any(self.waiting))
    @rule(data=st.data())
    def a_message_is_taken(self, data: st.DataObject) -> None:
        pipe = data.draw(st.sampled_from([number for number in range(PIPES) if self.waiting[number]]))
        self.takes[pipe].recv()
        if not self.holding:
            self.in_hand.clear()
        self.in_hand.update(self.waiting[pipe].pop(0))

    @precondition(lambda self: self.in_hand)
    @rule(to=st.lists(st.integers(0, PIPES - 1), min_size=1, max_size=4))
    def it_is_fanned_out(self, to: list[int]) -> None:
        for pipe in to:
            self.gives[pipe].send_pyobj("x")
            self.waiting[pipe].append(tuple(self.in_hand))

    @rule()
    def the_taker_gathers(self) -> None:
        hold()
        self.holding = True

    @rule()
    def the_taker_is_done(self) -> None:
        settle()
        self.holding = False
        self.in_hand.clear()

    @rule()
    def the_handler_fails(self) -> None:
        fail_handling(ValueError("bad"))
        self.holding = False
        self.failed |= self.in_hand
        self.in_hand.clear()

    @rule(pipe=st.integers(0, PIPES - 1))
    def the_owner_of_a_pipe_dies_and_comes_back(self, pipe: int) -> None:
        self.takes[pipe].close()
        self.gives[pipe].close()
        for message in self.waiting[pipe]:
            self.failed.update(message)
        self.waiting[pipe].clear()
        self._open(pipe)

    # -- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def settled_exactly_when_nothing_of_the_tree_is_left(self) -> None:
        alive = {number for pipe in self.waiting for message in pipe for number in message} | self.in_hand
        assert set(self.settled) == self.delivered - alive
        for number, error in self.settled.items():
            assert (error is not None) == (number in self.failed)

    def teardown(self) -> None:
        self.the_taker_is_done()
        for pipe in range(PIPES):
            while self.waiting[pipe]:
                self.takes[pipe].recv()
                self.waiting[pipe].pop(0)
                settle()
        assert set(self.settled) == self.delivered
        assert len(self.runtime.receipts) == 0
        assert HERE.receipts == ()
        assert self.runtime.stop() == []
        self.runtime.latch.gate.close()


Trees.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestRandomTreesOfMessages = Trees.TestCase


@given(st.binary(max_size=64), st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_with_any_number_of_receipts_come_out_as_they_went_in(body: bytes, many: int) -> None:
    from pylib.runtime.receipts import Receipts

    receipts = Receipts()
    settled: list[object] = []
    held = [receipts.open(lambda receipt: settled.append(receipt.token), number) for number in range(many)]
    frame = receipts.attach(body, held)
    for receipt in held:
        receipt.release()
    assert settled == []
    out, taken = receipts.detach(frame)
    assert out == body
    for receipt in taken:
        receipt.release()
    assert sorted(settled, key=str) == sorted(range(many), key=str)
    assert len(receipts) == 0
