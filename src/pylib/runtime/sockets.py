"""The sockets of a runtime: opened in one place, each with its owner and the line that opened it."""

from __future__ import annotations

import contextlib
import pickle
import select
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import zmq
from zmq.error import Again, ContextTerminated, ZMQError

from pylib.errors import ConfigError, ConnectionLost, PylibError
from pylib.runtime.handover import Handover
from pylib.runtime.here import HERE
from pylib.runtime.receipts import MARK, Receipt, Receipts, settle_handling

if TYPE_CHECKING:
    from pylib.runtime.gate import Gate
    from pylib.runtime.latch import Latch
    from pylib.runtime.member import Member

__all__ = ["Socket", "SocketRegistry", "caller_line"]

_TAKES_RECEIPTS: Final = frozenset((zmq.PULL, zmq.REP, zmq.REQ))
_GIVES_RECEIPTS: Final = frozenset((zmq.PUSH, zmq.REQ, zmq.REP))
# Messages a pipe holds on each side before a sender has to wait. 1000 is ZeroMQ's own default: an inproc pipe then holds
# twice that, the sender's mark and the receiver's.
HIGH_WATER_MARK: Final = 1000
_LIBRARY: Final = __file__.removesuffix("runtime/sockets.py")


def caller_line(depth: int = 1) -> str:
    """``file:line`` of the caller ``depth`` frames up, or of the first one above it that is not this library's.

    A frame or a few, not a whole stack with its source lines, which costs a thousand times as much.
    """
    frame = sys._getframe(depth + 1)
    while frame.f_code.co_filename.startswith(_LIBRARY) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Traffic:
    """How many messages have passed a socket. Written by the thread that owns it; anyone may read."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Socket(zmq.Socket[bytes]):
    """A ZeroMQ socket that a stop can always wake, and that carries receipts.

    * A blocking ``recv`` or ``send`` waits for the socket *or* for the stop. Once the thread is asked to end, ``recv`` still
      returns what has arrived, and raises ``ContextTerminated`` when nothing is left; a ``send`` into a full pipe raises it.
    * A ``recv`` on PULL or REP first settles the message received before it; what is sent in between holds its receipt.
    * ``send_pyobj`` pickles, or hands over what says that it never changes; it is refused unless every endpoint is ``inproc``.

    One thread owns it: the one that opened it, or the member it was handed to when that started.
    """

    # Declared on the class: pyzmq refuses unknown attributes on an instance.
    registry: SocketRegistry
    origin: str = ""
    owner: Member | None = None
    owner_ident: int = 0
    endpoints: tuple[str, ...] = ()
    traffic: Traffic
    _bound: tuple[str, ...] = ()
    _kind: int = 0
    _local: bool = True
    _gives: bool = False
    _takes: bool = False

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def bind(self, addr: str) -> Any:  # pyzmq's own return type is private to it
        try:
            bound = super().bind(addr)
        except ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                other = self.registry.bound_to(addr)
                where = f" by {other.describe()}" if other is not None else ""
                raise ConfigError(f"{addr} is bound already{where}; one socket binds, the others connect") from error
            raise
        self._joined(addr)
        if addr.startswith("inproc://"):
            self._bound = (*self._bound, addr)
        return bound

    def connect(self, addr: str) -> Any:
        connected = super().connect(addr)
        self._joined(addr)
        return connected

    def _joined(self, addr: str) -> None:
        self.endpoints = (*self.endpoints, addr)
        if not addr.startswith("inproc://"):
            self._local = self._gives = self._takes = False

    # -- messages ----------------------------------------------------------------------------------------------------

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        if self._takes and not HERE.holding and self._kind != zmq.REQ:
            settle_handling()
        frame: bytes
        if flags & zmq.NOBLOCK:
            frame = super().recv(flags)
        else:
            try:
                frame = super().recv(flags | zmq.NOBLOCK)
            except Again:
                frame = self._wait_and_recv(flags)
        self.traffic.count += 1
        if frame and frame[-1] == MARK and self._takes:
            frame, receipts = self.registry.receipts.detach(frame)
            if receipts:
                HERE.receipts = HERE.receipts + receipts if HERE.receipts else receipts
        return frame if copy else zmq.Frame(frame)

    def send(  # type: ignore[override]  # pyzmq's five overloads differ in the tracker alone, which inproc does not need
        self, data: Any, flags: int = 0, copy: bool = True, track: bool = False, **named: Any
    ) -> Any:
        if self._gives:
            receipts = HERE.receipts
            if not isinstance(data, bytes):
                data = bytes(data)
            if receipts or (data and data[-1] == MARK):
                data = self.registry.receipts.attach(data, receipts)
                try:
                    return self._send(data, flags, copy, track, **named)
                except Again:
                    # Nothing was sent, and the sender still holds the delivery: to try again, to keep it or to give up.
                    self.registry.receipts.drop(data)
                    raise
                except BaseException as error:
                    self.registry.receipts.drop(data, error)
                    raise
        return self._send(data, flags, copy, track, **named)

    def _send(self, data: Any, flags: int, copy: bool, track: bool, **named: Any) -> Any:
        try:
            sent = super().send(data, flags | zmq.NOBLOCK, copy, track, **named)
        except Again:
            if flags & zmq.NOBLOCK:
                raise
            self._wait(zmq.POLLOUT, self.getsockopt(zmq.SNDTIMEO))
            sent = super().send(data, flags | zmq.NOBLOCK, copy, track, **named)
        self.traffic.count += 1
        return sent

    def send_pyobj(self, obj: Any, flags: int = 0, protocol: int = pickle.HIGHEST_PROTOCOL, **named: Any) -> Any:
        if not self._local:
            raise PylibError(f"Python objects travel on inproc only, not on {', '.join(self.endpoints)}: send bytes there")
        return self.send(self.registry.handover.freeze(obj, protocol), flags, **named)

    def send_enclosed(self, obj: Any, receipt: Receipt) -> None:
        """Send an object that takes the caller's hold on a receipt along, and no other receipt. Blocks while full."""
        frame = self.registry.receipts.enclose(self.registry.handover.freeze(obj), receipt)
        self._send(frame, 0, True, False)

    def take(self) -> tuple[Any, bytes]:
        """The next object without waiting, and the receipts it carries as they travel, for ``pass_on``. Raises Again.

        For loops: the caller settles or fails the thread's receipts, or passes them on. Only inproc, only PULL.
        """
        frame: bytes = zmq.Socket.recv(self, zmq.NOBLOCK)
        self.traffic.count += 1
        obj = self.registry.handover.thaw(frame)
        if frame[-1] != MARK:
            return obj, b""
        bare, HERE.receipts = self.registry.receipts.detach(frame)
        return obj, frame[len(bare) :]

    def pass_on(self, obj: Any, carried: bytes) -> None:
        """Send an object with the receipts that another came with: the thread's hold on them goes along. Blocks while full."""
        self._send(self.registry.handover.freeze(obj) + carried, 0, True, False)
        HERE.receipts = ()

    def recv_pyobj(self, flags: int = 0) -> Any:
        if not self._local:
            raise PylibError(f"Python objects travel on inproc only, not on {', '.join(self.endpoints)}: use recv() there")
        return self.registry.handover.thaw(self.recv(flags))

    def _wait_and_recv(self, flags: int) -> bytes:
        self._wait(zmq.POLLIN, self.getsockopt(zmq.RCVTIMEO))
        return super().recv(flags | zmq.NOBLOCK)

    def _wait(self, wanted: int, timeout: Any) -> None:
        """Wait for the socket or for the end. Raises Again at the socket's own time-out, ContextTerminated at the end."""
        member = HERE.member
        gate: Gate = member.gate if member is not None else self.registry.latch.gate
        poller = zmq.Poller()
        poller.register(self, wanted)
        if not gate.is_open:
            poller.register(gate.fileno(), select.POLLIN)
        if member is not None:
            member.busy_since = None
        # With the gate open there is nothing to wait for but what is there already.
        ready = dict(poller.poll(0 if gate.is_open else None if timeout < 0 else timeout))
        if member is not None:
            member.busy_since = self.registry.monotonic()
        if self in ready:
            return
        if gate.is_open:
            raise ContextTerminated()
        raise Again()

    # -- life --------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Who and what, for a report: kind, endpoints, owner, opening line."""
        owner = self.owner.name if self.owner is not None else "nobody in particular"
        where = ", ".join(self.endpoints) or "no endpoint"
        return f"{zmq.SocketType(self._kind).name} on {where}, owned by {owner}, opened at {self.origin}"

    @property
    def kind(self) -> int:
        """ZeroMQ's number of its type: ``zmq.PULL``, ..."""
        return self._kind

    @property
    def bound(self) -> bool:
        """Whether others connect to it by an ``inproc`` address."""
        return bool(self._bound)

    def close(self, linger: int | None = None) -> None:
        """Close the socket, by the thread that owns it. Closing twice is harmless.

        Deliveries that still wait in it fail: they were not dealt with, and nobody will see them here any more.
        """
        registry = getattr(self, "registry", None)
        if registry is not None:
            registry.forget(self)
            if not self.closed:
                self._leave()
                if self._takes and self._kind == zmq.PULL and registry.receipts.open_receipts:
                    self._fail_waiting(registry.receipts)
        super().close(linger)

    def _leave(self) -> None:
        # ZeroMQ frees an address some time after the close, in another thread; a restarted owner binds it again at once.
        for addr in self._bound:
            with contextlib.suppress(ZMQError):
                self.unbind(addr)

    def _fail_waiting(self, receipts: Receipts) -> None:
        error = ConnectionLost(f"{self.describe()} was closed before this message was taken from it")
        try:
            for _ in range(2 * HIGH_WATER_MARK):  # what can be waiting; anything beyond is arriving
                receipts.drop(super().recv(zmq.NOBLOCK), error)
        except ZMQError:
            return


class SocketRegistry:
    """Every socket of one runtime. Any thread may open; a socket is closed by the thread that owns it."""

    def __init__(self, context: zmq.Context[Any], latch: Latch, receipts: Receipts, monotonic: Any) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._sockets: dict[int, Socket] = {}
        self._async: list[tuple[int, zmq.Socket[Any]]] = []
        # What passed sockets that are closed by now, by endpoint: what was sent, and what was taken.
        self.departed: dict[str, list[int]] = {}
        self.latch = latch
        self.receipts = receipts
        self.handover = Handover()
        self.monotonic = monotonic

    def open(self, kind: int, *, owner: Member | None = None, origin: str = "") -> Socket:
        """A new socket of the given kind, unbound and unconnected. Raises ContextTerminated once the context is gone."""
        if self._context.closed:
            raise ContextTerminated()
        socket: Socket = self._context.socket(kind, socket_class=Socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.registry = self
        socket.traffic = Traffic()
        socket.origin = origin
        socket.owner = owner if owner is not None else HERE.member
        socket.owner_ident = threading.get_ident()
        socket._kind = kind
        socket._gives = kind in _GIVES_RECEIPTS
        socket._takes = kind in _TAKES_RECEIPTS
        with self._lock:
            self._sockets[id(socket)] = socket
        return socket

    def open_async(self, kind: int) -> zmq.Socket[Any]:
        """A socket to await on, for the asyncio loop of the calling thread; see ``AsyncSocket``."""
        from zmq.asyncio import Context  # asyncio is not for everyone

        from pylib.runtime.async_sockets import AsyncSocket

        if self._context.closed:
            raise ContextTerminated()
        context = Context.shadow(self._context.underlying)
        socket = cast(AsyncSocket, context.socket(kind, socket_class=cast(Any, AsyncSocket)))
        socket.setsockopt(zmq.LINGER, 0)
        gate = HERE.member.gate if HERE.member is not None else self.latch.gate
        socket.join_runtime(self.receipts, gate, self.handover)
        with self._lock:
            self._async.append((threading.get_ident(), socket))
        return socket

    def adopt(self, sockets: list[Socket], owner: Member) -> None:
        """Hand sockets to the calling thread: done once, when the thread that will use them starts."""
        ident = threading.get_ident()
        for socket in sockets:
            socket.owner = owner
            socket.owner_ident = ident

    def forget(self, socket: Socket) -> None:
        with self._lock:
            known = self._sockets.pop(id(socket), None)
            if known is not None and len(socket.endpoints) == 1 and socket._kind in (zmq.PUSH, zmq.PULL):
                passed = self.departed.setdefault(socket.endpoints[0], [0, 0])
                passed[socket._kind == zmq.PULL] += socket.traffic.count

    def close_mine(self) -> None:
        """Close every socket that the calling thread owns."""
        ident = threading.get_ident()
        for socket in self.all():
            # Those of a thread that this one has just started are no longer its own, adopted or not yet.
            started = socket.owner is not None and socket.owner is not HERE.member and socket.owner.alive
            if socket.owner_ident == ident and not started:
                socket.close()
        self._close_async(lambda owner: owner == ident)

    def close_orphans(self) -> None:
        """Close the sockets whose owning thread has ended or never started: nobody else can be using them."""
        alive = {thread.ident for thread in threading.enumerate()}
        for socket in self.all():
            if socket.owner_ident not in alive:
                socket.close()
        self._close_async(lambda owner: owner not in alive)

    def _close_async(self, mine: Callable[[int], bool]) -> None:
        with self._lock:
            closing = [socket for owner, socket in self._async if mine(owner)]
            self._async = [(owner, socket) for owner, socket in self._async if not mine(owner)]
        for socket in closing:
            socket.close(0)

    def all(self) -> list[Socket]:
        with self._lock:
            return list(self._sockets.values())

    def bound_to(self, addr: str) -> Socket | None:
        return next((socket for socket in self.all() if addr in socket.endpoints), None)
