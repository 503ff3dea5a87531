"""Dialling: name look-up, TCP and TLS without blocking the loop, and a socket that reads and writes in large pieces."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pylib.brokers.addresses import Address
from pylib.errors import AccessRefused, ConnectFailed, DependencyError
from pylib.runtime.loop import READ, WRITE, Loop

__all__ = ["BufferedSocket", "Dial", "explain"]

AddressInfo = Sequence[tuple[int, int, int, str, Any]]
Done = Callable[["socket.socket | None", "DependencyError | None"], None]

# Milliseconds that sent data may stay unacknowledged before the kernel gives the connection up: what makes a half-open
# connection end in seconds instead of a quarter of an hour (RFC 5482).
USER_TIMEOUT_MS = 5000


class Dial:
    """One attempt to connect, with a deadline over all of it. For the loop's thread; calls ``done`` exactly once,
    unless cancelled first. Never blocks: the name is looked up in a helper thread, the rest happens on the loop.
    """

    def __init__(self, loop: Loop, address: Address, tls: ssl.SSLContext | None, timeout: float, who: str, done: Done) -> None:
        self._loop = loop
        self._address = address
        self._tls = tls
        self._who = who
        self._done: Done | None = done
        self._candidates: list[tuple[int, int, int, str, Any]] = []
        self._socket: socket.socket | None = None
        self._last: Exception | None = None
        self._timer = loop.call_later(timeout, lambda: self._fail(TimeoutError(f"no answer within {timeout:g} s")))
        self._look_up()

    def cancel(self) -> None:
        """Forget it: the socket is closed and nobody is called."""
        self._done = None
        self._timer.cancel()
        self._drop_socket()

    def _look_up(self) -> None:
        host, port = self._address.host, self._address.port
        try:
            # A literal address needs no look-up, and localhost comes from a file: neither can take long.
            flags = 0 if host == "localhost" else socket.AI_NUMERICHOST
            self._resolved(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags), None)
            return
        except socket.gaierror:
            pass

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as problem:
                failure = problem
                self._loop.post(lambda: self._resolved([], failure))
            else:
                self._loop.post(lambda: self._resolved(found, None))

        # A resolver cannot be interrupted, so the thread is a daemon that holds nothing and may outlive its question.
        threading.Thread(name="pylib-resolve", target=look_up, daemon=True).start()

    def _resolved(self, found: AddressInfo, error: Exception | None) -> None:
        if self._done is None:
            return
        if error is not None:
            self._fail(error)
            return
        self._candidates = list(found)
        self._next()

    def _next(self) -> None:
        if not self._candidates:
            self._fail(self._last or ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
            return
        family, kind, proto, _, where = self._candidates.pop(0)
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as error:
            self._last = error
            self._next()
            return
        sock.setblocking(False)
        _tune(sock)
        self._socket = sock
        code = sock.connect_ex(where)
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._loop.watch(sock.fileno(), WRITE, self._connected)
        else:
            self._try_another(OSError(code, os.strerror(code)))

    def _connected(self, mask: int) -> None:
        sock = self._socket
        if sock is None:
            return
        self._loop.unwatch(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._try_another(OSError(code, os.strerror(code)))
            return
        if self._tls is None:
            self._succeed(sock)
            return
        try:
            wrapped = self._tls.wrap_socket(sock, server_hostname=self._address.host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            self._fail(error)
            return
        self._socket = wrapped
        self._shake_hands(wrapped)

    def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        self._loop.unwatch(sock.fileno())
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.watch(sock.fileno(), READ, lambda mask: self._shake_hands(sock))
        except ssl.SSLWantWriteError:
            self._loop.watch(sock.fileno(), WRITE, lambda mask: self._shake_hands(sock))
        except ConnectionError:
            hung_up = "it hung up during the TLS handshake; check that this is its TLS port"
            self._fail(AccessRefused(f"{self._who}: {hung_up}"))
        except (OSError, ValueError) as error:
            self._fail(error)
        else:
            self._succeed(sock)

    def _try_another(self, error: Exception) -> None:
        self._last = error
        self._drop_socket()
        self._next()

    def _succeed(self, sock: socket.socket) -> None:
        done, self._done, self._socket = self._done, None, None
        self._timer.cancel()
        if done is not None:
            done(sock, None)

    def _fail(self, error: Exception) -> None:
        done, self._done = self._done, None
        self._timer.cancel()
        self._drop_socket()
        if done is not None:
            done(None, explain(error, self._who))

    def _drop_socket(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            if sock.fileno() >= 0:
                self._loop.unwatch(sock.fileno())
            sock.close()


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError, AttributeError):  # Linux has it; elsewhere the keep-alive has to notice
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def explain(error: BaseException, who: str) -> DependencyError:
    """A connection's failure in words for the person who has to mend it. ``who`` is "MQTT broker at host:port"."""
    if isinstance(error, DependencyError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return AccessRefused(
            f"{who}: its TLS certificate is not trusted ({error.verify_message}); "
            "check the CA file, the host name and the certificate's dates"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return AccessRefused(
            f"{who}: TLS was refused ({reason}); check that this is its TLS port and that it accepts our certificate"
        )
    if isinstance(error, socket.gaierror):
        return ConnectFailed(f"{who}: the host name is not known ({error.strerror}); check the address")
    if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
        return ConnectFailed(f"{who}: connection refused; check that the broker is running and the port is right")
    if isinstance(error, TimeoutError):
        return ConnectFailed(f"{who}: no answer in time; check the address, the network and any firewall")
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return ConnectFailed(f"{who}: no route to it; check the address and the network")
    text = str(error) or type(error).__name__
    return ConnectFailed(f"{who}: {text}")


class BufferedSocket:
    """A connected socket that talks to the kernel in large pieces and to its client in small ones.

    Paho reads a packet in three calls, the first two for one byte each, and writes each packet by itself. Here the first
    read takes what the kernel has, and writes gather until ``flush``. For one thread.
    """

    # What may wait to be written before a writer is told to come back: the bound on memory towards a slow broker.
    MOST_UNWRITTEN = 1 << 20
    READ_SIZE = 1 << 16
    TLS_WAITS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

    __slots__ = ("_at", "_closed_by_peer", "_in", "_out", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._in = b""
        self._at = 0
        self._out = bytearray()
        self._closed_by_peer = False

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes. Raises BlockingIOError when there are none, returns b"" when the peer has closed."""
        at = self._at
        if at >= len(self._in):
            try:
                self._in = self._socket.recv(self.READ_SIZE)
            except self.TLS_WAITS as error:
                raise BlockingIOError from error
            at = 0
            if not self._in:
                self._closed_by_peer = True
                return b""
        end = at + size
        self._at = end
        return self._in[at:end]

    @property
    def buffered(self) -> bool:
        """Whether bytes wait here that no poll on the descriptor would report."""
        return self._at < len(self._in) or self.pending() > 0

    def pending(self) -> int:
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0

    def send(self, data: bytes | bytearray) -> int:
        """Take data to be written by ``flush``. Raises BlockingIOError when too much waits already."""
        if len(self._out) >= self.MOST_UNWRITTEN:
            raise BlockingIOError
        self._out += data
        return len(data)

    def flush(self) -> bool:
        """Write what waits. True when nothing is left; raises OSError when the connection is gone."""
        while self._out:
            try:
                written = self._socket.send(self._out)
            except (BlockingIOError, *self.TLS_WAITS):
                return False
            del self._out[:written]
        return True

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        self._socket.setblocking(flag)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.flush()
        self._socket.close()
