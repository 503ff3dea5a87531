"""What the soak runs have in common: private brokers, a publisher, the bridge under a supervisor, and a report.

A run is honest about what it measured: the options of Mosquitto are printed beside the figures, what was promised beside what
came out, and a broken promise is the exit code 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from benchmarks.soak._tally import Reader, Tally, wait_until
from pylib.testing.guard import GUARD
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import RabbitMQ

ROOT = Path(__file__).resolve().parents[2]
BRIDGE = ROOT / "examples" / "bridge.py"
# Deliveries that the bridge may have without acknowledgement: Receive Maximum, and what the read that exceeded it has brought
# (64 KiB of events of 250 bytes); and confirms that it may wait for.
IN_FLIGHT = 1000 + 300
CONFIRM_WINDOW = 2000
# Events that the publisher may have without PUBACK.
PUBLISHER_WINDOW = 100
# What makes Mosquitto keep what it acknowledged, as docs/explanation/delivery.md recommends, and count what it holds.
MOSQUITTO = ("autosave_interval 1", "max_queued_messages 0", "sys_interval 1", "log_type none", "log_type error",
             "log_type warning", "log_type notice")  # fmt: skip


class Report:
    """Collects the figures of a run, one line each, and whether a promise was broken."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.broken: list[str] = []
        self.figures: dict[str, float] = {}

    def say(self, text: str) -> None:
        print(f"{self.title}: {text}", flush=True)

    def figure(
        self, name: str, value: float, unit: str = "", *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Note a figure and what was promised of it."""
        self.figures[name] = value
        promised = ""
        if at_most is not None:
            promised = f" (at most {at_most:g})"
        elif at_least is not None:
            promised = f" (at least {at_least:g})"
        bad = (at_most is not None and value > at_most) or (at_least is not None and value < at_least)
        if bad:
            self.broken.append(f"{name} {value:g}{promised}")
        shown = f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"
        self.say(f"{name} {shown}{' ' + unit if unit else ''}{promised}{'  BROKEN' if bad else ''}")

    def tally(self, tally: Tally, accepted: int, devices: int, *, most_duplicates: int) -> None:
        """The figures of every run: lost, duplicates, order."""
        self.figure("accepted", accepted)
        self.figure("lost", tally.lost(accepted, devices), at_most=0)
        self.figure("out of order", tally.disorder, at_most=0)
        self.figure("duplicates", tally.duplicates, at_most=most_duplicates)
        self.figure("of those with the same message id", tally.same_id)
        self.figure("not ours", tally.foreign, at_most=0)

    def end(self) -> int:
        """Say the verdict and return the exit code."""
        self.say("promise kept" if not self.broken else "PROMISE BROKEN: " + "; ".join(self.broken))
        return 1 if self.broken else 0


class Supervised:
    """A program that is started again one second after it was killed. Start and stop it from one thread."""

    def __init__(self, argv: list[str], folder: Path, ready: str = "ready", pause: float = 1.0) -> None:
        self._argv = [sys.executable, *argv]
        self._folder = folder
        self._ready = ready
        self._pause = pause
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self.up = threading.Event()
        self.starts = 0
        self.log_path = folder / "program.log"
        self._process = self._start()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def rss(self) -> int:
        """Resident memory in KiB, 0 while it is down."""
        return rss_of(self._process.pid)

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL; the supervisor starts it again."""
        self.up.clear()
        self._process.kill()

    def terminate(self, timeout: float = 20.0) -> tuple[int, float]:
        """SIGTERM, not started again: exit code and seconds until the exit; -9 when it had to be killed."""
        self._ending.set()
        begun = time.monotonic()
        self._process.terminate()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return code, time.monotonic() - begun

    def start_again(self) -> None:
        """After ``terminate``."""
        self._thread.join()
        self._ending.clear()
        self.up.clear()
        self._process = self._start()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._ending.set()
            self._process.kill()
        self._thread.join(10)

    def _start(self) -> subprocess.Popen[str]:
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "XDG_STATE_HOME": str(self._folder / "state"),
        }
        self.starts += 1
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        GUARD.add(process.pid, self._folder)  # a run that is itself killed leaves no program behind
        return process

    def _supervise(self) -> None:
        while True:
            process = self._process
            assert process.stdout is not None
            with self.log_path.open("a") as log:
                for line in process.stdout:
                    if line.strip() == self._ready:
                        self.up.set()
                    log.write(line)
                    log.flush()
            process.wait()
            GUARD.remove(process.pid)
            process.stdout.close()
            if self._ending.is_set():
                return
            with self.log_path.open("a") as log:
                log.write(f"--- ended with {process.returncode}, started again\n")
            self._ending.wait(self._pause)
            with self._lock:
                if self._ending.is_set():
                    return
                self._process = self._start()


class PublisherProcess:
    """The publisher in its process. For one thread."""

    def __init__(self, port: int, *options: str) -> None:
        program = str(Path(__file__).with_name("_publisher.py"))
        self._process = subprocess.Popen(
            [sys.executable, program, str(port), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.devices = self.status()["devices"]

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def rate(self, per_second: float) -> None:
        """Publish at this rate from now on; 0: as fast as the window allows."""
        self.tell(f"rate {per_second}")

    def status(self) -> dict[str, int]:
        assert self._process.stdout is not None
        self.tell("status")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("The publisher ended early; see what it printed above.")
        answer: dict[str, int] = json.loads(line)
        return answer

    def pause(self, seconds: float = 30.0) -> int:
        """Publish nothing new and wait until all is acknowledged. Returns how many were accepted so far."""
        self.tell("pause")
        if not wait_until(lambda: (s := self.status())["accepted"] >= s["published"], seconds, 0.05):
            raise SystemExit(f"Mosquitto did not acknowledge everything within {seconds:g} s: {self.status()}")
        return self.status()["accepted"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass


class World:
    """Private brokers and a folder for one run; whatever is started in it ends with it."""

    def __init__(self, *, extra: tuple[str, ...] = (), rabbit: bool = True) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pylib-soak-")))
        self.mosquitto_options = (*MOSQUITTO, *extra)
        self.mosquitto = Mosquitto(persistence=True, extra=self.mosquitto_options)
        self._stack.callback(self.mosquitto.close)
        self.rabbit = RabbitMQ() if rabbit else None
        if self.rabbit is not None:
            self._stack.callback(self.rabbit.close)

    def __enter__(self) -> Self:
        try:
            self.mosquitto.start()
            if self.rabbit is not None:
                self.rabbit.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def node(self) -> RabbitMQ:
        assert self.rabbit is not None, "this world has no RabbitMQ"
        return self.rabbit

    def describe(self, report: Report) -> None:
        options = "; ".join(option for option in self.mosquitto_options if not option.startswith("log_type"))
        report.say(f"Mosquitto with persistence true; {options}; RabbitMQ with a durable queue")

    def program(self, *argv: str, ready_within: float = 20.0) -> Supervised:
        program = Supervised(list(argv), self.folder)
        self._stack.callback(program.close)
        if not program.up.wait(ready_within):
            raise SystemExit(f"The program under test did not come up:\n{program.log_text()[-3000:]}")
        return program

    def bridge(self, *options: str, amqp: str | None = None) -> Supervised:
        return self.program(str(BRIDGE), str(self.mosquitto.port), amqp or str(self.node.port), *options)

    def publisher(self, *options: str) -> PublisherProcess:
        publisher = PublisherProcess(self.mosquitto.port, "--window", str(PUBLISHER_WINDOW), *options)
        self._stack.callback(publisher.close)
        return publisher

    def reader(self, queue: str = "soak") -> Reader:
        return Reader([self.node.address], queue)


def rss_of(pid: int) -> int:
    """Resident memory of a process in KiB, 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
