"""The command: how soon it listens to signals, and what it says about its arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import event_processor

SOURCE = str(Path(event_processor.__file__).parents[1])
HEAVY = ("zmq", "pika", "paho", "pydantic", "msgspec", "logging", "ssl", "asyncio", "argparse", "typing", "dataclasses")


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def test_importing_the_command_loads_nothing_that_takes_long() -> None:
    code = "import sys; before = set(sys.modules); import event_processor.cli; print(*(set(sys.modules) - before))"
    loaded = {name.partition(".")[0] for name in python(code).split()}
    assert loaded & set(HEAVY) == set()


def test_importing_the_command_installs_no_handler() -> None:
    code = "import signal, event_processor.cli; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    assert python(code).strip() == "True"


def test_the_first_line_of_the_log_says_that_the_handlers_are_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "event_processor.cli", "--config", str(tmp_path / "none.conf")],
        env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[0]["message"] == "Signal handlers are installed"
    assert set(lines[0]) == {"time", "level", "logger", "thread", "message"}
    assert done.returncode == 1
    assert len(lines) == 2
