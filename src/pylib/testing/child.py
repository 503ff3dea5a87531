"""One child process that this test run started, and that is ended by its own process id, never by name."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pylib.testing.guard import GUARD
from pylib.testing.ports import pause_unless_gone


class BrokerFailed(RuntimeError):
    """A broker is missing, did not start, or ended by itself; the message holds the end of its log."""


class ChildProcess:
    """A child in a process group of its own, its output going to ``log_path``.

    Start and stop it from one thread. No descriptor is held while it runs. A child that is still running when Python
    exits is killed, together with its group, so that a failing test run leaves no process behind; ``guard`` does the
    same for a run that is itself killed.
    """

    def __init__(self, argv: Sequence[str], *, folder: Path, log_path: Path, env: Mapping[str, str]) -> None:
        self._argv = list(argv)
        self._folder = folder
        self._log_path = log_path
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def returncode(self) -> int | None:
        """The exit code of the last run (negative: the signal that ended it), or None while it runs or before."""
        return None if self._process is None else self._process.poll()

    def log_text(self) -> str:
        """All that the child has printed so far, over all its runs."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def start(self) -> None:
        """Start the child; raises BrokerFailed when it runs already or cannot be executed."""
        if self.pid is not None:
            raise BrokerFailed(f"{self._argv[0]} runs already as process {self.pid}.")
        with self._log_path.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    self._argv,
                    cwd=self._folder,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as e:
                raise BrokerFailed(f"Cannot run {self._argv[0]}: {e}. Is it installed?") from e
        _RUNNING.add(self)
        GUARD.add(self._process.pid, self._folder)

    def wait_until(
        self,
        ready: Callable[[], bool],
        *,
        timeout: float,
        what: str,
        step: float = 0.005,
        explain: Callable[[], str] | None = None,
    ) -> None:
        """Return as soon as ``ready()`` is true; asks every ``step`` seconds.

        Raises BrokerFailed, with ``explain()`` or else the end of the log, when the child ends first or ``timeout``
        seconds pass.
        """
        explain = explain or self._log_end
        deadline = time.monotonic() + timeout
        while not ready():
            if self.pid is None:
                raise BrokerFailed(f"{what} ended with code {self.returncode} while starting.\n{explain()}")
            if time.monotonic() > deadline:
                raise BrokerFailed(f"{what} was not ready after {timeout:g} s.\n{explain()}")
            pause_unless_gone(self.pid, step)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the child alone; does nothing when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def terminate(self, timeout: float) -> int | None:
        """Ask the child to end (SIGTERM), wait ``timeout`` seconds, then kill it; returns its exit code."""
        if self._process is None:
            return None
        # A stopped process cannot act on SIGTERM, so that a paused child would always be killed.
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.kill()

    def kill(self) -> int | None:
        """Kill the child and its process group at once (SIGKILL) and reap it; returns its exit code."""
        if self._process is None:
            return None
        # Once it is reaped its number may belong to somebody else's process, so that it is no longer signalled.
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait(10)
        if self in _RUNNING:
            _RUNNING.discard(self)
            GUARD.remove(self._process.pid)
        return code

    def _log_end(self) -> str:
        return "\n".join(self.log_text().splitlines()[-30:])


_RUNNING: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def _kill_all_running() -> None:
    for child in list(_RUNNING):
        with suppress(Exception):
            child.kill()


atexit.register(_kill_all_running)
