"""``pylib wiring``, ``top``, ``tap``, ``send``, ``record`` and ``replay`` with a running application and real brokers."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pylib.application import Application
from pylib.application.brokers import Broker
from pylib.runtime.runtime import Runtime
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from pylib.tools.cli import main

pytestmark = pytest.mark.leak_check


class Garden:
    """An application between two real brokers, and the command ``pylib`` beside it."""

    def __init__(self, folder: Path, mosquitto: Mosquitto, rabbitmq: Vhost, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.brokers = ("--mqtt-address", mosquitto.address, "--amqp-address", rabbitmq.address, "--exchange", "home")
        self.capsys = capsys
        self.app = Application("garden")
        self.mqtt: Broker = self.app.mqtt(mosquitto.address, client_id="garden")
        self.rabbit: Broker = self.app.rabbitmq(rabbitmq.address, exchange="home")
        self.said = threading.Event()

        @self.mqtt.on("soil/+/state")
        def water(reading: dict, topic: str) -> object:
            return self.rabbit.message("event.control.pump", {"seconds": reading["moisture"], "password": "hush"})

        @self.rabbit.on("event.control.pump")
        def pump(order: dict) -> None:
            self.said.set()

        self.app.start()
        assert self.app.wait_until_ready(20)

    def pylib(self, *arguments: str) -> tuple[int, str, str]:
        code = main([*arguments])
        out, err = self.capsys.readouterr()
        return code, out, err

    def send(self, topic: str, value: object) -> None:
        code, out, err = self.pylib("send", "mqtt", topic, json.dumps(value), *self.brokers)
        assert (code, err) == (0, ""), err
        assert "PUBACK" in out

    @contextmanager
    def beside(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The command as a process of its own."""
        command = [sys.executable, "-m", "pylib.tools.cli", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def garden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Garden]:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    garden = Garden(tmp_path / "state", mosquitto, rabbitmq, capsys)
    yield garden
    runtime.stop()
    assert not list((tmp_path / "state" / "control").glob("*")), "the control's socket is still there"


def test_the_wiring_is_drawn_in_every_form(garden: Garden) -> None:
    garden.send("soil/a/state", {"moisture": 3})
    assert garden.said.wait(10)
    code, out, err = garden.pylib("wiring")
    assert (code, err) == (0, "")
    assert "garden (process" in out
    assert "garden/mqtt/water" in out
    assert out.endswith("ready\n")
    seen = json.loads(garden.pylib("wiring", "--json")[1])
    assert seen["who"]["name"] == "garden"
    taken = {pipe["endpoint"]: pipe["taken"] for pipe in seen["wiring"]["pipes"]}
    assert taken["inproc://garden/mqtt/water"] == 1
    assert garden.pylib("wiring", "--format", "dot")[1].startswith('digraph "garden" {')
    assert garden.pylib("wiring", "--format", "mermaid")[1].startswith("flowchart LR\n")
    assert "loop.py" in garden.pylib("wiring", "--stack", "water")[1]
    code, out, err = garden.pylib("wiring", "--stack", "nobody")
    assert code == 1
    assert "water" in err
    assert "garden/to/rabbitmq" in garden.pylib("top", "--once")[1]
    assert json.loads(garden.pylib("top", "--once", "--json")[1])["health"]["ready"]


def test_top_without_rich_says_what_to_install(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    code, out, err = garden.pylib("top", "--once")
    assert (code, out) == (1, "")
    assert "pip install 'pylib-automation[tools]'" in err
    assert garden.pylib("top", "--once", "--json")[0] == 0


def test_without_a_running_application_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wiring", "--state-dir", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pylib: no running application can be asked")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("via", "address", "value"),
    [
        ("mqtt", "soil/#", {"moisture": 7}),
        ("amqp", "event.#", {"seconds": 7, "password": "***"}),
        ("pipe", "mqtt/water", {"moisture": 7}),
        ("pipe", "garden/to/rabbitmq", {"seconds": 7, "password": "***"}),
    ],
)
def test_messages_are_followed_decoded_and_nobody_misses_one(garden: Garden, via: str, address: str, value: object) -> None:
    with garden.beside("tap", via, address, "--json", "--count", "1", *garden.brokers) as tap:
        found: list[str] = []
        arrived = threading.Event()
        assert tap.stdout is not None

        def read(stream: Iterator[str]) -> None:
            found.append(next(stream, ""))
            arrived.set()

        reader = threading.Thread(target=read, args=(iter(tap.stdout),))
        reader.start()
        for _ in range(100):  # until the tap is there
            garden.said.clear()
            garden.send("soil/a/state", {"moisture": 7})
            assert garden.said.wait(10), "the application missed a message"
            if arrived.wait(0.2):
                break
        reader.join(10)
        assert tap.wait(10) == 0
    seen = json.loads(found[0])
    assert seen["via"] == via
    assert json.dumps(value)[1:-1] in json.dumps(seen["value"]), seen
    assert "hush" not in found[0]


def test_a_tap_shows_only_what_is_asked_for(garden: Garden) -> None:
    with garden.beside(
        "tap", "mqtt", "soil/#", "--where", "moisture=2", "--where", "kind!=x", "--count", "1", *garden.brokers
    ) as tap:
        assert tap.stdout is not None
        done = threading.Event()
        for number in range(200):
            garden.send("soil/a/state", {"moisture": number % 3})
            if tap.poll() is not None or done.wait(0.02):
                break
        assert '{"moisture": 2}' in tap.stdout.read()
    code, _, err = garden.pylib("tap", "pipe", "nonsense")
    assert code == 1
    assert "garden/mqtt/water" in err


def test_what_reaches_nobody_is_said(garden: Garden) -> None:
    code, out, err = garden.pylib("send", "amqp", "event.nobody", "x", *garden.brokers)
    assert (code, out) == (1, "")
    assert "no queue bound to routing key 'event.nobody'" in err
    code, out, err = garden.pylib("send", "mqtt", "nobody/listens", "x", *garden.brokers)
    assert code == 1
    assert "nobody is subscribed" in err
    code, out, err = garden.pylib("send", "amqp", "event.control.pump", '{"seconds": 1}', "--json", *garden.brokers)
    assert json.loads(out)["routed"] is True
    assert garden.said.wait(10)
    code, out, err = garden.pylib("send", "amqp", "event.x", "x", *garden.brokers[:-1], "no-such-exchange")
    assert code == 1
    assert "no exchange 'no-such-exchange' in vhost" in err
    code, out, err = garden.pylib("send", "mqtt", "a/#", "x", *garden.brokers)
    assert code == 1
    assert "wildcard" in err


def test_what_an_acl_forbids_is_said(mosquitto_factory: Callable[..., Mosquitto], capsys: pytest.CaptureFixture[str]) -> None:
    broker = mosquitto_factory(users={"hub": "hush"}, acl=["user hub", "topic read #"])
    assert main(["send", "mqtt", "a/b", "x", "--mqtt-address", broker.address]) == 1
    assert "not authorized" in capsys.readouterr().err
    assert main(["send", "mqtt", "a/b", "x", "--mqtt-address", broker.address.replace("hush", "other")]) == 1
    err = capsys.readouterr().err
    assert "check user, password" in err
    assert "other" not in err


def test_traffic_is_recorded_and_replayed(garden: Garden, tmp_path: Path, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    file = tmp_path / "traffic.jsonl"
    with garden.beside(
        "record", str(file), "--mqtt", "soil/#", "--amqp", "event.#", "--count", "4", *garden.brokers
    ) as record:
        done = threading.Event()
        for _ in range(100):
            garden.send("soil/a/state", {"moisture": 7})
            if record.poll() is not None or done.wait(0.2):
                break
        assert record.wait(10) == 0
        assert record.stdout is not None
        assert "4 messages in" in record.stdout.read()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    head, *lines = (json.loads(line) for line in file.read_text().splitlines())
    assert head["pylib-record"] == 1
    assert {line["via"] for line in lines} == {"mqtt", "amqp"}
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    bodies = [base64.b64decode(line["body"]) for line in lines if line["via"] == "mqtt"]
    assert set(bodies) == {b'{"moisture": 7}'}
    garden.said.clear()
    code, out, err = garden.pylib("replay", str(file), "--speed", "max", "--json", *garden.brokers)
    assert (code, json.loads(out)) == (0, {"sent": 4, "unroutable": 0, "refused": 0})
    assert garden.said.wait(10), "what was replayed reached nobody"
    other = mosquitto_factory()
    code, out, err = garden.pylib("replay", str(file), "--only", "mqtt", "--mqtt-address", other.address, "--to-mqtt", "test/")
    assert code == 0, err
    assert garden.pylib("record", str(file), "--mqtt", "#", *garden.brokers)[0] == 1
    file.write_text("nonsense\n")
    code, out, err = garden.pylib("replay", str(file), *garden.brokers)
    assert code == 1
    assert "not a recording" in err


def test_a_recording_that_cannot_begin_leaves_no_file_and_one_that_is_ended_keeps_what_it_has(
    garden: Garden, tmp_path: Path
) -> None:
    file = tmp_path / "traffic.jsonl"
    code, out, err = garden.pylib("record", str(file), "--mqtt", "#", "--mqtt-address", "mqtt://127.0.0.1:1")
    assert (code, out, file.exists()) == (1, "", False)
    assert "connection refused" in err
    with garden.beside("record", str(file), "--mqtt", "soil/#", "--json", *garden.brokers) as record:
        done = threading.Event()
        for _ in range(200):  # until something is on the disk
            garden.send("soil/a/state", {"moisture": 7})
            if file.exists() and file.read_bytes().count(b"\n") > 1:
                break
            done.wait(0.2)
        record.terminate()
        assert record.wait(10) == 0
        assert record.stdout is not None
        assert json.loads(record.stdout.read())["messages"] == file.read_bytes().count(b"\n") - 1


def test_an_application_that_is_told_so_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("APP_CONTROL", "no")
    app = Application("garden")
    app.mqtt(mosquitto.address).on("soil/#")(lambda topic: None)
    app.start()
    assert main(["wiring", "--state-dir", str(tmp_path / "state")]) == 1
    assert "[app] control = no" in capsys.readouterr().err
    assert "pylib-control" not in {thread.name for thread in threading.enumerate()}
    runtime.stop()
