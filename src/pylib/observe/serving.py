"""A small HTTP server on loopback for machines that look in: ``/metrics``, ``/health/live`` and ``/health/ready``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

import msgspec

from pylib.errors import ConfigError
from pylib.observe.health import Health
from pylib.observe.metrics import CONTENT_TYPE, Sample, metrics_text
from pylib.runtime.runtime import Runtime

__all__ = ["MetricsServer", "health_answer"]

log = logging.getLogger("pylib.observe")

#: Seconds that one asker may take for its request, since they are served one after the other.
ASKER_TIMEOUT: Final = 2.0
_LOOK: Final = 0.1


def health_answer(health: Health, which: str) -> tuple[int, bytes]:
    """Status and body for ``/health/live`` and ``/health/ready``: 200 or 503, and the problems by name and since when."""
    well = health.live if which == "live" else health.ready
    return (200 if well else 503), msgspec.json.encode(health)


class MetricsServer:
    """Serves until the runtime has stopped. One thread, one asker at a time, each for a bounded time.

    :param address: loopback unless somebody decides otherwise: it asks nobody for a password.
    :raises ConfigError: the port is taken, or the address is not this machine's.
    """

    def __init__(
        self, runtime: Runtime, healthy: Callable[[], Health], port: int, address: str = "127.0.0.1",
        more: Callable[[], Iterable[Sample]] | None = None,
    ) -> None:  # fmt: skip
        def answer(path: str) -> tuple[int, str, bytes]:
            path = path.partition("?")[0]
            if path == "/metrics":
                return 200, CONTENT_TYPE, metrics_text(runtime, healthy, more).encode()
            if path in ("/health/live", "/health/ready"):
                status, body = health_answer(healthy(), path.rpartition("/")[2])
                return status, "application/json", body
            return 404, "text/plain", b"/metrics, /health/live and /health/ready are here\n"

        try:
            self._server = _Server((address, port), answer)
        except OSError as error:
            where = f"{address}:{port}"
            raise ConfigError(f"[observe] metrics_port: cannot listen on {where}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK,), name="pylib-metrics", daemon=True)
        runtime.on_stopped(self.close)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        log.info("Metrics are at http://%s:%d/metrics.", self._server.server_address[0], self.port)

    def close(self) -> None:
        """Answer no more. Any thread but its own; twice is harmless."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(ASKER_TIMEOUT)
        self._server.server_close()


class _Server(HTTPServer):
    allow_reuse_address = True

    def __init__(self, where: tuple[str, int], answer: Callable[[str], tuple[int, str, bytes]]) -> None:
        self.answer = answer
        super().__init__(where, _Asker)

    def handle_error(self, request: object, client_address: object) -> None:
        """An asker that hangs up is no news."""
        log.debug("metrics: an asker at %s went away", client_address)


class _Asker(BaseHTTPRequestHandler):
    timeout = ASKER_TIMEOUT
    server_version = "pylib"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        """Answer one request."""
        try:
            status, kind, body = self.server.answer(self.path)
        except Exception as error:
            log.warning("%s could not be answered: %s: %s", self.path.partition("?")[0], type(error).__name__, error)
            status, kind, body = 500, "text/plain", b"see the log\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Who asks is not worth a line."""
