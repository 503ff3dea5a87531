"""Every wait on a socket ends with the stop, every socket has an owner, and Python objects stay inside."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from zmq.error import Again, ContextTerminated

from pylib.errors import ConfigError, PylibError
from pylib.runtime.receipts import handling
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket
from pylib.threads import die
from pylib.zmq import Closable, try_close, zmq_socket, zmq_term

pytestmark = [pytest.mark.timeout(30)]
HERE = Path(__file__).name


def in_thread(call: Callable[[], object], runtime: Runtime) -> tuple[threading.Thread, list[object]]:
    """Make a call in a plain thread; what it returned or raised ends up in the list."""
    result: list[object] = []

    def body() -> None:
        try:
            result.append(runtime.run(call))
        except BaseException as error:
            result.append(error)
        finally:
            runtime.sockets.close_mine()

    thread = threading.Thread(target=body, name="plain")
    thread.start()
    return thread, result


def test_a_recv_that_waits_is_woken_by_the_stop(runtime: Runtime) -> None:
    waiting = threading.Event()

    def wait_for_ever() -> object:
        socket = zmq_socket(zmq.PULL)
        socket.bind("inproc://a")
        waiting.set()
        return socket.recv()

    thread, result = in_thread(wait_for_ever, runtime)
    assert waiting.wait(5)
    die()
    thread.join(5)
    assert isinstance(result[0], ContextTerminated)


def test_a_full_pipe_never_blocks_a_stop(runtime: Runtime) -> None:
    full = threading.Event()
    pull = zmq_socket(zmq.PULL)
    pull.bind("inproc://a")

    def fill() -> object:
        push = zmq_socket(zmq.PUSH)
        push.connect("inproc://a")
        sent = 0
        try:
            while True:
                push.send_pyobj(sent, zmq.NOBLOCK)
                sent += 1
        except Again:
            full.set()
        push.send_pyobj("one too many")
        return sent

    thread, result = in_thread(fill, runtime)
    assert full.wait(5)
    begun = time.monotonic()
    die()
    thread.join(5)
    assert isinstance(result[0], ContextTerminated)
    zmq_term()
    assert time.monotonic() - begun < 1.0


def test_a_push_without_a_peer_never_blocks_a_stop(runtime: Runtime) -> None:
    started = threading.Event()

    def send() -> object:
        push = zmq_socket(zmq.PUSH)
        started.set()
        return push.send(b"x")

    thread, result = in_thread(send, runtime)
    assert started.wait(5)
    die()
    thread.join(5)
    assert isinstance(result[0], ContextTerminated)


def test_what_has_arrived_is_still_received_after_the_stop_and_then_the_end_is_raised(runtime: Runtime) -> None:
    pull = zmq_socket(zmq.PULL)
    pull.bind("inproc://a")
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://a")
    for number in range(5):
        push.send_pyobj(number)
    die()
    assert [pull.recv_pyobj() for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ContextTerminated):
        pull.recv_pyobj()
    with pytest.raises(Again):
        pull.recv_pyobj(zmq.NOBLOCK)  # who does not wait is told so, as ever


def test_a_sockets_own_timeouts_are_kept(runtime: Runtime) -> None:
    pull = zmq_socket(zmq.PULL)
    pull.bind("inproc://a")
    pull.setsockopt(zmq.RCVTIMEO, 1)
    with pytest.raises(Again):
        pull.recv()
    push = zmq_socket(zmq.PUSH)
    push.setsockopt(zmq.SNDTIMEO, 1)
    with pytest.raises(Again):
        push.send(b"x")


def test_an_unclosed_socket_is_named_with_the_line_that_opened_it(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, released: threading.Event
) -> None:
    opened = threading.Event()
    line = 0

    def open_and_keep() -> None:
        nonlocal line
        line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
        socket = zmq_socket(zmq.PULL)
        socket.bind("inproc://kept")
        opened.set()
        released.wait(10)
        socket.close()

    keeper = Runtime()
    thread = threading.Thread(target=lambda: keeper.run(open_and_keep))
    thread.start()
    assert opened.wait(5)
    with caplog.at_level(logging.ERROR):
        left = keeper.stop(budget=0.2)
    assert len(left) == 1
    assert "inproc://kept" in left[0]
    assert f"{HERE}:{line}" in left[0]
    assert left[0] in caplog.text
    released.set()
    thread.join()
    keeper.context.term()


def test_a_closables_socket_is_named_with_the_applications_line_and_not_the_librarys(runtime: Runtime) -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    closable = Closable("inproc://a")
    assert closable.socket.origin.endswith(f"{HERE}:{line}")
    more = closable.get_socket(zmq.PUSH)
    assert f"{HERE}:{line + 2}" in more.origin


def test_a_live_threads_socket_is_never_closed_by_another(runtime: Runtime, released: threading.Event) -> None:
    ready = threading.Event()
    made: list[Closable] = []

    def own() -> bool:
        made.append(Closable("inproc://mine"))
        ready.set()
        released.wait(10)
        return bool(made[0].socket.closed)

    thread, result = in_thread(own, runtime)
    assert ready.wait(5)
    made[0].close()
    runtime.sockets.close_mine()
    runtime.sockets.close_orphans()
    released.set()
    thread.join()
    assert result == [False]


def test_a_dead_threads_socket_is_closed_by_the_stop(runtime: Runtime) -> None:
    sockets: list[Socket] = []
    thread = threading.Thread(target=lambda: sockets.append(runtime.sockets.open(zmq.PULL)))
    thread.start()
    thread.join()
    assert runtime.stop() == []
    assert sockets[0].closed


def test_the_stop_closes_the_sockets_of_the_thread_that_asks_for_it(runtime: Runtime) -> None:
    publisher_socket = zmq_socket(zmq.PUSH)
    publisher_socket.connect("inproc://rabbit-mq-publisher")
    die()
    zmq_term()
    assert publisher_socket.closed
    assert runtime.context.closed
    zmq_term()  # again, and nothing happens
    try_close(publisher_socket)
    try_close(None)


def test_a_socket_asked_for_after_the_stop_is_the_normal_end(runtime: Runtime) -> None:
    die()
    zmq_term()
    with pytest.raises(ContextTerminated):
        zmq_socket(zmq.PUSH)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:*", "ipc://*"])
def test_python_objects_are_refused_on_any_wire(runtime: Runtime, address: str) -> None:
    pull = zmq_socket(zmq.PULL)
    pull.bind(address)
    push = zmq_socket(zmq.PUSH)
    push.connect(pull.getsockopt_string(zmq.LAST_ENDPOINT))
    with pytest.raises(PylibError, match="inproc only"):
        push.send_pyobj({"door": "open"})
    with pytest.raises(PylibError, match="inproc only"):
        pull.recv_pyobj()
    push.send(b"bytes are welcome\xa5")
    assert pull.recv() == b"bytes are welcome\xa5"


def test_one_wire_among_the_endpoints_is_enough_to_refuse_objects(runtime: Runtime) -> None:
    pull = zmq_socket(zmq.PULL)
    pull.bind("inproc://a")
    pull.bind("tcp://127.0.0.1:*")
    with pytest.raises(PylibError, match="inproc only"):
        pull.recv_pyobj(zmq.NOBLOCK)


def test_a_second_bind_names_who_was_first(runtime: Runtime) -> None:
    first = zmq_socket(zmq.PULL)
    first.bind("inproc://app-worker")
    with pytest.raises(ConfigError, match=rf"inproc://app-worker is bound already by PULL.*{HERE}:\d+"):
        Closable("inproc://app-worker")


def test_an_address_can_be_bound_again_at_once_after_its_owner_closed_it(runtime: Runtime) -> None:
    for _ in range(50):
        closable = Closable("inproc://again")
        closable.close()


def test_senders_may_connect_and_send_before_anyone_binds(runtime: Runtime) -> None:
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://later")
    push.send_pyobj("early")
    assert Closable("inproc://later").socket.recv_pyobj() == "early"


def test_asyncio_sockets_work_and_are_closed_by_the_stop(runtime: Runtime) -> None:
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://telegram-bot")

    async def serve() -> object:
        bot = Closable("inproc://telegram-bot", is_async=True)
        received = asyncio.ensure_future(bot.socket.recv_pyobj())
        await asyncio.sleep(0)
        push.send_pyobj({"text": "hello"})
        answer = await received
        onward = zmq_socket(zmq.PUSH, is_async=True)
        onward.connect("inproc://onward")
        await onward.send_pyobj("from asyncio")
        return answer

    pull = zmq_socket(zmq.PULL)
    pull.bind("inproc://onward")
    assert asyncio.run(serve()) == {"text": "hello"}
    assert pull.recv_pyobj() == "from asyncio"


def test_an_asyncio_socket_takes_deliveries_over_and_settles_each_when_it_asks_for_the_next(runtime: Runtime) -> None:
    settled: list[object] = []
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://telegram-bot")

    async def serve() -> None:
        bot = zmq_socket(zmq.PULL, is_async=True)
        bot.bind("inproc://telegram-bot")
        for token in range(2):
            with handling((runtime.receipts.open(lambda receipt: settled.append(receipt.token), token),)):
                push.send_pyobj(token)
        assert await bot.recv_pyobj() == 0
        assert settled == []
        assert await bot.recv_pyobj() == 1
        assert settled == [0]
        bot.close()

    asyncio.run(serve())
    assert settled == [0, 1]


def test_bytes_from_an_asyncio_socket_that_look_like_our_mark_arrive_as_they_were(runtime: Runtime) -> None:
    pull = zmq_socket(zmq.PULL)
    pull.bind("inproc://a")

    async def send() -> None:
        push = zmq_socket(zmq.PUSH, is_async=True)
        push.connect("inproc://a")
        await push.send(b"12345678\x01\xa5")

    asyncio.run(send())
    assert pull.recv() == b"12345678\x01\xa5"


def test_an_asyncio_recv_is_woken_by_the_stop(runtime: Runtime) -> None:
    waiting = threading.Event()

    async def serve() -> None:
        bot = zmq_socket(zmq.PULL, is_async=True)
        bot.bind("inproc://telegram-bot")
        asyncio.get_running_loop().call_soon(waiting.set)
        await bot.recv()

    thread, result = in_thread(lambda: asyncio.run(serve()), runtime)
    assert waiting.wait(5)
    begun = time.monotonic()
    assert runtime.stop() == []
    thread.join(5)
    assert isinstance(result[0], ContextTerminated)
    assert time.monotonic() - begun < 1.0


def test_two_threads_open_and_close_sockets_while_a_third_lists_them(runtime: Runtime) -> None:
    done = threading.Event()

    def churn() -> None:
        for _ in range(100):
            runtime.sockets.open(zmq.PUSH).close()

    def look() -> None:
        while not done.is_set():
            runtime.sockets.all()

    churners = [threading.Thread(target=churn) for _ in range(2)]
    looker = threading.Thread(target=look)
    for thread in (*churners, looker):
        thread.start()
    for thread in churners:
        thread.join()
    done.set()
    looker.join()
    assert runtime.sockets.all() == []
