"""What a test leaves behind fails it, and is named with the line that made it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import pylib
from pylib.testing.processes import run_program

pytestmark = pytest.mark.timeout(60)

LEAKING = '''
import os, socket, threading
import zmq
import pytest
from pylib.zmq import zmq_socket

KEPT = []

def test_socket(runtime):
    KEPT.append(socket.socket())

def test_thread(no_leaks):
    threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()

def test_file(no_leaks):
    KEPT.append(open(os.devnull))

def test_pipe(no_leaks):
    KEPT.append(os.pipe())

def test_zmq(runtime):
    """The runtime closes it with its last stage, for the thread that owns it."""
    zmq_socket(zmq.PULL).bind("inproc://a")

def test_receipt(runtime):
    runtime.receipts.open(lambda receipt: None)

def test_clean(runtime, no_leaks):
    threading.Thread(target=lambda: None).start()
    socket.socket().close()
    open(os.devnull).close()
'''


def test_each_leak_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pylib.testing.plugin", "-p", "no:cacheprovider", "test_leaking.py"]
    with run_program(command, folder=tmp_path, env={"PYTHONPATH": str(Path(pylib.__file__).parents[1])}) as program:
        assert program.wait(40) == 1
        output = program.output
    lines = LEAKING.splitlines()

    def place(text: str) -> str:
        return f"test_leaking.py:{next(n for n, line in enumerate(lines, 1) if text in line)}"

    assert f"opened at {place('KEPT.append(socket.socket')}" in output
    assert f"thread 'poller' still runs (daemon), started at {place('poller')}" in output
    assert f"opened at {place('open(os.devnull))')}" in output
    assert len(set(re.findall(rf"descriptor (\d+) is open: pipe:\S+ opened at {place('os.pipe')}", output))) == 2
    assert "1 deliveries of the runtime were never settled" in output
    assert "7 passed, 5 errors" in output
