"""What an exception means is decided in one block: an end, a lost dependency, or a defect."""

from __future__ import annotations

import logging
import threading

import pytest
import zmq
from zmq.error import ContextTerminated

from pylib import handler
from pylib.errors import ConnectionLost
from pylib.handler import exception_handler
from pylib.runtime.receipts import handling
from pylib.runtime.runtime import Runtime
from pylib.threads import die
from pylib.zmq import Closable, zmq_socket

pytestmark = [pytest.mark.timeout(30)]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[BaseException, str | None, str | None]]:
    found: list[tuple[BaseException, str | None, str | None]] = []
    monkeypatch.setattr(handler, "report", lambda error, *, thread=None, topic=None: found.append((error, thread, topic)))
    return found


Reports = list[tuple[BaseException, str | None, str | None]]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("and_raise", [True, False])
@pytest.mark.parametrize("shutdown_on_error", [True, False])
def test_exit_and_interrupt_always_pass_through(
    runtime: Runtime, reports: Reports, kind: type[BaseException], and_raise: bool, shutdown_on_error: bool
) -> None:
    with pytest.raises(kind), exception_handler(and_raise=and_raise, shutdown_on_error=shutdown_on_error):
        raise kind
    assert reports == []
    assert not runtime.stopping


@pytest.mark.parametrize("and_raise", [True, False])
def test_a_terminated_context_is_a_normal_end(runtime: Runtime, reports: Reports, and_raise: bool) -> None:
    closable = Closable("inproc://a")
    with exception_handler(closable=closable, and_raise=and_raise, close_on_exit=False, shutdown_on_error=True):
        raise ContextTerminated
    assert reports == []
    assert not runtime.stopping
    assert runtime.sockets.all() == [], "closed also without close_on_exit"


@pytest.mark.parametrize("error", [ResourceWarning("gone"), ConnectionLost("gone")])
def test_a_lost_dependency_stops_without_a_crash_report(
    runtime: Runtime, reports: Reports, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    with exception_handler(and_raise=False, shutdown_on_error=True):
        raise error
    assert reports == []
    assert runtime.exit_code == 1
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "gone")]


def test_an_error_is_reported_once_with_the_topic_of_its_message_and_fails_the_delivery(
    runtime: Runtime, reports: Reports
) -> None:
    settled: list[BaseException | None] = []
    receipt = runtime.receipts.open(lambda receipt: settled.append(receipt.error), label="sensor/door")
    error = ValueError("bad")
    with handling((receipt,)), exception_handler(and_raise=False):
        raise error
    assert reports == [(error, None, "sensor/door")]
    assert settled == [error]
    assert not runtime.stopping


def test_an_error_passes_on_unless_told_otherwise(runtime: Runtime, reports: Reports) -> None:
    with pytest.raises(ValueError, match="bad"), exception_handler():
        raise ValueError("bad")
    with exception_handler(and_raise=False):
        raise ValueError("quiet")
    assert len(reports) == 2


def test_an_error_stops_the_application_when_told_to(runtime: Runtime, reports: Reports) -> None:
    error = ValueError("bad")
    with exception_handler(and_raise=False, shutdown_on_error=True):
        raise error
    assert runtime.latch.cause is not None
    assert runtime.latch.cause.exception is error
    assert runtime.exit_code == 1


def test_an_error_while_stopping_is_no_crash(runtime: Runtime, reports: Reports) -> None:
    die()
    with exception_handler(and_raise=False, shutdown_on_error=True):
        raise ValueError("a consequence")
    assert reports == []
    assert runtime.exit_code == 0


def test_the_block_gets_a_connected_socket_that_is_closed_behind_it(runtime: Runtime) -> None:
    sink = zmq_socket(zmq.PULL)
    sink.bind("inproc://a")
    with exception_handler(connect_url="inproc://a") as socket:
        socket.send_pyobj("hello")
        assert "test_handler.py" in socket.origin, "the line that a person can do something about"
    assert sink.recv_pyobj() == "hello"
    assert socket.closed
    with exception_handler(connect_url="inproc://b", socket_type=zmq.PULL, close_on_exit=False) as puller:
        assert puller.type == zmq.PULL
    assert not puller.closed


def test_the_block_of_a_closable_gets_its_socket(runtime: Runtime) -> None:
    closable = Closable("inproc://a")
    with exception_handler(closable=closable) as socket:
        assert socket is closable.socket
    assert socket.closed
    with exception_handler() as nothing:
        assert nothing is None


def test_a_message_in_hand_when_the_end_comes_is_not_acknowledged(runtime: Runtime) -> None:
    settled: list[BaseException | None] = []
    receipt = runtime.receipts.open(lambda receipt: settled.append(receipt.error))
    with handling((receipt,)), exception_handler():
        raise ContextTerminated
    assert [type(error) for error in settled] == [ContextTerminated]


def test_it_serves_every_thread_by_itself(runtime: Runtime, reports: Reports) -> None:
    def work(number: int) -> None:
        with exception_handler(connect_url=f"inproc://{number}", socket_type=zmq.PULL, and_raise=False):
            raise ValueError(str(number))

    threads = [threading.Thread(target=runtime.run, args=(work, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(error) for error, _, _ in reports) == [str(number) for number in range(8)]
    assert runtime.sockets.all() == []
