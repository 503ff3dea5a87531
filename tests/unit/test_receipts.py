"""No delivery is settled before everything it caused has been dealt with, and each is settled once."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import zmq
from zmq.error import Again

from pylib.runtime.here import HERE
from pylib.runtime.receipts import MARK, Receipt, Receipts, fail_handling, handling, hold, settle, settle_handling
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket

pytestmark = [pytest.mark.timeout(30)]


class Ledger:
    """Opens receipts and records how each was settled."""

    def __init__(self, runtime: Runtime) -> None:
        self._receipts = runtime.receipts
        self.settled: list[tuple[object, BaseException | None]] = []

    def open(self, token: object = 1) -> Receipt:
        def record(receipt: Receipt) -> None:
            self.settled.append((receipt.token, receipt.error))

        return self._receipts.open(record, token, f"t/{token}")

    def deliver(self, socket: Socket, message: Any, token: object = 1) -> Receipt:
        """As a bridge does: open a receipt, give it to the first message, let go."""
        receipt = self.open(token)
        with handling((receipt,)):
            socket.send_pyobj(message)
        return receipt


@pytest.fixture
def ledger(runtime: Runtime) -> Ledger:
    return Ledger(runtime)


@pytest.fixture
def pipe(runtime: Runtime) -> Callable[[str], tuple[Socket, Socket]]:
    def make(name: str, sender: int = zmq.PUSH, receiver: int = zmq.PULL) -> tuple[Socket, Socket]:
        take = runtime.sockets.open(receiver)
        take.bind(f"inproc://{name}")
        give = runtime.sockets.open(sender)
        give.connect(f"inproc://{name}")
        return give, take

    return make


Pipe = Callable[..., tuple[Socket, Socket]]


def test_a_delivery_is_settled_when_the_taker_asks_for_the_next_message_and_not_before(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    ledger.deliver(give, "hello")
    assert ledger.settled == []
    assert take.recv_pyobj() == "hello"
    assert ledger.settled == []
    with pytest.raises(Again):
        take.recv_pyobj(zmq.NOBLOCK)
    assert ledger.settled == [(1, None)]


def test_a_dropped_message_settles_its_delivery(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    ledger.deliver(give, "nobody cares", token=1)
    ledger.deliver(give, "next", token=2)
    take.recv()
    take.recv()
    assert ledger.settled == [(1, None)]
    settle()
    assert ledger.settled == [(1, None), (2, None)]


def test_a_fan_out_is_settled_by_the_last_of_its_messages(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    to_left, left = pipe("left")
    to_right, right = pipe("right")
    ledger.deliver(give, 0)
    take.recv()
    for count in range(2):
        to_left.send_pyobj(count)
        to_right.send_pyobj(count)
    settle()
    for socket in (left, right, right, left):
        assert ledger.settled == []
        socket.recv()
        settle()
    assert ledger.settled == [(1, None)]


def test_a_chain_of_relays_carries_a_receipt_to_its_end(ledger: Ledger, pipe: Pipe) -> None:
    pipes = [pipe(f"hop-{number}") for number in range(10)]
    ledger.deliver(pipes[0][0], 0)
    for (_, take), (give, _) in pairwise(pipes):
        give.send_pyobj(take.recv_pyobj() + 1)
        settle()
        assert ledger.settled == []
    assert pipes[-1][1].recv_pyobj() == 9
    settle()
    assert ledger.settled == [(1, None)]


def test_what_was_gathered_under_hold_is_not_settled_before_settle(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    onward, end = pipe("b")
    for token in range(3):
        ledger.deliver(give, token, token)
    hold()
    gathered = [take.recv_pyobj() for _ in range(3)]
    onward.send_pyobj(gathered)
    assert ledger.settled == []
    settle()
    assert ledger.settled == []  # the batch holds all three
    assert end.recv_pyobj() == [0, 1, 2]
    settle()
    assert sorted(ledger.settled, key=str) == [(0, None), (1, None), (2, None)]


def test_more_than_255_receipts_travel_in_one_message(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    onward, end = pipe("b")
    many = 700
    hold()
    for token in range(many):
        ledger.deliver(give, token, token)
        take.recv()
    onward.send_pyobj("batch")
    onward.send_pyobj("batch again")
    settle()
    for message in ("batch", "batch again"):
        assert ledger.settled == []
        assert end.recv_pyobj() == message
        settle()
    assert sorted(ledger.settled) == [(token, None) for token in range(many)]


@pytest.mark.parametrize("many", [254, 255, 256])
def test_the_failure_of_a_large_batch_fails_each_delivery_in_it(ledger: Ledger, pipe: Pipe, many: int) -> None:
    onward, end = pipe("b")
    with handling(tuple(ledger.open(token) for token in range(many))):
        onward.send_pyobj("batch")
    end.recv()
    error = ValueError("bad batch")
    fail_handling(error)
    assert sorted(ledger.settled, key=str) == sorted(((token, error) for token in range(many)), key=str)


@pytest.mark.parametrize("body", [b"", b"\xa5", b"\x00\xa5", b"\x01\xa5", b"12345678\x01\xa5", b"\xa5" * 300])
def test_bytes_that_look_like_our_mark_arrive_as_they_were(ledger: Ledger, pipe: Pipe, body: bytes) -> None:
    give, take = pipe("a")
    give.send(body)
    assert take.recv() == body
    with handling((ledger.open(),)):
        give.send(body)
    assert take.recv() == body
    settle()
    assert ledger.settled == [(1, None)]


@pytest.mark.parametrize("body", [b"\xa5", b"\x01\xa5", b"\x07\xa5", b"12345678\xff\xa5"])
def test_a_frame_of_a_foreign_socket_that_ends_like_ours_raises_nothing(runtime: Runtime, body: bytes) -> None:
    take = runtime.sockets.open(zmq.PULL)
    take.bind("inproc://a")
    foreign = runtime.context.socket(zmq.PUSH)
    foreign.connect("inproc://a")
    foreign.send(body)
    take.recv()
    assert HERE.receipts == ()
    foreign.close()


def test_a_plain_zeromq_peer_can_read_an_object_that_carries_receipts(ledger: Ledger, runtime: Runtime) -> None:
    foreign = runtime.context.socket(zmq.PULL)
    foreign.bind("inproc://a")
    give = runtime.sockets.open(zmq.PUSH)
    give.connect("inproc://a")
    receipt = ledger.deliver(give, {"door": "open"})
    assert pickle.loads(foreign.recv()) == {"door": "open"}
    foreign.close()
    receipt.release()  # the peer knows nothing of receipts: somebody else has to let go


def test_every_part_of_a_multipart_message_holds_the_receipt(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    with handling((ledger.open(),)):
        give.send_multipart([b"one", b"two", b"three\xa5"])
    assert take.recv_multipart() == [b"one", b"two", b"three\xa5"]
    assert ledger.settled == []
    settle()
    assert ledger.settled == [(1, None)]


def test_a_request_and_its_answer_hold_the_requesters_delivery(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    ask, answer = pipe("worker", zmq.REQ, zmq.REP)
    ledger.deliver(give, 20)
    question = take.recv_pyobj()

    def serve() -> None:
        answer.send_pyobj(answer.recv_pyobj() + 1)
        settle()

    server = threading.Thread(target=serve)
    ask.send_pyobj(question)
    server.start()
    assert ask.recv_pyobj() == 21
    server.join()
    assert ledger.settled == []  # the answer is not the end of it
    settle()
    assert ledger.settled == [(1, None)]


def test_an_error_in_the_worker_fails_the_requesters_delivery(ledger: Ledger, pipe: Pipe) -> None:
    ask, answer = pipe("worker", zmq.REQ, zmq.REP)
    error = ValueError("cannot")

    def serve() -> None:
        answer.recv()
        answer.send_pyobj("sorry")
        fail_handling(error)

    with handling((ledger.open(),)):
        ask.send_pyobj("?")
        server = threading.Thread(target=serve)
        server.start()
        server.join()
        ask.recv()
    assert ledger.settled == [(1, error)]


def test_a_loop_as_the_first_applications_wrote_it_settles_each_delivery_after_its_effects(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    onward, end = pipe("b")
    for token in range(3):
        ledger.deliver(give, token, token)
    for _ in range(3):
        assert ledger.settled == []
        onward.send_pyobj(take.recv_pyobj() * 10)
    settle()
    for token in range(3):
        assert end.recv_pyobj() == token * 10
        assert ledger.settled == [(number, None) for number in range(token)]
    settle()
    assert len(ledger.settled) == 3


def test_a_failing_handler_fails_its_delivery_with_the_first_error_and_no_other(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    onward, end = pipe("b")
    ledger.deliver(give, 1, "bad")
    ledger.deliver(give, 2, "good")
    first = ValueError("first")
    take.recv()
    onward.send_pyobj("half done")
    fail_handling(first)
    end.recv()
    fail_handling(ValueError("second"))
    take.recv()
    settle()
    assert ledger.settled == [("bad", first), ("good", None)]


def test_a_send_that_finds_no_room_leaves_the_delivery_to_its_sender(ledger: Ledger, runtime: Runtime) -> None:
    push = runtime.sockets.open(zmq.PUSH)  # connected to nothing: there is no room at all
    receipt = ledger.open()
    with handling((receipt,)):
        with pytest.raises(Again):
            push.send_pyobj("x", zmq.NOBLOCK)
        assert ledger.settled == []
    assert ledger.settled == [(1, None)]  # it was the sender's to retry, to keep or to drop


def test_an_object_that_cannot_be_pickled_leaves_no_hold_behind(ledger: Ledger, pipe: Pipe) -> None:
    give, _ = pipe("a")
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)), handling((ledger.open(),)):
        give.send_pyobj(threading.Lock())
    assert [token for token, _ in ledger.settled] == [1]
    assert isinstance(ledger.settled[0][1], TypeError)


def test_a_closed_pipe_fails_what_is_still_in_it(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    for token in range(5):
        ledger.deliver(give, token, token)
    take.recv()
    settle()
    take.close()
    assert [token for token, _ in ledger.settled] == [0, 1, 2, 3, 4]
    assert [error is None for _, error in ledger.settled] == [True, False, False, False, False]


def test_a_receipt_settles_once_however_often_it_is_let_go(ledger: Ledger) -> None:
    receipt = ledger.open()
    receipt.hold()
    receipt.release()
    assert ledger.settled == []
    receipt.release()
    receipt.release()
    receipt.fail(ValueError("late"))
    receipt.hold()
    receipt.release()
    assert receipt.settled is True
    assert ledger.settled == [(1, None)]


def test_the_settled_call_may_open_and_settle_other_receipts(runtime: Runtime) -> None:
    order: list[str] = []

    def settled(outer: Receipt) -> None:
        runtime.receipts.open(lambda inner: order.append("inner")).release()
        order.append("outer")

    runtime.receipts.open(settled).release()
    assert order == ["inner", "outer"]


def test_holders_in_many_threads_settle_a_receipt_exactly_once(ledger: Ledger) -> None:
    receipt = ledger.open()
    threads, rounds = 8, 500

    def juggle() -> None:
        for _ in range(rounds):
            receipt.hold()
            receipt.release()

    workers = [threading.Thread(target=juggle) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert ledger.settled == []
    receipt.release()
    assert ledger.settled == [(1, None)]


def test_handling_puts_back_what_the_thread_was_handling_before(ledger: Ledger) -> None:
    outer, inner = ledger.open("outer"), ledger.open("inner")
    with handling((outer,)):
        with handling((inner,)):
            assert list(HERE.receipts) == [inner]
        assert list(HERE.receipts) == [outer]
        assert ledger.settled == [("inner", None)]
    assert ledger.settled == [("inner", None), ("outer", None)]
    assert list(HERE.receipts) == []


def test_the_mark_and_the_count_are_where_the_format_says() -> None:
    receipts = Receipts()
    receipt = receipts.open(lambda receipt: None)
    frame = receipts.attach(b"body", (receipt,))
    assert frame == b"body" + receipt.ident.to_bytes(8, "little") + bytes((1, MARK))
    assert receipts.detach(frame) == (b"body", (receipt,))
    assert receipts.attach(b"body", ()) == b"body" + bytes((0, MARK))


def test_nothing_is_held_where_nothing_is_handled(ledger: Ledger, pipe: Pipe) -> None:
    give, take = pipe("a")
    give.send_pyobj("plain")
    take.recv()
    assert HERE.receipts == ()
    settle_handling()
    assert ledger.settled == []
