"""A TCP proxy on loopback that misbehaves on request: it refuses, freezes, resets, slows, cuts, and loses or repeats frames.

Put it between a program and its broker, real or embedded. It reads along where MQTT or AMQP 0-9-1 is spoken (not inside TLS),
so that it can do to one packet what it does otherwise to a connection. Every method may be called from any thread and returns
when the fault is in force, so that a test needs no pause after it.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from pylib.testing.engine import Engine
from pylib.testing.frames import known_kind
from pylib.testing.links import BOTH, Direction, Rule, Script, Toxic
from pylib.testing.ports import LOOPBACK, free_port

__all__ = ["Direction", "FaultProxy", "Toxic"]

# AMQP 0-9-1, class 10 (connection), methods 60 and 61: RabbitMQ's "Blocked Connection Notifications".
_BLOCKED = b"\x01\0\0\0\0\0\x0c\0\x0a\0\x3c\x07on test\xce"
_UNBLOCKED = b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xce"


class FaultProxy:
    """Listens on ``port`` of loopback and forwards to ``upstream_port``; healthy until told otherwise.

    ``start()`` opens the port and one thread, ``stop()`` ends both and closes every connection. ``upstream_url`` is the
    broker's address where it is more than host and port; ``url`` is then the same address by way of the proxy. ::

        with FaultProxy.before(broker.url) as line:
            client = connect(line.url)
            line.drop_frames("PUBACK")             # the next acknowledgement is lost
            publish(client)
            line.wait_for("PUBACK")                # it came, and was
            line.reset()
            line.wait_for("PUBLISH", count=2)      # so, once it is back, the client publishes again
    """

    def __init__(
        self,
        upstream_port: int,
        upstream_host: str = LOOPBACK,
        *,
        port: int | None = None,
        upstream_url: str | None = None,
    ) -> None:
        self._script = Script()
        self._engine = Engine(LOOPBACK, free_port() if port is None else port, (upstream_host, upstream_port), self._script)
        self._upstream_url = upstream_url
        self._blocked = False

    @classmethod
    def before(cls, url: str) -> Self:
        """A proxy for the broker at ``url`` (``mqtt://...`` or ``amqp://...``), not started yet."""
        parts = urlsplit(url)
        default = {"mqtt": 1883, "amqp": 5672}.get(parts.scheme)
        port = parts.port or default
        if port is None or not parts.hostname:
            raise ValueError(f"A fault proxy needs an address such as mqtt://127.0.0.1:1883, not {parts.scheme}://...")
        return cls(port, parts.hostname, upstream_url=url)

    @property
    def address(self) -> str:
        """``host:port`` of the proxy."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The broker's own address, user, password and virtual host included, by way of the proxy."""
        if self._upstream_url is None:
            return f"tcp://{self.address}"
        parts = urlsplit(self._upstream_url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{self.address}"))

    @property
    def upstream_url(self) -> str:
        """The broker's own address."""
        return self._upstream_url or f"tcp://{self.upstream[0]}:{self.upstream[1]}"

    @property
    def upstream(self) -> tuple[str, int]:
        """Host and port of the broker itself."""
        return self._engine.upstream

    @property
    def host(self) -> str:
        return self._engine.host

    @property
    def port(self) -> int:
        return self._engine.port

    @property
    def accepted(self) -> int:
        """How many connections were accepted since the start."""
        return self._engine.accepted

    def start(self) -> Self:
        """Open the port; raises OSError when it is taken."""
        self._engine.start()
        return self

    def stop(self) -> None:
        """Close everything and end the thread. May be called twice."""
        self._engine.stop()

    def refuse(self) -> None:
        """Refuse new connections and reset the present ones, as a broker that is gone does."""
        self._engine.command(self._refuse)

    def freeze(self, direction: Direction | None = None) -> None:
        """Forward nothing any more, in one direction or both; connections stay open and new ones are accepted."""
        self._engine.command(lambda: self._set(direction, frozen=True))

    def thaw(self, direction: Direction | None = None) -> None:
        """End a freeze; what was held back goes on its way."""
        self._engine.command(lambda: self._set(direction, frozen=False))

    def slow(self, *, latency: float = 0.0, bytes_per_second: float | None = None, direction: Direction | None = None) -> None:
        """Delay everything by ``latency`` seconds and pass at most ``bytes_per_second`` per connection."""
        self._engine.command(lambda: self._set(direction, latency=latency, bytes_per_second=bytes_per_second))

    def reset(self) -> None:
        """Break the present connections with a TCP reset; new ones are served."""
        self._engine.command(self._engine.reset_all)

    def drop(self) -> None:
        """Close the present connections in order (FIN); new ones are served."""
        self._engine.command(self._engine.close_all)

    def cut_after(self, count: int, direction: Direction = "to_broker") -> None:
        """Pass ``count`` more bytes in ``direction``, over all connections, then reset the one that sends the next."""
        self._engine.command(lambda: self._engine.budgets.__setitem__(direction, count))

    def drop_frames(self, kind: str, count: int = 1, direction: Direction | None = None) -> None:
        """Lose the next ``count`` frames of a kind: ``PUBACK``, ``basic.ack``; a message goes with its content.

        ``direction`` matters where both sides send such frames. Raises ValueError for a kind that there is not.
        """
        self._add(Rule("drop", known_kind(kind), direction, count))

    def duplicate(self, kind: str, count: int = 1, direction: Direction | None = None) -> None:
        """Send each of the next ``count`` frames of a kind twice, as a network with a broken middle may.

        MQTT has to live with it (a PUBLISH of QoS 1 that comes twice). AMQP numbers messages by counting them, so that a
        ``basic.publish`` sent twice to the broker gets two confirms, of which the client expects one.
        """
        self._add(Rule("duplicate", known_kind(kind), direction, count))

    def cut_after_frames(self, count: int, kind: str | None = None, direction: Direction = "to_broker") -> None:
        """Pass ``count`` more frames, of one kind or of any, over all connections; reset the one that sends the next."""
        self._add(Rule("cut", None if kind is None else known_kind(kind), direction, 1, skip=count))

    def block(self) -> None:
        """Read nothing from clients any more, as a broker whose memory or disk is full; what it sends still reaches them.

        AMQP clients are told so with ``connection.blocked``, as RabbitMQ tells them.
        """
        self._engine.command(lambda: self._block(True))

    def unblock(self) -> None:
        """End a block; what was held back goes on its way, and AMQP clients get ``connection.unblocked``."""
        self._engine.command(lambda: self._block(False))

    def seen(self, kind: str, direction: Direction | None = None) -> int:
        """How many frames of a kind have come so far, lost ones included."""
        return self._script.seen(known_kind(kind), direction)

    def heads(self, kind: str, direction: Direction | None = None) -> list[bytes]:
        """How each of the last 10,000 frames of a kind begins, at most 64 bytes of it: a whole PUBACK, say."""
        return self._script.heads(known_kind(kind), direction)

    def wait_for(self, kind: str, count: int = 1, direction: Direction | None = None, timeout: float = 5.0) -> None:
        """Return when ``count`` frames of a kind have come since the start; AssertionError after ``timeout`` seconds."""
        if not self._script.wait(known_kind(kind), count, direction, timeout):
            raise AssertionError(f"{count} {kind} did not come within {timeout:g} s. There were: {self._script.listing()}.")

    def heal(self) -> None:
        """End every fault: new connections are accepted and all is forwarded at once."""
        self._engine.command(self._heal)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # The rest is called in the proxy's own thread.

    def _refuse(self) -> None:
        self._engine.close_listener()
        self._engine.reset_all()

    def _heal(self) -> None:
        self._block(False)
        for direction in BOTH:
            self._engine.toxics[direction] = Toxic()
            self._engine.budgets[direction] = None
        self._script.rules.clear()
        self._engine.open_listener()

    def _set(self, direction: Direction | None, **changes: bool | float | None) -> None:
        for each in BOTH if direction is None else (direction,):
            self._engine.toxics[each] = replace(self._engine.toxics[each], **changes)  # type: ignore[arg-type]  # ours alone

    def _add(self, rule: Rule) -> None:
        self._engine.command(lambda: self._script.rules.append(rule))

    def _block(self, blocked: bool) -> None:
        if blocked == self._blocked:
            return
        self._blocked = blocked
        self._set("to_broker", frozen=blocked)
        for link in self._engine.links:
            back = link.flows["to_client"]
            if back.opened:
                back.insert(_BLOCKED if blocked else _UNBLOCKED)
