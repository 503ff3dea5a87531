"""A TCP proxy on loopback that misbehaves on request: it refuses, freezes, resets, slows and cuts.

Put it between a program and its broker. It knows nothing of the protocol. Every method may be called from any thread
and returns when the fault is in force, so that a test needs no pause after it.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self

from pylib.testing.ports import LOOPBACK, free_port

Direction = Literal["to_broker", "to_client"]
_BOTH: tuple[Direction, Direction] = ("to_broker", "to_client")
_CHUNK = 65_536
# Past this a sender is no longer read, so that a frozen or slow side fills its peer's buffers as a real one would.
_HELD_BYTES = 262_144
_COMMAND_SECONDS = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Toxic:
    """What happens to one direction: all fields at their defaults let everything through at once."""

    frozen: bool = False
    latency: float = 0.0
    bytes_per_second: float | None = None


class _Flow:
    """One direction of one connection. Used by the proxy's thread alone."""

    def __init__(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        self.source = source
        self.target = target
        self.direction = direction
        self.held: deque[tuple[float, bytes]] = deque()
        self.held_bytes = 0
        self.source_ended = False
        self.end_passed_on = False
        self.next_send = 0.0

    def wants_to_read(self, toxic: Toxic) -> bool:
        return not self.source_ended and not toxic.frozen and self.held_bytes < _HELD_BYTES

    def send_due(self, toxic: Toxic) -> float | None:
        """The monotonic time at which something may be sent, or None."""
        if toxic.frozen or not self.held:
            return None
        return max(self.held[0][0], self.next_send)


@dataclass(slots=True)
class _Link:
    """One connection of a client, with its connection to the broker."""

    client: socket.socket
    broker: socket.socket
    flows: dict[Direction, _Flow]


class FaultProxy:
    """Listens on ``port`` of loopback and forwards to ``upstream_port``; healthy until told otherwise.

    ``start()`` opens the port and one thread, ``stop()`` ends both and closes every connection.
    """

    def __init__(self, upstream_port: int, upstream_host: str = LOOPBACK, *, port: int | None = None) -> None:
        self.host = LOOPBACK
        self.port = free_port() if port is None else port
        self._upstream = (upstream_host, upstream_port)
        self._toxics: dict[Direction, Toxic] = {direction: Toxic() for direction in _BOTH}
        self._budgets: dict[Direction, int | None] = dict.fromkeys(_BOTH)
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None
        self._commands: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._accepted = 0

    @property
    def address(self) -> str:
        """``host:port`` of the proxy."""
        return f"{self.host}:{self.port}"

    @property
    def accepted(self) -> int:
        """How many connections were accepted since the start."""
        return self._accepted

    def start(self) -> Self:
        """Open the port; raises OSError when it is taken."""
        self._stopping = False
        self._open_listener()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self.port}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything and end the thread. May be called twice."""
        if self._thread is None:
            return
        self._command(self._mark_stopping)
        self._thread.join(_COMMAND_SECONDS)
        self._thread = None
        self._wake_read.close()
        self._wake_write.close()

    def refuse(self) -> None:
        """Refuse new connections and reset the present ones, as a broker that is gone does."""
        self._command(self._refuse)

    def freeze(self, direction: Direction | None = None) -> None:
        """Forward nothing any more, in one direction or both; connections stay open and new ones are accepted."""
        self._command(lambda: self._set(direction, frozen=True))

    def thaw(self, direction: Direction | None = None) -> None:
        """End a freeze; what was held back goes on its way."""
        self._command(lambda: self._set(direction, frozen=False))

    def slow(self, *, latency: float = 0.0, bytes_per_second: float | None = None, direction: Direction | None = None) -> None:
        """Delay everything by ``latency`` seconds and pass at most ``bytes_per_second`` per connection."""
        self._command(lambda: self._set(direction, latency=latency, bytes_per_second=bytes_per_second))

    def reset(self) -> None:
        """Break the present connections with a TCP reset; new ones are served."""
        self._command(self._reset_all)

    def drop(self) -> None:
        """Close the present connections in order (FIN); new ones are served."""
        self._command(self._close_all)

    def cut_after(self, count: int, direction: Direction = "to_broker") -> None:
        """Pass ``count`` more bytes in ``direction``, over all connections, then reset the one that sends the next."""
        self._command(lambda: self._budgets.__setitem__(direction, count))

    def heal(self) -> None:
        """End every fault: new connections are accepted and all is forwarded at once."""
        self._command(self._heal)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # The rest runs in the proxy's own thread.

    def _command(self, action: Callable[[], None]) -> None:
        if self._thread is None or not self._thread.is_alive():
            raise RuntimeError("The fault proxy does not run; call start() first.")
        done = threading.Event()
        self._commands.append((action, done))
        self._wake_write.send(b"\0")
        if not done.wait(_COMMAND_SECONDS):
            raise RuntimeError("The fault proxy did not take the command in time.")

    def _mark_stopping(self) -> None:
        self._stopping = True

    def _refuse(self) -> None:
        self._close_listener()
        self._reset_all()

    def _heal(self) -> None:
        self._toxics = {direction: Toxic() for direction in _BOTH}
        self._budgets = dict.fromkeys(_BOTH)
        if self._listener is None:
            self._open_listener()

    def _set(self, direction: Direction | None, **changes: bool | float | None) -> None:
        for each in _BOTH if direction is None else (direction,):
            self._toxics[each] = replace(self._toxics[each], **changes)  # type: ignore[arg-type]

    def _open_listener(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(64)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._listener = listener

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._close_listener()
            self._close_all()

    def _turn(self) -> None:
        """Wait until something can be done, and do it. Interest is small and changes each turn, so it is built anew."""
        now = time.monotonic()
        readers: dict[socket.socket, tuple[_Link, _Flow]] = {}
        writers: dict[socket.socket, tuple[_Link, _Flow]] = {}
        next_due: float | None = None
        for link in self._links:
            for flow in link.flows.values():
                toxic = self._toxics[flow.direction]
                if flow.wants_to_read(toxic):
                    readers[flow.source] = (link, flow)
                due = flow.send_due(toxic)
                if due is not None and due <= now:
                    writers[flow.target] = (link, flow)
                elif due is not None:
                    next_due = due if next_due is None else min(next_due, due)
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            for each in readers.keys() | writers.keys():
                wanted = (selectors.EVENT_READ if each in readers else 0) | (selectors.EVENT_WRITE if each in writers else 0)
                selector.register(each, wanted)
            ready = selector.select(None if next_due is None else max(next_due - now, 0.0))
        for key, mask in ready:
            source = key.fileobj
            if source is self._wake_read:
                self._take_commands()
            elif source is self._listener:
                self._accept()
            elif isinstance(source, socket.socket):
                if mask & selectors.EVENT_READ and source in readers:
                    self._read(*readers[source])
                if mask & selectors.EVENT_WRITE and source in writers:
                    self._write(*writers[source])

    def _take_commands(self) -> None:
        with suppress(BlockingIOError):
            self._wake_read.recv(4096)
        while self._commands:
            action, done = self._commands.popleft()
            action()
            done.set()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self._accepted += 1
        try:
            broker = socket.create_connection(self._upstream, timeout=2.0)
        except OSError:
            _reset(client)
            return
        for each in (client, broker):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flows: dict[Direction, _Flow] = {
            "to_broker": _Flow(client, broker, "to_broker"),
            "to_client": _Flow(broker, client, "to_client"),
        }
        self._links.append(_Link(client, broker, flows))

    def _read(self, link: _Link, flow: _Flow) -> None:
        # An earlier event of the same turn may have ended the link or frozen the direction.
        if link not in self._links or self._toxics[flow.direction].frozen:
            return
        try:
            data = flow.source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._end(link, reset=True)
            return
        if not data:
            flow.source_ended = True
            self._pass_on_end(link, flow)
            return
        flow.held.append((time.monotonic() + self._toxics[flow.direction].latency, data))
        flow.held_bytes += len(data)

    def _write(self, link: _Link, flow: _Flow) -> None:
        if link not in self._links or self._toxics[flow.direction].frozen or not flow.held:
            return
        due, data = flow.held.popleft()
        toxic = self._toxics[flow.direction]
        budget = self._budgets[flow.direction]
        if budget == 0:
            self._end(link, reset=True)
            return
        limits = [limit for limit in (budget, _slice(toxic)) if limit is not None]
        part = data[: min(limits)] if limits else data
        try:
            sent = flow.target.send(part)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(link, reset=True)
            return
        if sent < len(data):
            flow.held.appendleft((due, data[sent:]))
        flow.held_bytes -= sent
        if budget is not None:
            self._budgets[flow.direction] = budget - sent
        if toxic.bytes_per_second is not None:
            flow.next_send = max(flow.next_send, time.monotonic()) + sent / toxic.bytes_per_second
        self._pass_on_end(link, flow)

    def _pass_on_end(self, link: _Link, flow: _Flow) -> None:
        """Close the far side's reading half once all that came before the end has been sent."""
        if not flow.source_ended or flow.held or flow.end_passed_on:
            return
        flow.end_passed_on = True
        with suppress(OSError):
            flow.target.shutdown(socket.SHUT_WR)
        if all(each.end_passed_on for each in link.flows.values()):
            self._end(link, reset=False)

    def _end(self, link: _Link, *, reset: bool) -> None:
        if link in self._links:
            self._links.remove(link)
        for each in (link.client, link.broker):
            if reset:
                _reset(each)
            else:
                each.close()

    def _reset_all(self) -> None:
        for link in list(self._links):
            self._end(link, reset=True)

    def _close_all(self) -> None:
        for link in list(self._links):
            self._end(link, reset=False)


def _reset(connection: socket.socket) -> None:
    """Close with a TCP reset instead of an orderly end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    connection.close()


def _slice(toxic: Toxic) -> int | None:
    """How many bytes to send at a time, a twentieth of a second's worth, so that a slow flow is even."""
    return None if toxic.bytes_per_second is None else max(1, int(toxic.bytes_per_second / 20))
