"""`make run`: brokers, the event processor, three applications and a simulated home; Ctrl-C ends them all.

    python scripts/run.py           with the embedded brokers, or those that MQTT_SERVER_ADDRESS, RABBITMQ_SERVER_ADDRESS or
                                    app.conf name
    python scripts/run.py --real    with a private Mosquitto and RabbitMQ, which have to be installed
    python scripts/run.py --speed 1 the simulated home lives at its own pace instead of sixty times the clock

Everything is made for this one run, on ports of its own, and thrown away: nothing of the machine is touched. Real brokers
are killed rather than asked to stop, which RabbitMQ takes seconds for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

# E402: they are found once the path above is set.
from event_processor.publish import dashboard_of, line_to_type, port_for  # noqa: E402
from pylib.brokers.addresses import parse_addresses  # noqa: E402
from pylib.config import AppConfig  # noqa: E402
from pylib.errors import ConfigError  # noqa: E402
from pylib.testing.child import BrokerFailed  # noqa: E402
from pylib.testing.ports import free_port  # noqa: E402

SECONDS_TO_START = 30
SECONDS_TO_STOP = 2
LISTENS = "Signal handlers are installed"
SECONDS_TO_SERVE = 5  # the dashboard, once the hub is ready
COLOURS = {"hub": 36, "siren": 31, "thermometer": 33, "light": 35, "run": 32, "home": 34}
WAKING = "06:12"  # of the simulated home's first day, so that there is something to see at once
EXAMPLE = ROOT / "examples" / "app.conf"
RULES = ROOT / "src" / "event_processor" / "demo_rules.toml"
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

    def find(self, look: Callable[[str], str | None], seconds: float) -> str | None:
        """What ``look`` makes of the first of its lines of which it makes something, so far or within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(look, self._seen)) or self.process.poll() is not None, seconds)
            return next(filter(None, map(look, self._seen)), None)

    def said(self, text: str) -> bool:
        """Whether it has written ``text`` so far."""
        with self._changed:
            return any(text in line for line in self._seen)

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


@dataclass(frozen=True)
class Brokers:
    """Where the brokers of this run are. The addresses may hold passwords."""

    mqtt: str
    rabbitmq: str
    settings: Path
    ours: bool  # made for this run: then the simulated home moves in, whose devices would stay in any other


def main() -> int:
    def on_signal(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # one is enough, and the tidying up is not to be disturbed
        raise Stop

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    parser = argparse.ArgumentParser(description="The event processor with example applications.")
    parser.add_argument(
        "--real", action="store_true", help="with a private Mosquitto and RabbitMQ instead of the embedded ones"
    )
    parser.add_argument(
        "--speed", type=float, default=60.0, help="simulated seconds in a second of the simulated home (default: 60)"
    )
    options = parser.parse_args()
    programs: list[Program] = []
    code = 0
    with own_foreground(), ExitStack() as stack:
        try:
            start(stack, programs, real_brokers(stack) if options.real else brokers(stack), options.speed)
            code = watch(programs)
        except Stop:
            pass
        except (BrokerFailed, ConfigError, RuntimeError) as error:
            say("run", str(error))
            code = 1
        return max(code, stop(programs))


def brokers(stack: ExitStack) -> Brokers:
    """The brokers that are configured, and an embedded one in place of each that is not."""
    config = AppConfig()
    settings = config.path if config.path.exists() else EXAMPLE
    mqtt = config.get("mqtt", "server_address", fallback="")
    rabbitmq = config.get("rabbitmq", "server_address", fallback="")
    ours = not mqtt and settings == EXAMPLE
    if not mqtt:
        from pylib.embedded.mqtt import MqttBroker

        mqtt = stack.enter_context(MqttBroker()).url
    if not rabbitmq:
        try:
            from pylib.embedded.amqp import AmqpBroker
        except ImportError as error:
            raise ConfigError(f"The embedded AMQP broker needs {error.name}: pip install -e '.[embedded]'") from None
        rabbitmq = stack.enter_context(AmqpBroker()).url
    return Brokers(mqtt, rabbitmq, settings, ours)


def real_brokers(stack: ExitStack) -> Brokers:
    """A private Mosquitto and RabbitMQ."""
    from pylib.testing.mosquitto import Mosquitto
    from pylib.testing.rabbitmq import RabbitMQ

    say("run", "starting a private Mosquitto and RabbitMQ; that takes some seconds")
    mosquitto = Mosquitto()
    stack.callback(mosquitto.close)
    rabbitmq = RabbitMQ()
    stack.callback(rabbitmq.close)
    mosquitto.start()
    rabbitmq.start()
    return Brokers(mosquitto.address, rabbitmq.address, EXAMPLE, True)


def start(stack: ExitStack, programs: list[Program], used: Brokers, speed: float) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylib-run-")))
    phone = free_port()
    env = {
        "APP_CONFIG": str(used.settings),
        "MQTT_SERVER_ADDRESS": used.mqtt,
        "RABBITMQ_SERVER_ADDRESS": used.rabbitmq,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONUNBUFFERED": "1",
        "XDG_STATE_HOME": str(folder),
    } | (for_the_home(folder, phone) if used.ours else {})
    if not AppConfig().has_option("web", "port"):
        env["WEB_PORT"] = str(port_for(8080))
    mqtt = parse_addresses(first_of(used.mqtt), scheme="mqtt", where="MQTT_SERVER_ADDRESS")[0]
    for name, argv in (
        ("hub", ["-m", "event_processor.cli"]),
        ("siren", ["examples/siren.py"]),
        ("light", ["examples/light.py"]),
    ):
        programs.append(Program(name, [sys.executable, *argv], env))
    hub, siren, light = programs
    hub.wait_for("is ready")
    siren.wait_for("ZMQListener (inproc://app-thread): connected")
    light.wait_for("connected")
    programs.append(Program("thermometer", [sys.executable, "examples/thermometer.py"], env))
    if used.ours:
        argv = ["-m", "event_processor.simulator", "--speed", f"{speed:g}", "--from", WAKING, "--phone", str(phone)]
        programs.append(Program("home", [sys.executable, *argv], env))
    if mqtt.user is None:
        say("run", "ready. In another terminal, open a door or report a meter:")
        for topic, payload in (("sensor/front/door", DOOR), ("meter/water", METER)):
            print(f"\n    {publishing(mqtt.host, mqtt.port, topic, payload)}", flush=True)
        print(flush=True)
    else:
        say("run", f"ready. Open a door: publish to {mqtt.host}:{mqtt.port}, on sensor/front/door: {DOOR}")
    if used.ours:
        say("run", f"A home of sixteen devices lives here at {speed:g} times the clock. Its rules: {env['HUB_RULES']}")
    say("run", "The siren and the light say what reaches them. Ctrl-C ends everything.")
    # None where the dashboard is not installed, switched off, or has had its first visit.
    dashboard = hub.find(dashboard_of, SECONDS_TO_SERVE)
    if dashboard is not None:
        say("run", dashboard)


def for_the_home(folder: Path, phone: int) -> dict[str, str]:
    """What the hub needs besides for the simulated home: its rules, in a copy that the dashboard may change, and its phone."""
    rules, settings = folder / "rules.toml", folder / "app.conf"
    shutil.copyfile(RULES, rules)
    settings.write_text(f"{EXAMPLE.read_text()}\n[notify:default]\nurl = json://127.0.0.1:{phone}\n")
    return {"HUB_RULES": str(rules), "APP_CONFIG": str(settings)}


def first_of(addresses: str) -> str:
    """The first address of several. A comma ends a URL only before white space or another URL: passwords have them too."""
    return re.split(r"\n|,(?=\s|\w+://|$)" if "://" in addresses else r"[,\n]", addresses.strip())[0]


def publishing(host: str, port: int, topic: str, payload: str) -> str:
    """What publishes on this machine: Mosquitto's program where it is installed, else Python."""
    if shutil.which("mosquitto_pub") is None:
        return line_to_type(host, port, topic, payload)
    return f"mosquitto_pub -h {host} -p {port} -q 1 -t {topic} -m {shlex.quote(payload)}"


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
    # The simulated home leaves last: that all its devices go is no news while everything ends.
    home = [program for program in running if program.name == "home"]
    others = [program for program in running if program.name != "home"]
    for program in others:
        program.process.terminate()
    failed = []
    for program in (*others, *home):
        if program in home:
            program.process.terminate()
        code = program.end()
        # One that was still starting could not say goodbye.
        if code != 0 and not (code == -signal.SIGTERM and not program.said(LISTENS)):
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
