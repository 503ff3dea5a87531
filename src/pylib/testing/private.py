"""What the private brokers have in common: one process in a folder of its own, ended by its own process id."""

from __future__ import annotations

import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pylib.testing.child import BrokerFailed, ChildProcess
from pylib.testing.ports import answers, free_port


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The files a broker serves TLS with; ``require_certificate`` asks every client for one signed by ``ca``."""

    ca: Path
    certificate: Path
    key: Path
    require_certificate: bool = False


class PrivateBroker:
    """A broker's process on ``host`` and ``port``. Start and stop it from one thread.

    A subclass makes ``_child`` in its constructor and says in ``_wait_until_served`` how it is known that it serves.
    """

    name: str  # as a person calls it: Mosquitto, RabbitMQ
    _child: ChildProcess
    _stop_seconds: float

    def __init__(self, host: str, port: int | None) -> None:
        self.host = host
        self.port = free_port(host) if port is None else port
        self.folder = Path(tempfile.mkdtemp(prefix=f"pylib-{self.name.lower()}-"))

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs, else None."""
        return self._child.pid

    def log_text(self) -> str:
        """The broker's log, over all its runs."""
        return self._child.log_text()

    def start(self) -> Self:
        """Start the broker and return when it serves; raises BrokerFailed with the end of its log."""
        if self.pid is None and answers(self.port, self.host, 0.2):
            raise BrokerFailed(f"Something else listens on {self.host}:{self.port}; the private {self.name} needs it.")
        self._before_start()
        self._child.start()
        try:
            self._wait_until_served()
        except BrokerFailed:
            self._child.kill()
            raise
        return self

    def terminate(self) -> int | None:
        """Stop it gracefully (SIGTERM): what it keeps on disk is written. Returns the exit code."""
        return self._child.terminate(self._stop_seconds)

    def kill(self) -> int | None:
        """Kill it, and its process group, at once (SIGKILL): nothing is saved. Returns the exit code."""
        return self._child.kill()

    def restart(self) -> None:
        """Stop it gracefully when it runs, then start it again on the same port and folder."""
        self.terminate()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        self._child.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill what still runs and remove the folder. May be called twice."""
        self._child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _before_start(self) -> None:
        """What else has to run first."""

    def _wait_until_served(self) -> None:
        """Return when it serves; raises BrokerFailed."""
        raise NotImplementedError

    def _write(self, name: str, text: str, *, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path
