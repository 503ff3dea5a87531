"""Free loopback ports, and waiting until one answers.

Ports are taken from below the range that the kernel uses for outgoing connections, so that a port that was free when
it was chosen is not taken by somebody's outgoing connection before the broker binds it. A port is not handed out twice
by one process.
"""

from __future__ import annotations

import os
import random
import select
import socket
import threading
from contextlib import closing, suppress

LOOPBACK = "127.0.0.1"
_FIRST_PORT = 20_000
_LAST_PORT = 32_000
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"


class PortBook:
    """Hands out free ports, each one once. Any thread may call it."""

    def __init__(self, first: int = _FIRST_PORT, last: int = _LAST_PORT) -> None:
        self._first = first
        self._last = last
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        # Seeded by the operating system, so that test runs side by side do not walk the same ports.
        self._random = random.SystemRandom()

    def take(self, host: str = LOOPBACK) -> int:
        """Return a port that nobody listens on at ``host``; raises OSError when a thousand tries found none."""
        with self._lock:
            for _ in range(1000):
                port = self._random.randint(self._first, self._last)
                if port not in self._taken and is_free(port, host):
                    self._taken.add(port)
                    return port
        raise OSError(f"No free port between {self._first} and {self._last} on {host}.")


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Say whether ``port`` can be bound on ``host`` now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # A port in TIME_WAIT counts as free, since the brokers bind with SO_REUSEADDR too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


_BOOK = PortBook()


def free_port(host: str = LOOPBACK) -> int:
    """Return a port of ``host`` that is free and that this process has not been given before."""
    return _BOOK.take(host)


def answers(port: int, host: str = LOOPBACK, timeout: float = 1.0) -> bool:
    """Say whether something accepts a TCP connection within ``timeout`` seconds."""
    with suppress(OSError), closing(socket.create_connection((host, port), timeout=timeout)):
        return True
    return False


def amqp_answers(port: int, host: str = LOOPBACK, timeout: float = 1.0) -> bool:
    """Say whether an AMQP 0-9-1 server answers the protocol header within ``timeout`` seconds.

    A RabbitMQ that is still booting may accept a connection without serving it; its ``connection.start`` frame is the
    proof that it serves.
    """
    with suppress(OSError), closing(socket.create_connection((host, port), timeout=timeout)) as probe:
        probe.sendall(_AMQP_GREETING)
        return probe.recv(1) == b"\x01"
    return False


def pause_unless_gone(pid: int | None, seconds: float) -> None:
    """Wait ``seconds``, but return at once when the child process ``pid`` ends."""
    if pid is None:
        threading.Event().wait(seconds)
        return
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        threading.Event().wait(seconds)
        return
    try:
        select.select([descriptor], [], [], max(seconds, 0.0))
    finally:
        os.close(descriptor)


def private_host() -> str:
    """Return a random loopback address of 127.0.0.0/8, on which even a well-known port is free.

    For programs that know a host and no port. Linux answers on the whole network; other systems on 127.0.0.1 alone.
    """
    dice = random.SystemRandom()
    return f"127.{dice.randint(16, 250)}.{dice.randint(1, 250)}.{dice.randint(1, 250)}"
