"""Pika's ``SelectConnection`` on our own loop: the I/O loop interface that pika asks of a foreign loop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pika
from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop

from pylib.runtime.loop import ERROR, READ, WRITE, Loop, Timer

__all__ = ["Connection", "PikaLoop"]


class PikaLoop(AbstractSelectorIOLoop):
    """The eight calls pika makes, handed to the loop, for one connection. ``add_callback`` alone is called from another
    thread (pika looks names up in one), and ``post`` is made for that.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._over = False
        self._handlers: dict[int, Callable[[int, int], None]] = {}
        # Told of what the system refuses pika while it connects: pika lets it through, and it would end the thread.
        self.on_error: Callable[[OSError], None] | None = None

    # Pika's own note: class attributes may replace these properties.
    READ = READ
    WRITE = WRITE
    ERROR = ERROR

    def close(self) -> None:
        """The loop is not pika's to close."""

    def start(self) -> None:
        """The loop runs already."""

    def stop(self) -> None:
        """The loop is not pika's to stop."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> object:
        return self._loop.call_later(delay, callback)

    def remove_timeout(self, timeout_handle: object) -> None:
        if isinstance(timeout_handle, Timer):
            timeout_handle.cancel()

    def add_callback(self, callback: Callable[[], object]) -> None:
        self._loop.post(lambda: self._guarded(callback))

    def _guarded(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except OSError as error:  # no descriptor left for a socket, for one
            if self.on_error is None:
                raise
            self.on_error(error)

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        self._handlers[fd] = handler
        self._loop.watch(fd, events, lambda mask: handler(fd, mask))
        if self._over:
            _shut(fd)

    def update_handler(self, fd: int, events: int) -> None:
        handler = self._handlers[fd]
        self._loop.watch(fd, events, lambda mask: handler(fd, mask))

    def remove_handler(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._loop.unwatch(fd)

    def hang_up(self) -> None:
        """Shut pika's sockets down, those it has and those it is about to open: a name look-up cannot be called off.

        Pika then finds them shut, cleans up after itself, and nothing has to be awaited.
        """
        self._over = True
        for fd in self._handlers:
            _shut(fd)


def _shut(fd: int) -> None:
    sock = socket.socket(fileno=fd)  # the same descriptor: there may be none left for another
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was not connected any more
    finally:
        sock.detach()


class Connection(pika.SelectConnection):
    """A connection that writes once per batch: pika hands over every frame by itself, three for a message."""

    def __init__(self, loop: Loop, shim: PikaLoop, parameters: pika.ConnectionParameters, **callbacks: object) -> None:
        self._frames: list[bytes] = []
        self._loop = loop
        super().__init__(parameters, custom_ioloop=shim, **callbacks)  # type: ignore[arg-type]  # pika's three callbacks

    def _adapter_emit_data(self, data: bytes) -> None:  # pika: "subclasses must override this"
        if not self._frames:
            self._loop.defer(self._write)
        self._frames.append(data)

    def emit(self, frames: bytes) -> None:
        """Send frames that are encoded already."""
        self._adapter_emit_data(frames)

    def _write(self) -> None:
        frames, self._frames = self._frames, []
        if frames and not self.is_closed:
            super()._adapter_emit_data(b"".join(frames))  # type: ignore[misc]  # the stubs leave the adapter's hooks out
