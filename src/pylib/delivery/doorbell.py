"""The doorbell: another process says "look again", and nobody has to poll a file.

A bell is a Unix datagram socket beside the database, ``<database>.bell-<process id>-<number>``. Its owner watches
``fileno()`` in its loop; who changed the database calls ``ring_all``. A ring says nothing but that there is something
to look at: one that is lost with its process is made up for by the look at the start.
"""

from __future__ import annotations

import glob
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["Doorbell", "ring_all"]

_LONGEST: Final = 100
"""Bytes of a path that fit into a socket address (108 on Linux, unix(7)), with some room."""

_numbers: Final = itertools.count(1)


class Doorbell:
    """A bell of one thread. The socket is there from the construction to ``close``.

    :param database: the file that it stands beside; its folder is made where it is missing.
    :raises OSError: the socket cannot be made there.
    """

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(database)
        self._path = Path(f"{database}.bell-{os.getpid()}-{next(_numbers)}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            with _address(self._path) as address:
                self._socket.bind(address)
            os.chmod(self._path, 0o600)
        except OSError:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The socket in the file system."""
        return self._path

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Take all rings that have come. Returns whether there was one. Never waits."""
        rung = False
        while True:
            try:
                self._socket.recv(16)
            except BlockingIOError:
                return rung
            rung = True

    def close(self) -> None:
        """Take the bell away. May be called twice."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            self._path.unlink(missing_ok=True)


def ring_all(database: Path) -> int:
    """Ring every bell beside the file; any thread and process that may write there. Never waits, never raises OSError.

    Sockets of processes that were killed are removed. Returns how many bells rang.
    """
    rung = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as ringer:
        for path in _bells(database):
            try:
                with _address(path) as address:
                    ringer.sendto(b"!", address)
            except BlockingIOError:
                pass  # it is full of rings that were not taken yet; one more says nothing new
            except ConnectionRefusedError:
                _remove_if_stale(path)
                continue
            except OSError:
                continue  # gone in this moment, or another user's
            rung += 1
    return rung


def _bells(database: Path) -> list[Path]:
    return [Path(name) for name in sorted(glob.glob(f"{glob.escape(str(database))}.bell-*-*"))]


def _sweep(database: Path) -> None:
    for path in _bells(database):
        _remove_if_stale(path)


def _remove_if_stale(path: Path) -> None:
    """Remove a socket whose process is gone. A living process's one may just be about to be bound."""
    try:
        pid = int(path.name.rsplit("-", 2)[1])
        os.kill(pid, 0)
    except ProcessLookupError:
        path.unlink(missing_ok=True)
    except (ValueError, OSError):
        return


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as a socket address. One that is too long is reached through a descriptor of its folder (proc(5))."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
