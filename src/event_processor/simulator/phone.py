"""Somebody's telephone, for a demo: a listener on this machine that the hub's notifications reach, and which shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

import msgspec

from pylib.app import LoopThread
from pylib.runtime.loop import READ, Loop

__all__ = ["Phone", "listening"]

log = logging.getLogger("event_processor.simulator")

LONGEST: Final = 100_000
"""Bytes of a notification that are read; a longer one is refused."""

WITHIN: Final = 2.0
"""Seconds in which a request has to be there."""


class _Note(msgspec.Struct):
    title: str = ""
    message: str = ""


def listening(port: int = 0) -> HTTPServer:
    """Listen on loopback, on a free port by default. Its address as Apprise's URL: ``json://127.0.0.1:<server_port>``.

    Raises OSError when the port is taken.
    """
    return HTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler)


class Phone(LoopThread):
    """Takes notifications, one after the other.

    :param server: from ``listening``; this thread closes it.
    :param show: called with title and text, on this thread.
    """

    def __init__(self, server: HTTPServer, show: Callable[[str, str], None]) -> None:
        LoopThread.__init__(self, name="simulated phone")
        self._server = server
        server.RequestHandlerClass = _handler(show)
        server.timeout = WITHIN

    def arrange(self, loop: Loop) -> None:
        loop.watch(self._server.fileno(), READ, lambda mask: self._server.handle_request())

    def cleanup(self) -> None:
        self._server.server_close()


def _handler(show: Callable[[str, str], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = WITHIN

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > LONGEST:
                self.send_error(413)
                return
            try:
                note = msgspec.json.decode(self.rfile.read(int(length)), type=_Note)
            except msgspec.DecodeError:
                self.send_error(400)
                return
            show(note.title, note.message)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    return Handler
