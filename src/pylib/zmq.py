"""Sockets and the objects that own them: the facade over the current runtime's socket registry."""

from __future__ import annotations

import threading
from typing import Any

import zmq
from zmq.error import ZMQError

from pylib.runtime.here import HERE
from pylib.runtime.runtime import current
from pylib.runtime.sockets import Socket, caller_line

__all__ = [
    "URL_HEARTBEAT_NANNY",
    "URL_MQTT_PUBLISH",
    "URL_MQTT_PUBLISHER",
    "URL_RABBIT_MQ_PUBLISHER",
    "URL_WORKER_APP",
    "URL_WORKER_PUBLISHER",
    "URL_WORKER_RELAY",
    "Closable",
    "try_close",
    "zmq_socket",
    "zmq_term",
]

URL_WORKER_APP = "inproc://app-worker"
URL_WORKER_RELAY = "inproc://app-relay"
URL_WORKER_PUBLISHER = "inproc://publisher"
URL_HEARTBEAT_NANNY = "inproc://heartbeat-nanny"
URL_RABBIT_MQ_PUBLISHER = "inproc://rabbit-mq-publisher"
# Two names for one pipe: both are bound by the MQTT subscriber.
URL_MQTT_PUBLISH = "inproc://mqtt-publish"
URL_MQTT_PUBLISHER = "inproc://mqtt-publisher"

_BINDING = frozenset((zmq.PULL, zmq.PUB, zmq.REP, zmq.ROUTER, zmq.XPUB))


def zmq_socket(socket_type: int, is_async: bool | None = False) -> Any:
    """A new socket of the current runtime, neither bound nor connected. The calling thread owns it.

    ``is_async`` gives a ``zmq.asyncio`` socket. Raises ``ContextTerminated`` once the runtime has stopped.
    """
    if is_async:
        return current().sockets.open_async(socket_type)
    return current().sockets.open(socket_type, origin=caller_line())


def try_close(socket: Any) -> None:
    """Close a socket if there is one; errors on the way are of no interest. For the thread that owns it."""
    if socket is not None:
        try:
            socket.close()
        except ZMQError:
            return


def zmq_term() -> None:
    """Run the rest of the stop: sources, pipes, bridges, the caller's own sockets, the context.

    Takes at most the runtime's stop budget (0.7 s) and never hangs: what did not stop is named in the log, with its stack
    and the line that opened its socket. Call it from the main thread, after ``die()``.
    """
    current().stop()


class Closable:
    """Something that owns sockets: one main socket on ``connect_url``, and any that ``get_socket(type)`` adds.

    PULL, PUB, REP, ROUTER and XPUB bind, and do so here, at construction, so that the order in which threads start does not
    matter; the others connect. The sockets belong to the thread that made the object until an ``AppThread`` that is also a
    ``Closable`` starts: then to that thread. Making it twice with the same URL changes nothing.

    Raises ``ConfigError`` when another socket is bound to the URL already.
    """

    _closable_sockets: list[Socket]
    _socket: Any = None
    _socket_url: str = ""
    _socket_type: int = zmq.PULL
    _is_async: bool = False

    def __init__(self, connect_url: str, socket_type: int = zmq.PULL, is_async: bool | None = False) -> None:
        if self._socket is not None and (connect_url, socket_type) == (self._socket_url, self._socket_type):
            return
        if self._socket is not None:
            try_close(self._socket)
        self._socket_url = connect_url
        self._socket_type = socket_type
        self._is_async = bool(is_async)
        # An asyncio socket belongs to a running loop, so it waits until it is asked for.
        self._socket = None if self._is_async else self._open_main(caller_line())

    @property
    def socket(self) -> Any:
        """The main socket."""
        if self._socket is None and self._socket_url:
            self._socket = self._open_main(caller_line())
        return self._socket

    @property
    def socket_type(self) -> int:
        return self._socket_type

    @property
    def socket_url(self) -> str:
        return self._socket_url

    def get_socket(self, socket_type: int | None = None) -> Any:
        """Without an argument the main socket; with a type, one more socket of that type, for the caller to connect."""
        if socket_type is None:
            return self.socket
        socket = current().sockets.open(socket_type, origin=caller_line())
        self._keep(socket)
        return socket

    def close(self) -> None:
        """Close the sockets, by the thread that owns them. From any other thread: ask the owner to end, which closes them.

        A live thread's socket is never closed under it: that leaves the reader stuck, or aborts the process. And a bound
        socket of a thread that will be restarted stays open until that thread ends for good: ZeroMQ's senders would not find
        their way back to a new one, and what is queued in it would be gone.
        """
        me = HERE.member
        kept = me is not None and me.policy.limit > 0 and not (me.gate.is_open or current().stopping)
        ident = threading.get_ident()
        alive = {thread.ident for thread in threading.enumerate()}
        for socket in list(self.__dict__.get("_closable_sockets", ())):
            if kept and socket.owner is me and socket.bound:
                continue
            if socket.owner_ident == ident or socket.owner_ident not in alive:
                try_close(socket)
                self._closable_sockets.remove(socket)
                if socket is self._socket:
                    self._socket = None
            elif socket.owner is not None and socket.owner is not HERE.member:
                socket.owner.gate.open()
        if self._is_async:
            try_close(self._socket)
            self._socket = None

    def _open_main(self, origin: str) -> Any:
        if self._is_async:
            socket = current().sockets.open_async(self._socket_type)
        else:
            socket = current().sockets.open(self._socket_type, origin=origin)
        try:
            (socket.bind if self._socket_type in _BINDING else socket.connect)(self._socket_url)
        except BaseException:
            socket.close(0)
            raise
        if isinstance(socket, Socket):
            self._keep(socket)
        return socket

    def _keep(self, socket: Socket) -> None:
        self.__dict__.setdefault("_closable_sockets", []).append(socket)

    def _hand_over(self, sockets_owner: Any) -> None:
        """The owning thread is about to start: whoever made the sockets no longer closes them when it ends."""
        for socket in self.__dict__.get("_closable_sockets", ()):
            socket.owner = sockets_owner

    def _adopt_sockets(self, sockets_owner: Any) -> None:
        """The owning thread has started: it takes over every socket opened so far. Called on that thread."""
        current().sockets.adopt(list(self.__dict__.get("_closable_sockets", ())), sockets_owner)
