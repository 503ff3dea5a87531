"""Runs a program as its user would, and waits for what it prints instead of guessing how long it takes."""

from __future__ import annotations

import os
import re
import signal as signals
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class ProgramFailed(AssertionError):
    """A program did not print, or did not end, as expected; the message holds all that it printed."""


class Program:
    """A running program whose output is collected line by line. Any thread may wait on it.

    Standard output and standard error are one stream here, in the order in which they were written. Leaving the context
    kills the program when it still runs, and prints its output when the block raised.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self.argv = [str(part) for part in argv]
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        merged = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(env or {})
        self._process = subprocess.Popen(
            self.argv,
            cwd=folder,
            env=merged,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output-of-{self._process.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs still."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        with self._changed:
            return "\n".join(self._lines)

    def wait_for(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """Return the first match of the regular expression in a line of the output, also in one printed earlier.

        Raises ProgramFailed when the program ends, or ``timeout`` seconds pass, without such a line.
        """
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                while seen < len(self._lines):
                    found = wanted.search(self._lines[seen])
                    if found is not None:
                        return found
                    seen += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
        reason = "ended without printing" if self._ended else f"did not print within {timeout:g} s:"
        raise ProgramFailed(self._report(f"{reason} {pattern!r}"))

    def signal(self, number: signals.Signals) -> None:
        """Send a signal to the program; does nothing when it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the end and return the exit code (negative: the signal); ProgramFailed after ``timeout`` s."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(self._report(f"did not end within {timeout:g} s")) from None
        # The output is complete once the reader has seen its end; a grandchild may keep the pipe open.
        self._reader.join(2.0)
        return code

    def stop(self, number: signals.Signals = signals.SIGTERM, timeout: float = 10.0) -> int:
        """Send ``number`` and wait for the end; returns the exit code."""
        self.signal(number)
        return self.wait(timeout)

    def kill(self) -> None:
        """Kill the program and its process group, and close its output. May be called twice."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signals.SIGKILL)
            self._process.wait(10)
        self._reader.join(2.0)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        if error is not None and not isinstance(error, ProgramFailed):
            # Pytest shows what was written to standard error beside the failure.
            sys.stderr.write(self._report("was running when the test failed") + "\n")

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        for line in stream:
            with self._changed:
                self._lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _report(self, what: str) -> str:
        return f"{' '.join(self.argv)}\n{what}. It printed:\n{self.output or '(nothing)'}"


def run_program(argv: Sequence[str], *, env: Mapping[str, str] | None = None, folder: Path | None = None) -> Program:
    """Start a program; ``env`` is laid over this process's environment. Use it as a context manager."""
    return Program(argv, env=env, folder=folder)


def run_python(
    script: Path | str, *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Program:
    """Start a Python script with this interpreter; see ``run_program``."""
    return Program([sys.executable, str(script), *arguments], env=env, folder=folder)
