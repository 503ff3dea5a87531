"""A notification service on this machine: answers what it is told to, and remembers what it was sent."""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from event_processor.domain.outcome import Step

PNG = b"\x89PNG\r\n\x1a\n"
NOW = 1_790_000_000.0


@dataclass(frozen=True)
class Scripted:
    """One answer; with ``hold`` it is not given before that is set."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: threading.Event | None = None


@dataclass(frozen=True)
class Sent:
    title: str
    text: str
    pictures: tuple[bytes, ...]


class Service:
    """``answers`` are given in turn, then 200 for ever. ``sent`` is what was accepted, ``tried`` all requests."""

    def __init__(self) -> None:
        self.answers: deque[Scripted] = deque()
        self.sent: list[Sent] = []
        self.tried = 0
        self._changed = threading.Condition()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service._take(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"json://someone:s3cretpass@127.0.0.1:{self._server.server_address[1]}/hidden-path?rto=30"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="service")

    @contextmanager
    def running(self) -> Iterator[Service]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def wait(self, sent: int = 0, tried: int = 0, timeout: float = 20.0) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.sent) >= sent and self.tried >= tried, timeout)
        assert done, f"{len(self.sent)} of {sent} arrived, {self.tried} of {tried} were tried"

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.sent]

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self._changed:
            answer = self.answers.popleft() if self.answers else Scripted()
            self.tried += 1
            self._changed.notify_all()
        if answer.hold is not None:
            answer.hold.wait(30)
        try:
            request.send_response(answer.status)
            for name, value in answer.headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(answer.body)))
            request.end_headers()
            request.wfile.write(answer.body)
        except OSError:
            return
        if answer.status < 300:
            pictures = tuple(base64.b64decode(each["base64"]) for each in body["attachments"])
            with self._changed:
                self.sent.append(Sent(body["title"], body["message"], pictures))
                self._changed.notify_all()


def step(number: int, text: str = "", *, label: str = "Front Door", to: str = "phone", at: float = NOW, life: float = 0.0,
         **body: object) -> Step:  # fmt: skip
    """A step as the engine makes it: with ``life`` 0 it never expires."""
    return Step(
        id=f"s{number}",
        kind="notify",
        rule="alarm",
        output=to,
        address=to,
        body={"title": "Alarm", "text": text or f"text {number}", "device": label, **body},
        at=at,
        expires_at=at + life,
    )
