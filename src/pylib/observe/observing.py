"""Everything that looks at a running application from outside, as its settings ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pylib.config import AppConfig, app_config
from pylib.errors import ConfigError
from pylib.observe.companion import Companion
from pylib.observe.dead_man import dead_man
from pylib.observe.health import Health, Problem, health
from pylib.observe.metrics import Sample
from pylib.observe.systemd import notify_systemd
from pylib.observe.tracing import configure_tracing
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import snapshot

if TYPE_CHECKING:
    from pylib.observe.serving import MetricsServer

__all__ = ["Observing", "health_of"]


def health_of(runtime: Runtime, problems: Callable[[], Iterable[Problem]] | None = None) -> Callable[[], Health]:
    """How the application is, as a question that any thread may ask at any time."""
    return lambda: health(snapshot(runtime), problems() if problems is not None else ())


class Observing:
    """What ``[observe]`` asks for: the metrics' port, the dead-man ping; and traces and systemd's notes where the environment
    does. Made before the application's threads start, started after them; it all ends with the runtime.

    :param name: the application, in its traces.
    :param problems: what else than threads and connections may be wrong.
    :param more: what else there is to count.
    :raises ConfigError: an option cannot be used.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        problems: Callable[[], Iterable[Problem]] | None = None,
        more: Callable[[], Iterable[Sample]] | None = None,
        *,
        config: AppConfig = app_config,
    ) -> None:
        self._runtime = runtime
        self.healthy = health_of(runtime, problems)
        self._ping = dead_man(config, self.healthy)
        port = config.getint("observe", "metrics_port", fallback=0)
        if not 0 <= port <= 65535:
            raise ConfigError(f"{config.place('observe', 'metrics_port')} is {port}; it has to be a port, 1 to 65535.")
        address = config.get("observe", "metrics_address", fallback="127.0.0.1")
        self._server: MetricsServer | None = None
        if port:
            from pylib.observe.serving import MetricsServer  # an HTTP server is not for everyone

            self._server = MetricsServer(runtime, self.healthy, port, address, more)
        configure_tracing(runtime, name)

    def start(self) -> None:
        """Begin. Once, when the application's threads have started."""
        if self._server is not None:
            self._server.start()
        if self._ping is not None:
            ping, every = self._ping
            Companion(self._runtime, "dead-man ping", every, ping, apart=True).start()
        notify_systemd(self._runtime, self.healthy)
