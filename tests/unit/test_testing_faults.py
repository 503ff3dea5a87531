"""The fault proxy does to a connection what it says, and nothing before it is told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pylib.testing.faults import FaultProxy
from pylib.testing.ports import LOOPBACK

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(30)]


class EchoServer:
    """Sends back what it gets, one thread per connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._echo, args=(connection,)))
            self._threads[-1].start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as connection:
        # One round trip: from here on the proxy has the connection.
        assert exchange(connection, b"hello") == b"hello"
        yield connection


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            break
        data += part
    return data


def exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return receive(connection, len(data))


def test_a_healthy_proxy_passes_a_megabyte_both_ways_unchanged(client: socket.socket) -> None:
    data = bytes(range(256)) * 4096
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert receive(client, len(data)) == data
    sender.join(5)


def test_the_end_of_one_side_reaches_the_other_after_the_data(client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert receive(client, 100) == b"last words"


def test_a_refusing_proxy_resets_what_is_open_and_refuses_what_comes(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port), timeout=5)
    proxy.heal()
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as again:
        assert exchange(again, b"back") == b"back"


def test_a_frozen_proxy_holds_everything_back_until_it_thaws(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.freeze()
    client.sendall(b"held")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5)
    proxy.thaw()
    assert receive(client, 4) == b"held"


def test_a_proxy_frozen_towards_the_client_still_feeds_the_broker() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as listener,
        FaultProxy(listener.getsockname()[1]) as one_way,
        socket.create_connection((one_way.host, one_way.port), timeout=5) as client,
    ):
        broker, _ = listener.accept()
        with broker:
            broker.settimeout(5)
            one_way.freeze("to_client")
            client.sendall(b"up")
            assert broker.recv(2) == b"up"
            broker.sendall(b"down")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(4)


def test_a_frozen_proxy_accepts_new_connections_that_hear_nothing(proxy: FaultProxy) -> None:
    proxy.freeze()
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        client.sendall(b"anybody?")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_reset_is_a_tcp_reset_and_a_drop_is_an_orderly_end(proxy: FaultProxy, client: socket.socket) -> None:
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as other:
        assert exchange(other, b"x") == b"x"
        proxy.reset()
        for connection in (client, other):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as third:
        assert exchange(third, b"x") == b"x"
        proxy.drop()
        assert third.recv(1) == b""


def test_latency_delays_each_way(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.slow(latency=0.1)
    started = time.monotonic()
    assert exchange(client, b"slow") == b"slow"
    assert 0.2 <= time.monotonic() - started < 2.0


def test_bandwidth_bounds_what_passes(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.slow(bytes_per_second=100_000, direction="to_broker")
    data = bytes(40_000)
    started = time.monotonic()
    assert exchange(client, data) == data
    # The last slice of a twentieth of a second is not waited for.
    assert 0.3 <= time.monotonic() - started < 3.0


def test_a_cut_passes_exactly_the_bytes_it_was_told_and_then_resets(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.cut_after(3, "to_client")
    client.sendall(b"12345")
    assert receive(client, 3) == b"123"
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_proxy_without_a_broker_behind_it_resets_at_once() -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        port: int = gone.getsockname()[1]
    with (
        FaultProxy(port) as proxy,
        # The reset may come while the client still connects.
        pytest.raises(ConnectionResetError),
        socket.create_connection((proxy.host, proxy.port), timeout=5) as client,
    ):
        client.recv(1)


def test_a_stopped_proxy_has_closed_its_port_and_takes_no_command(echo: EchoServer) -> None:
    proxy = FaultProxy(echo.port).start()
    proxy.stop()
    proxy.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port), timeout=5)
    with pytest.raises(RuntimeError, match="start"):
        proxy.freeze()
