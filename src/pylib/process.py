"""The process: its signals and its children."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

from pylib.observe.logging import toggle_debug
from pylib.runtime.runtime import Runtime, current
from pylib.runtime.signals import Signals

__all__ = ["SignalHandler", "exec_cmd", "exec_cmd_log"]

log = logging.getLogger("pylib.process")


class SignalHandler:
    """TERM and INT stop the current runtime, a second INT ends the process at once, HUP toggles debug logging.

    Makes the runtime the owner of the process: if its stop hangs, the process is ended after ``runtime.exit_deadline``.
    Made by the main thread; raises RuntimeError elsewhere. The previous handlers come back when the runtime has stopped.
    """

    def __init__(self, signals: Signals | None = None) -> None:
        self.runtime: Runtime = current()
        self._signals = signals if signals is not None else Signals(self.runtime.latch, toggle_debug)
        if self._signals.descriptor < 0:
            self._signals.install()
            log.info("Signal handlers are installed")
        self._signals.on_hup = toggle_debug
        self.runtime.owns_process = True
        self.runtime.watchdog.watch_signals(self._signals.descriptor, self._signals.drain)
        self.runtime.on_stopped(self._signals.remove)

    @property
    def last_signal(self) -> int:
        """The number of the signal received last, 0 before the first."""
        return self._signals.last_signal


def exec_cmd(cmd: Sequence[str] | str) -> tuple[bytes, bytes | None, int]:
    """Run a command and wait for it: its standard output, its standard error (not captured: None), its exit code."""
    done = subprocess.run(cmd, stdout=subprocess.PIPE, check=False, shell=False)
    return done.stdout, done.stderr, done.returncode


def exec_cmd_log(cmd: Sequence[str] | str) -> None:
    """Run a command and log how it ended."""
    out, _, code = exec_cmd(cmd)
    log.info("%s ended with exit code %d: %s", cmd, code, out.decode(errors="replace").strip())
