"""`make run REAL=1`: private real brokers; what it says to type works, and one Ctrl-C ends all of it.

With the embedded brokers: tests/system/test_embedded_run.py.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pylib.testing.processes import run_program
from tests.system.hub_kit import ROOT, SOURCE

RUN = ROOT / "scripts" / "run.py"
ENDED = re.compile(r"the applications ended in ([0-9.]+) s")

pytestmark = [pytest.mark.timeout(180), pytest.mark.alone]


def descendants(pid: int) -> list[psutil.Process]:
    """Every process that came of ``pid``, also those in sessions of their own."""
    return psutil.Process(pid).children(recursive=True)


def type_the_lines_it_shows(output: str) -> None:
    lines = [line.strip() for line in output.splitlines() if line.strip().startswith("mosquitto_pub ")]
    assert len(lines) == 2
    for line in lines:
        subprocess.run(shlex.split(line), check=True, timeout=20)


def test_what_it_says_to_type_reaches_the_siren_and_the_light_and_sigterm_ends_everything() -> None:
    with run_program([sys.executable, str(RUN), "--real"], env={"PYTHONPATH": str(SOURCE)}) as run:
        run.wait_for("Ctrl-C ends everything", timeout=90)
        started = descendants(run.pid)
        assert len(started) >= 6  # two brokers, the hub, the siren, the thermometer and the light
        type_the_lines_it_shows(run.output)
        run.wait_for(r"siren \| SIREN: triggered by Front Door")
        run.wait_for(r"light \| cmnd/lamp/POWER ON")
        run.wait_for(r'light \| cmnd/valve/set {"close": true, "reading": 1042}')
        assert run.stop(signal.SIGTERM, timeout=10) == 0
        took = float(run.wait_for(ENDED.pattern)[1])
        assert took <= 1.0
        assert gone(started) == []


def test_a_stop_while_the_brokers_start_leaves_nothing_behind() -> None:
    with run_program([sys.executable, str(RUN), "--real"], env={"PYTHONPATH": str(SOURCE)}) as run:
        run.wait_for("that takes some seconds")
        deadline = time.monotonic() + 20
        while not any("beam" in process.name() for process in descendants(run.pid)):
            assert time.monotonic() < deadline
            signal.sigtimedwait([], 0.05)
        started = descendants(run.pid)
        assert run.stop(signal.SIGTERM, timeout=10) == 0
        assert gone(started) == []


def test_ctrl_c_under_make_on_a_terminal_ends_with_exit_code_0(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {shlex.quote(sys.executable)} {shlex.quote(str(RUN))} --real\n")
    with Terminal(["make", "-f", str(makefile), "run"]) as terminal:
        terminal.wait_for("Ctrl-C ends everything", 90)
        started = descendants(terminal.pid)
        terminal.type(b"\x03")
        assert terminal.wait(10) == 0
        assert "Error" not in terminal.text
        assert "Interrupt" not in terminal.text
        found = ENDED.search(terminal.text)
        assert found is not None, terminal.text
        assert float(found[1]) <= 1.0
        assert gone(started) == []


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The processes that are still there five seconds from now; waits no longer than it has to."""
    return list(psutil.wait_procs(processes, timeout=5)[1])


class Terminal:
    """A program on a terminal of its own, with somebody who types."""

    def __init__(self, argv: list[str]) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.environ["PYTHONPATH"] = str(SOURCE)
            os.execvp(argv[0], argv)
        self.text = ""
        self._changed = threading.Condition()
        self._code: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def wait_for(self, text: str, timeout: float) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, timeout), self.text

    def wait(self, timeout: float) -> int:
        self._reader.join(timeout)
        assert not self._reader.is_alive(), self.text
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            for process in [*descendants(self.pid), psutil.Process(self.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            os.waitpid(self.pid, 0)
        self._reader.join(5)
        os.close(self._terminal)

    def _read(self) -> None:
        for piece in self._pieces():
            with self._changed:
                self.text += piece.decode(errors="replace")
                self._changed.notify_all()

    def _pieces(self) -> Iterator[bytes]:
        with suppress(OSError):  # how the end of a terminal looks
            while piece := os.read(self._terminal, 65536):
                yield piece
