"""The embedded MQTT broker on a socket: an asyncio server in a thread of its own."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import quote

from pylib.embedded.mqtt.broker import Broker
from pylib.embedded.mqtt.connection import Access, Connection
from pylib.embedded.mqtt.limits import MqttLimits
from pylib.embedded.thread import ServerThread
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime

__all__ = ["MqttBroker"]

#: Seconds in which a client has to send its CONNECT.
CONNECT_DEADLINE: Final = 10.0
#: Seconds that a closed connection may take to get rid of what was written to it.
GOODBYE: Final = 1.0
#: Bytes that wait to be sent to one client before nothing more is read from it, and nothing more sent to it.
CLOGGED: Final = 256 * 1024
#: Bytes of small packets that are gathered into one write.
GATHERED: Final = 64 * 1024
# Turns of the loop after the last abort: accepted, made, lost.
_LAST_TURNS: Final = 4


class MqttBroker:
    """An MQTT 3.1.1 broker in this process, on a real socket: for tests, for demos, for a first run. Its messages live in
    memory, and what it knew is gone when it closes.

    host      a loopback address; any other needs ``user`` and ``password``
    port      0: a free one, which ``port`` says after ``start``
    user, password
              who alone may connect; None: everybody on this machine
    limits    what it holds at most
    runtime   the application it belongs to, whose stop closes it; None: whoever starts it closes it

    Any thread may call its methods. Raises ConfigError for an address that is open to others without a password, and OSError
    from ``start`` when the port is taken. A client that speaks MQTT 5 is told so, and may come back with 3.1.1.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        user: str | None = None,
        password: str | None = None,
        limits: MqttLimits | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.host = "127.0.0.1" if host == "localhost" else host
        self.limits = limits or MqttLimits()
        self._user, self._password = user, password
        _check_access(self.host, user, password)
        self._service = _Service(self.host, port, Access(user, password), self.limits)
        self._thread = ServerThread(self._service, "pylib-mqtt-broker", runtime=runtime)

    def __repr__(self) -> str:
        return f"MqttBroker({self.host!r}, {self.port})"

    @property
    def port(self) -> int:
        """The port it listens on; 0 before ``start``."""
        return self._thread.port

    @property
    def url(self) -> str:
        """Its address as clients of this library take it, the password included: not for logs."""
        login = "" if self._user is None else f"{quote(self._user, safe='')}:{quote(self._password or '', safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt://{login}{host}:{self.port}"

    @property
    def dropped(self) -> int:
        """Messages that did not fit in a queue so far. Raises RuntimeError when it does not run."""
        return self._thread.call(lambda: self._service.broker.dropped)

    @property
    def connections(self) -> int:
        """Clients that are connected, or about to be. Raises RuntimeError when it does not run."""
        return self._thread.call(lambda: len(self._service.lines))

    def start(self) -> Self:
        """Start it and return when it listens."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Close all connections at once and end its thread. May be called again. A closed one cannot be started again."""
        self._thread.close()

    def reset(self) -> None:
        """Make it as new: no connections, sessions or messages. Raises RuntimeError when it does not run."""
        self._thread.call(self._service.reset)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Service:
    """What runs on the thread's loop."""

    def __init__(self, host: str, port: int, access: Access, limits: MqttLimits) -> None:
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self.access = access
        self.limits = limits
        self.broker = Broker(limits)
        self.lines: set[_Line] = set()
        self.closed = False

    async def open(self) -> int:
        self.closed = False
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self, loop), self._host, self._port)
        return cast("int", self._server.sockets[0].getsockname()[1])

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        self.closed = True  # also for connections that were accepted and have not been made yet
        self.reset()
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)

    def reset(self) -> None:
        self.broker = Broker(self.limits)
        for line in list(self.lines):
            line.abort()


class _Line(asyncio.Protocol):
    """One connection's socket and timers."""

    def __init__(self, service: _Service, loop: asyncio.AbstractEventLoop) -> None:
        self.room = True
        self._service = service
        self._loop = loop
        self._transport: asyncio.Transport
        self._connection: Connection
        self._out: list[bytes] = []
        self._size = 0
        self._closing = False
        self._heard = loop.time()
        self._backlog = 0
        self._timer: asyncio.TimerHandle | None = None

    # -- for asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connection = Connection(self._service.broker, self._service.access, self)
        if self._service.closed or len(self._service.lines) >= self._service.limits.connections:
            self._closing = True
            self._transport.abort()
            return
        self._service.lines.add(self)
        self._transport.set_write_buffer_limits(high=CLOGGED)
        self._after(CONNECT_DEADLINE, self._look)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._heard = self._loop.time()
        greeted = self._connection.greeted
        self._connection.received(data)
        if not greeted and self._connection.greeted and not self._closing:
            self._watch()

    def pause_writing(self) -> None:
        # Whoever does not take answers gets no more to answer: what waits here is bounded by that.
        self.room = False
        if not self._closing:
            self._transport.pause_reading()
            self._backlog = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self.room = True
        if not self._closing:
            self._heard = self._loop.time()
            self._transport.resume_reading()
            self._connection.drained()

    def connection_lost(self, error: Exception | None) -> None:
        self._service.lines.discard(self)
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._connection.lost()

    # -- for the connection ------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._size += len(data)
        if self._size > GATHERED:
            self._flush()

    def close(self) -> None:
        if self._closing:
            return
        self._flush()
        self._closing = True
        self._transport.close()
        self._after(GOODBYE, self._transport.abort)

    def abort(self) -> None:
        """Close at once, with what was not sent."""
        self._closing = True
        self._transport.abort()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._out and not self._closing:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._size = 0
            self._transport.write(data)

    def _watch(self) -> None:
        if self._connection.keep_alive:
            self._after(self._connection.keep_alive, self._look)
        elif self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Whether the client is still there (section 3.1.2.10)."""
        connection = self._connection
        if not connection.greeted:
            connection.end(f"it sent no CONNECT within {CONNECT_DEADLINE:g} s")
            return
        if not self.room and (backlog := self._transport.get_write_buffer_size()) < self._backlog:
            self._backlog, self._heard = backlog, self._loop.time()  # nothing is read from it, but it reads
        left = self._heard + connection.keep_alive - self._loop.time()
        if left > 0:
            self._after(left, self._look)
        else:
            connection.end("it was silent for one and a half times its keep-alive")

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, call)


def _check_access(host: str, user: str | None, password: str | None) -> None:
    if (user is None) != (password is None):
        raise ConfigError("The embedded MQTT broker needs both a user and a password, or neither.")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not (user and password):
        raise ConfigError(
            f"The embedded MQTT broker on {host!r} would be open to other machines: give it a user and a password, "
            "or a loopback address such as 127.0.0.1."
        )
