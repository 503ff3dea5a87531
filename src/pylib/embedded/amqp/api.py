"""What a program uses: a broker to start, to connect to, to look into, and to close."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

from pylib.embedded.amqp.broker.core import Core
from pylib.embedded.amqp.limits import Limits
from pylib.embedded.amqp.server import AmqpServer
from pylib.embedded.thread import ServerThread
from pylib.errors import ConfigError
from pylib.runtime.member import STOP, RestartPolicy
from pylib.runtime.runtime import Runtime

__all__ = ["AmqpBroker", "QueueState"]

_DEFAULT = "guest"


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as it is at this moment."""

    name: str
    ready: int
    unacked: int
    consumers: int
    durable: bool


class AmqpBroker:
    """An AMQP 0-9-1 server on a socket of its own.

    host, port      where it listens; port 0 is a free one. Anything but a loopback address needs a user and a password
                    that are not the defaults: ConfigError otherwise
    user, password  of the one user there is, who may do everything
    vhosts          virtual hosts besides ``/``
    limits          how much it gives at most
    runtime         whose application it belongs to (see ``pylib.embedded.thread.ServerThread``); None: whoever starts it
                    closes it
    restart         with a runtime: what follows its death

    Any thread may call any method. The messages are in memory: ``close`` ends them, durable or not.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        user: str = _DEFAULT,
        password: str = _DEFAULT,
        vhosts: tuple[str, ...] = (),
        limits: Limits | None = None,
        runtime: Runtime | None = None,
        restart: RestartPolicy = STOP,
    ) -> None:
        if not user or not password:
            raise ConfigError("AmqpBroker needs a user and a password, and both not empty")
        if not _is_loopback(host) and _DEFAULT in (user, password):
            raise ConfigError(
                f"AmqpBroker would listen on {host}, which others can reach: give it a user and a password of your own, "
                f"not {_DEFAULT!r}, or listen on 127.0.0.1"
            )
        self.host = host
        self.user = user
        self._password = password
        self._core = Core(limits if limits is not None else Limits(), time.monotonic, user, password)
        for name in vhosts:
            self._core.add_vhost(name)
        self._server = AmqpServer(self._core, host, port)
        self._thread = ServerThread(self._server, "pylib-amqp-broker", runtime=runtime, restart=restart)

    def __repr__(self) -> str:
        return f"AmqpBroker(host={self.host!r}, port={self.port}, user={self.user!r})"

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, and return when it listens. Raises OSError when the address is taken."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Let the clients go (connection.close 320) and end it. May be called again."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- where it is -------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on; 0 before ``start``."""
        return self._thread.port

    @property
    def url(self) -> str:
        """``amqp://user:password@host:port/%2F``. It has the password in it: not for logs."""
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        """The address of a virtual host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = f"{quote(self.user, safe='')}:{quote(self._password, safe='')}"
        return f"amqp://{login}@{host}:{self.port}/{quote(vhost, safe='')}"

    # -- inside ------------------------------------------------------------------------------------------------------

    def queues(self, vhost: str = "/") -> dict[str, QueueState]:
        """The queues of a virtual host by name, as they are at this moment. Raises RuntimeError when it does not run."""
        return self._thread.call(lambda: self._queues(vhost))

    def exchanges(self, vhost: str = "/") -> tuple[str, ...]:
        """The names of the exchanges of a virtual host, the pre-declared ones too."""
        return self._thread.call(lambda: tuple(sorted(self._core.vhosts[vhost].exchanges)))

    def connections(self) -> int:
        """How many clients there are."""
        return self._thread.call(lambda: len(self._server.clients))

    def memory(self) -> int:
        """Bytes that the messages in all queues hold, reckoned."""
        return self._thread.call(lambda: self._core.memory.used)

    def add_vhost(self, name: str) -> None:
        """Make a virtual host; nothing happens when it exists."""
        self._thread.call(lambda: self._core.add_vhost(name))

    def reset(self) -> None:
        """Delete all queues and exchanges, between tests. Clients stay connected; their consumers are cancelled."""
        self._thread.call(self._reset)

    def disconnect(self, text: str = "disconnected on request") -> None:
        """Close all connections from this side (connection.close 320)."""
        self._thread.call(lambda: self._server.disconnect_all(text))

    def _reset(self) -> None:
        self._core.clear()
        self._server.flush()

    def _queues(self, vhost: str) -> dict[str, QueueState]:
        return {
            queue.name: QueueState(queue.name, queue.ready, queue.unacked, queue.consumers.count, queue.durable)
            for queue in self._core.vhosts[vhost].queues.values()
        }


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
