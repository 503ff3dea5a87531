"""A socket to await on, which a stop wakes and which lets receipts go: for threads that run asyncio."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import zmq
import zmq.asyncio
from zmq.error import ContextTerminated

from pylib.errors import ConnectionLost, PylibError
from pylib.runtime.receipts import MARK, Receipt, Receipts

if TYPE_CHECKING:
    from pylib.runtime.gate import Gate
    from pylib.runtime.handover import Handover

__all__ = ["AsyncSocket"]


class AsyncSocket(zmq.asyncio.Socket):
    """A ``zmq.asyncio`` socket of a runtime. It belongs to the asyncio loop of the thread that opened it.

    * A ``recv`` or ``send`` that waits when the stop comes raises ``ContextTerminated``; without this it would wait
      for ever, and the context with it.
    * A ``recv`` settles the message received before it on the same socket: who handles several at once acknowledges
      early. What is sent from asyncio holds no receipt, since which task handles what is not known here.
    * ``send_pyobj`` and ``recv_pyobj`` are refused unless every endpoint is ``inproc``.
    """

    # Declared on the class: pyzmq refuses unknown attributes on an instance.
    receipts: Receipts
    gate: Gate
    handover: Handover
    _held: tuple[Receipt, ...] = ()
    _pending: set[asyncio.Future[Any]]
    _watching: tuple[asyncio.AbstractEventLoop, int] | None = None
    _remote: tuple[str, ...] = ()

    def join_runtime(self, receipts: Receipts, gate: Gate, handover: Handover) -> None:
        """Say whose deliveries it carries and which gate ends its waits. Once, by whoever opens it."""
        self.receipts = receipts
        self.gate = gate
        self.handover = handover
        self._pending = set()

    def bind(self, addr: str) -> Any:
        bound = super().bind(addr)
        self._note(addr)
        return bound

    def connect(self, addr: str) -> Any:
        connected = super().connect(addr)
        self._note(addr)
        return connected

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        self._settle(None)
        return self._deserialize(self._until_the_end(super().recv(flags)), self._taken)

    def recv_multipart(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        self._settle(None)
        parts = self._until_the_end(super().recv_multipart(flags))
        return self._deserialize(parts, lambda frames: [self._taken(frame) for frame in frames])

    def recv_pyobj(self, flags: int = 0) -> Any:
        self._refuse_remote()
        return self._deserialize(self.recv(flags), self.handover.thaw)

    def send(  # type: ignore[override]  # as in Socket: pyzmq's overloads differ in what inproc does not need
        self, data: Any, flags: int = 0, copy: bool = True, track: bool = False, **named: Any
    ) -> Any:
        return self._until_the_end(super().send(self._given(data), flags, copy, track, **named))

    def send_multipart(  # type: ignore[override]  # ditto
        self, msg_parts: Any, flags: int = 0, copy: bool = True, track: bool = False, **named: Any
    ) -> Any:
        parts = [self._given(part) for part in msg_parts]
        return self._until_the_end(super().send_multipart(parts, flags, copy, track, **named))

    def send_pyobj(self, obj: Any, flags: int = 0, protocol: int = -1, **named: Any) -> Any:
        self._refuse_remote()
        return self.send(self.handover.freeze(obj), flags, **named)

    def close(self, linger: int | None = None) -> None:
        """Close it, in its own thread. A message that was being handled fails: nobody said that it was dealt with."""
        self._settle(ConnectionLost("an asyncio socket was closed while its message was being handled"))
        self._watch_no_more()
        super().close(linger)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _note(self, addr: str) -> None:
        if not addr.startswith("inproc://"):
            self._remote = (*self._remote, addr)

    def _refuse_remote(self) -> None:
        if self._remote:
            raise PylibError(f"Python objects travel on inproc only, not on {', '.join(self._remote)}: use bytes there")

    def _given(self, data: Any) -> Any:
        if self.type == zmq.PUSH and not self._remote and bytes(data)[-1:] == bytes((MARK,)):
            return self.receipts.attach(bytes(data), ())
        return data

    def _taken(self, frame: bytes) -> bytes:
        if frame and frame[-1] == MARK and self.type == zmq.PULL and not self._remote:
            frame, receipts = self.receipts.detach(frame)
            self._held += receipts
        return frame

    def _settle(self, error: BaseException | None) -> None:
        held, self._held = self._held, ()
        for receipt in held:
            if error is None:
                receipt.release()
            else:
                receipt.fail(error)

    def _until_the_end(self, waiting: Any) -> Any:
        if waiting.done():
            return waiting
        if self.gate.is_open:
            waiting.set_exception(ContextTerminated())
            return waiting
        if self._watching is None:
            # A loop takes one call-back per descriptor, and the gate has one descriptor for all: hence one's own copy.
            loop, descriptor = asyncio.get_running_loop(), os.dup(self.gate.fileno())
            self._watching = (loop, descriptor)
            loop.add_reader(descriptor, self._end)
        self._pending.add(waiting)
        waiting.add_done_callback(self._pending.discard)
        return waiting

    def _end(self) -> None:
        self._watch_no_more()
        for waiting in list(self._pending):
            if not waiting.done():
                waiting.set_exception(ContextTerminated())

    def _watch_no_more(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            loop, descriptor = watching
            with suppress(RuntimeError):  # the loop is closed already
                loop.remove_reader(descriptor)
            os.close(descriptor)
