"""`make run`: private brokers, the event processor and three applications; Ctrl-C ends them all.

Everything is made for this one run, on ports of its own, and thrown away: nothing of the machine is touched. The
brokers are killed rather than asked to stop, which RabbitMQ takes seconds for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pylib.testing.child import BrokerFailed  # noqa: E402
from pylib.testing.mosquitto import Mosquitto  # noqa: E402
from pylib.testing.rabbitmq import RabbitMQ  # noqa: E402

SECONDS_TO_START = 30
SECONDS_TO_STOP = 2
COLOURS = {"hub": 36, "siren": 31, "thermometer": 33, "light": 35, "run": 32}
DOOR = '{"input_location": "Front", "input_1": {"input_label": "Door", "sample_value": 97, "active": true}}'
METER = '{"register_reading": 1042, "last_minute_metered": 25}'


class Stop(BaseException):
    """Somebody asked for the end: Ctrl-C, SIGTERM, or the terminal was closed."""


class Program:
    """One program of the run; each line it writes is shown behind its name."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        self.name = name
        # A session of its own: Ctrl-C reaches this script alone, which then ends the programs in order.
        self.process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._seen: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Wait until it has written ``text``. Raises RuntimeError when it ends or stays silent instead."""
        with self._changed:
            self._changed.wait_for(
                lambda: any(text in line for line in self._seen) or self.process.poll() is not None, SECONDS_TO_START
            )
            if not any(text in line for line in self._seen):
                raise RuntimeError(f"{self.name} did not get ready")

    def end(self) -> int:
        """Wait for the end that it was asked for, and return its exit code; kill it when it takes too long."""
        try:
            code = self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(1)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = readable(line.rstrip("\n"))
            say(self.name, text)
            with self._changed:
                self._seen.append(text)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def main() -> int:
    def on_signal(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # one is enough, and the tidying up is not to be disturbed
        raise Stop

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    programs: list[Program] = []
    code = 0
    with own_foreground(), ExitStack() as stack:
        try:
            start(stack, programs)
            code = watch(programs)
        except Stop:
            pass
        except (BrokerFailed, RuntimeError) as error:
            say("run", str(error))
            code = 1
        return max(code, stop(programs))


def start(stack: ExitStack, programs: list[Program]) -> None:
    say("run", "starting a private Mosquitto and RabbitMQ; that takes some seconds")
    mosquitto = Mosquitto()
    stack.callback(mosquitto.close)
    rabbitmq = RabbitMQ()
    stack.callback(rabbitmq.close)
    mosquitto.start()
    rabbitmq.start()
    env = {
        "APP_CONFIG": str(ROOT / "examples" / "app.conf"),
        "MQTT_SERVER_ADDRESS": mosquitto.address,
        "RABBITMQ_SERVER_ADDRESS": rabbitmq.address,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONUNBUFFERED": "1",
    }
    host, port = mosquitto.host, str(mosquitto.port)
    programs.append(Program("hub", [sys.executable, "-m", "event_processor.cli"], env))
    programs.append(Program("siren", [sys.executable, "examples/siren.py"], env))
    watched = ["mosquitto_sub", "-h", host, "-p", port, "-q", "1", "-v", "-t", "cmnd/#"]
    programs.append(Program("light", watched, env))
    programs[0].wait_for("is ready")
    programs[1].wait_for("ZMQListener (inproc://app-thread): connected")
    programs.append(Program("thermometer", [sys.executable, "examples/thermometer.py"], env))
    programs[-1].wait_for("connected")
    publish = f"mosquitto_pub -h {host} -p {port} -q 1"
    say("run", "ready. In another terminal, open a door or report a meter:")
    print(f"\n    {publish} -t sensor/front/door -m '{DOOR}'\n", flush=True)
    print(f"    {publish} -t meter/water -m '{METER}'\n", flush=True)
    say("run", "The siren and the light say what reaches them. Ctrl-C ends everything.")


def watch(programs: list[Program]) -> int:
    """Wait until a program ends that nobody asked to. Does not return otherwise: ``Stop`` is raised."""
    while True:
        for program in programs:
            if program.process.poll() is not None:
                say("run", f"{program.name} ended with exit code {program.process.returncode}; stopping the others")
                return 1
        time.sleep(0.2)


def stop(programs: list[Program]) -> int:
    """End the programs, all at once. Returns 1 if one of them did not end as it should."""
    began = time.monotonic()
    running = [program for program in programs if program.process.poll() is None]
    for program in running:
        program.process.terminate()
    failed = []
    for program in running:
        code = program.end()
        # mosquitto_sub is not ours and ends by its signal.
        if code not in ((0, -signal.SIGTERM) if program.name == "light" else (0,)):
            failed.append(f"{program.name} ended with exit code {code}")
    for line in failed:
        say("run", line)
    if running:
        say("run", f"the applications ended in {time.monotonic() - began:.2f} s")
    return 1 if failed else 0


@contextmanager
def own_foreground() -> Iterator[None]:
    """Be the terminal's foreground for the time being, so that Ctrl-C comes here and not to ``make`` as well.

    ``make`` would call it an error.
    """
    terminal = next((fd for fd in (0, 1, 2) if os.isatty(fd)), None)
    if terminal is None or os.tcgetpgrp(terminal) != os.getpgrp():
        yield
        return
    before = os.getpgrp()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        with suppress(OSError):
            os.tcsetpgrp(terminal, before)


def readable(line: str) -> str:
    """A line of a program's log as a person wants it: the programs write JSON where they write to no terminal."""
    try:
        record = json.loads(line)
        level, message = record["level"], record["message"]
    except (ValueError, TypeError, KeyError):
        return line
    text = message if level == "INFO" else f"{level}: {message}"
    return f"{text}\n{record['exception']}" if record.get("exception") else text


def say(name: str, text: str) -> None:
    label = f"{name:>11} |"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        label = f"\x1b[{COLOURS.get(name, 0)}m{label}\x1b[0m"
    with suppress(BrokenPipeError):
        sys.stdout.write("".join(f"{label} {line}\n" for line in text.split("\n")))
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
