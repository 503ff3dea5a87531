"""How long from nothing to the first event: a clean virtual environment, no broker on the machine, one command.

    python scripts/measure_first_event.py

Installs the library from this checkout into a new virtual environment and starts `event-processor demo` and what `make run`
starts, on a PATH that holds nothing but that environment. In each, the line that it shows for opening a door is run, and the
clock stops when the siren says so: over MQTT to the hub, and over AMQP to the siren. Exit 1 when that does not happen.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "embedded,web"
SECONDS_TO_WAIT = 60
TO_TYPE = re.compile(r"^\s+(\S*python\S* -m event_processor\.publish .*door.*)$")
HEARD = "SIREN: triggered by"


def main() -> int:
    """Measure, print, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="pylib-first-event-") as folder:
        began = time.monotonic()
        python = installed(Path(folder) / "venv")
        print(f"installed in {time.monotonic() - began:.1f} s", flush=True)
        empty = Path(folder) / "home"
        empty.mkdir()
        env = environment(python.parent, empty)
        for program in ("mosquitto", "mosquitto_pub", "rabbitmq-server"):
            if shutil.which(program, path=env["PATH"]) is not None:
                print(f"{program} is on the PATH of the measurement: {env['PATH']}")
                return 1
        for name, argv in (
            ("event-processor demo", [str(python.parent / "event-processor"), "demo"]),
            ("make run", [str(python), str(ROOT / "scripts" / "run.py")]),
        ):
            took = first_event(argv, env, empty)
            if took is None:
                return 1
            print(f"{name}: first event after {took:.2f} s", flush=True)
    return 0


def installed(venv: Path) -> Path:
    """Make a virtual environment with the library in it; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{EXTRAS}]"], check=True)
    return python


def environment(programs: Path, home: Path) -> dict[str, str]:
    """Of this process's environment nothing but the PATH to the new programs."""
    return {"PATH": str(programs), "HOME": str(home), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8"}


def first_event(argv: list[str], env: dict[str, str], folder: Path) -> float | None:
    """Start it, do what it says, and return the seconds until the siren sounded; None, with its output, when it did not."""
    began = time.monotonic()
    program = subprocess.Popen(
        argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watchdog = threading.Timer(SECONDS_TO_WAIT, program.kill)
    watchdog.start()
    lines: list[str] = []
    typed = heard = None
    assert program.stdout is not None
    try:
        for line in program.stdout:
            lines.append(line)
            found = TO_TYPE.match(line)
            if found is not None and typed is None:
                typed = subprocess.Popen(shlex.split(found[1]), env=env, cwd=folder)
            if HEARD in line:
                heard = time.monotonic() - began
                break
        program.send_signal(signal.SIGINT)
        lines += program.stdout.readlines()
        code = program.wait()
    finally:
        watchdog.cancel()
        if program.poll() is None:
            program.kill()
        if typed is not None:
            typed.wait()
    if heard is None or code != 0:
        print("".join(lines), f"\nexit code {code}, first event: {heard}")
        return None
    return heard


if __name__ == "__main__":
    sys.exit(main())
