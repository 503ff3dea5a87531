"""The moving parts of the fault proxy: one thread, its listener and its connections."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from pylib.testing.links import BOTH, Direction, Flow, Held, Link, Script, Toxic, reset

_CHUNK = 65_536
_COMMAND_SECONDS = 5.0
_CONNECT_SECONDS = 2.0


class Engine:
    """Forwards between ``host:port`` and ``upstream``. What is not marked otherwise runs in its own thread."""

    def __init__(self, host: str, port: int, upstream: tuple[str, int], script: Script) -> None:
        self.host = host
        self.port = port
        self.accepted = 0
        self.links: list[Link] = []
        self.toxics: dict[Direction, Toxic] = {direction: Toxic() for direction in BOTH}
        self.budgets: dict[Direction, int | None] = dict.fromkeys(BOTH)
        self.upstream = upstream
        self._script = script
        self._listener: socket.socket | None = None
        self._commands: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self) -> None:
        """Open the port and start the thread. Any thread; raises OSError when the port is taken."""
        self._stopping = False
        self.open_listener()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self.port}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close everything and end the thread. Any thread; may be called twice."""
        if self._thread is None:
            return
        self.command(self._mark_stopping)
        self._thread.join(_COMMAND_SECONDS)
        self._thread = None
        self._wake_read.close()
        self._wake_write.close()

    def command(self, action: Callable[[], None]) -> None:
        """Have a call made by the proxy's thread, and return when it was made. Any other thread."""
        if self._thread is None or not self._thread.is_alive():
            raise RuntimeError("The fault proxy does not run; call start() first.")
        done = threading.Event()
        self._commands.append((action, done))
        self._wake_write.send(b"\0")
        if not done.wait(_COMMAND_SECONDS):
            raise RuntimeError("The fault proxy did not take the command in time.")

    def _mark_stopping(self) -> None:
        self._stopping = True

    def open_listener(self) -> None:
        """Accept connections; does nothing where they are accepted already."""
        if self._listener is not None:
            return
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

    def close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            self.close_listener()
            self.close_all()

    def _turn(self) -> None:
        """Wait until something can be done, and do it. Interest is small and changes each turn, so it is built anew."""
        now = time.monotonic()
        readers: dict[socket.socket, tuple[Link, Flow]] = {}
        writers: dict[socket.socket, tuple[Link, Flow]] = {}
        next_due: float | None = None
        for link in self.links:
            for flow in link.flows.values():
                toxic = self.toxics[flow.direction]
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
        self.accepted += 1
        try:
            broker = socket.create_connection(self.upstream, timeout=_CONNECT_SECONDS)
        except OSError:
            reset(client)
            return
        for each in (client, broker):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flows: dict[Direction, Flow] = {
            "to_broker": Flow(client, broker, "to_broker", self._script),
            "to_client": Flow(broker, client, "to_client", self._script),
        }
        self.links.append(Link(client, broker, flows))

    def _read(self, link: Link, flow: Flow) -> None:
        # An earlier event of the same turn may have ended the link or frozen the direction.
        if link not in self.links or self.toxics[flow.direction].frozen:
            return
        try:
            data = flow.source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._end(link, broken=True)
            return
        if not data:
            flow.source_ended = True
            link.flush(flow)
            self._pass_on_end(link, flow)
            return
        link.take(flow, data, self.toxics[flow.direction].latency)

    def _write(self, link: Link, flow: Flow) -> None:
        if link not in self.links or self.toxics[flow.direction].frozen or not flow.held:
            return
        held = flow.held.popleft()
        data, toxic = held.data, self.toxics[flow.direction]
        budget = self.budgets[flow.direction]
        if held.cut or budget == 0:
            self._end(link, broken=True)
            return
        limits = [limit for limit in (budget, toxic.slice()) if limit is not None]
        part = data[: min(limits)] if limits else data
        try:
            sent = flow.target.send(part)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(link, broken=True)
            return
        if sent < len(data):
            flow.held.appendleft(Held(held.due, data[sent:]))
        flow.held_bytes -= sent
        if budget is not None:
            self.budgets[flow.direction] = budget - sent
        if toxic.bytes_per_second is not None:
            flow.next_send = max(flow.next_send, time.monotonic()) + sent / toxic.bytes_per_second
        self._pass_on_end(link, flow)

    def _pass_on_end(self, link: Link, flow: Flow) -> None:
        """Close the far side's reading half once all that came before the end has been sent."""
        if not flow.source_ended or flow.held or flow.end_passed_on:
            return
        flow.end_passed_on = True
        with suppress(OSError):
            flow.target.shutdown(socket.SHUT_WR)
        if all(each.end_passed_on for each in link.flows.values()):
            self._end(link, broken=False)

    def _end(self, link: Link, *, broken: bool) -> None:
        if link in self.links:
            self.links.remove(link)
        for each in (link.client, link.broker):
            if broken:
                reset(each)
            else:
                each.close()

    def reset_all(self) -> None:
        for link in list(self.links):
            self._end(link, broken=True)

    def close_all(self) -> None:
        for link in list(self.links):
            self._end(link, broken=False)
