"""A client without a socket: what it sends is handed to a session, what the session says is read back as frames."""

from __future__ import annotations

from typing import Any

from pamqp import base, body, commands, frame, header

from pylib.embedded.amqp import Limits
from pylib.embedded.amqp.broker.core import Core
from pylib.embedded.amqp.session.connection import Connection

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


class World:
    """A broker on a clock that moves only by ``wait``."""

    def __init__(self, **limits: Any) -> None:
        self.now = 1000.0
        self.core = Core(Limits(**limits), lambda: self.now, "guest", "secret")
        self.clients: list[Client] = []
        self.core.memory.alarm = self._alarm

    def _alarm(self, raised: bool) -> None:
        for client in self.clients:
            client.connection.throttle.alarm(raised)

    def wait(self, seconds: float) -> None:
        """Let time pass, with all that is due on the way."""
        end = self.now + seconds
        while (due := self.core.agenda.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.core.agenda.run()
        self.now = end

    def client(self, **capabilities: bool) -> Client:
        """A client that has opened the virtual host and channel 1."""
        client = Client(self)
        client.log_in(capabilities=capabilities)
        client.call(commands.Channel.Open())
        return client

    def queue(self, name: str) -> tuple[int, int]:
        """(ready, unacknowledged)."""
        queue = self.core.vhosts["/"].queues[name]
        return queue.ready, queue.unacked


class Client:
    """One connection."""

    def __init__(self, world: World) -> None:
        self.held: list[bool] = []
        self.connection = Connection(world.core, has_output=lambda _: None, hold=self.held.append)
        world.clients.append(self)
        self._bytes = b""

    def log_in(self, heartbeat: int = 0, capabilities: dict[str, bool] | None = None) -> None:
        self.connection.receive(PROTOCOL_HEADER)
        self.send(
            commands.Connection.StartOk(
                {"capabilities": {name.replace("__", "."): on for name, on in (capabilities or {}).items()}},
                "PLAIN", "\0guest\0secret", "en_US",
            ),
            channel=0,
        )  # fmt: skip
        self.send(commands.Connection.TuneOk(2047, 131072, heartbeat), channel=0)
        self.send(commands.Connection.Open("/"), channel=0)
        self.read()

    def send(self, *frames: Any, channel: int = 1) -> None:
        self.connection.receive(b"".join(frame.marshal(each, channel) for each in frames))

    def read(self) -> list[Any]:
        """The frames that have come since the last time."""
        self._bytes += self.connection.take_output()
        frames: list[Any] = []
        while self._bytes:
            used, _, each = frame.unmarshal(self._bytes)
            self._bytes = self._bytes[used:]
            frames.append(each)
        return frames

    def call(self, method: base.Frame) -> Any:
        """Send a method and return the one answer."""
        self.send(method)
        answers = self.read()
        assert len(answers) == 1, answers
        return answers[0]

    def declare(self, name: str, **options: Any) -> Any:
        return self.call(commands.Queue.Declare(queue=name, **options))

    def publish(self, key: str, text: bytes = b"x", exchange: str = "", **properties: Any) -> None:
        head = header.ContentHeader(body_size=len(text), properties=commands.Basic.Properties(**properties))
        self.send(commands.Basic.Publish(exchange=exchange, routing_key=key), head, body.ContentBody(text))

    def bodies(self) -> list[bytes]:
        """The bodies among the frames that have come."""
        return [each.value for each in self.read() if isinstance(each, body.ContentBody)]

    def get(self, queue: str) -> tuple[bytes, dict[str, Any]] | None:
        """The next message by basic.get without acknowledgement: body and headers."""
        self.send(commands.Basic.Get(queue=queue, no_ack=True))
        answer = self.read()
        if isinstance(answer[0], commands.Basic.GetEmpty):
            return None
        return answer[2].value, answer[1].properties.headers or {}
