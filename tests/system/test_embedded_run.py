"""Without a broker on the machine: `make run`, `event-processor demo` and `pylib brokers` on the embedded ones."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPError

from benchmarks.embedded_start import there_and_back_amqp, there_and_back_mqtt
from pylib.embedded.amqp import AmqpBroker
from pylib.embedded.mqtt import MqttBroker
from pylib.testing.ports import free_port
from pylib.testing.processes import Program, run_program
from tests.conformance.mqtt.kit import Endpoint, client
from tests.system.hub_kit import ROOT, SOURCE
from tests.system.test_make_run import ENDED, RUN, Terminal, descendants, gone

DASHBOARD = r"The dashboard: (http://127\.0\.0\.1:\d+/setup)   \(the code for the first visit: [\w-]{14}\)$"
ADDRESS = re.compile(r"^(?:MQTT 3.1.1|AMQP 0-9-1) +(\w+://\S+)$", re.MULTILINE)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment on whose PATH there is no broker and no client of one, and whose temporary folder is this test's."""
    (tmp_path / "tmp").mkdir()
    return {"PATH": str(tmp_path), "PYTHONPATH": str(SOURCE), "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)}


def python(*arguments: str, env: dict[str, str], folder: Path) -> Program:
    return run_program([sys.executable, *arguments], env=env, folder=folder)


def type_the_lines_it_shows(program: Program, env: dict[str, str]) -> None:
    lines = [line.strip() for line in program.output.splitlines() if "-m event_processor.publish" in line]
    assert len(lines) == 2
    for line in lines:
        subprocess.run(shlex.split(line), check=True, timeout=20, env=os.environ | env)


def test_make_run_starts_without_any_broker_and_what_it_says_to_type_reaches_the_siren_and_the_light(
    bare: dict[str, str], tmp_path: Path
) -> None:
    with python(str(RUN), env=bare, folder=tmp_path) as run:
        run.wait_for("Ctrl-C ends everything", timeout=60)
        started = descendants(run.pid)
        assert len(started) == 5  # the hub, the siren, the light, the thermometer and the simulated home
        type_the_lines_it_shows(run, bare)
        run.wait_for(r"siren \| SIREN: triggered by Front Door")
        run.wait_for(r"light \| cmnd/lamp/POWER ON")
        run.wait_for(r'light \| cmnd/valve/set {"close": true, "reading": 1042}')
        assert run.stop(signal.SIGTERM, timeout=10) == 0
        assert ENDED.search(run.output) is not None
        assert gone(started) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_make_run_says_last_where_the_dashboard_is_and_its_home_sets_the_rules_off(
    bare: dict[str, str], tmp_path: Path
) -> None:
    with python(str(RUN), "--speed", "1000", env=bare, folder=tmp_path) as run:
        address = run.wait_for(DASHBOARD, timeout=60)[1]
        # Nothing that the launcher says comes after it.
        assert [line for line in run.output.splitlines() if line.lstrip().startswith("run |")][-1].endswith(")")
        with urllib.request.urlopen(address, timeout=20) as page:
            assert page.status == 200
        run.wait_for("Nobody is at home: Anna Phone", timeout=60)
        run.wait_for("siren \\| SIREN: triggered by Kitchen Door", timeout=60)
        run.wait_for("home \\| PHONE: Alarm: Kitchen Door was opened, and nobody is at home", timeout=60)
        run.wait_for("Leak: House Water flow reads 26", timeout=60)
        assert run.stop(signal.SIGTERM, timeout=10) == 0
        assert "is gone" not in run.output.partition("the applications ended")[0].rpartition("Leak")[2]


def test_make_run_takes_the_brokers_that_are_configured(bare: dict[str, str], tmp_path: Path) -> None:
    with MqttBroker(user="anna", password="a,b") as mqtt, AmqpBroker() as amqp:
        configured = {"MQTT_SERVER_ADDRESS": mqtt.url, "RABBITMQ_SERVER_ADDRESS": amqp.url}
        with python(str(RUN), env=bare | configured, folder=tmp_path) as run:
            run.wait_for(f"publish to 127.0.0.1:{mqtt.port}", timeout=60)
            assert mqtt.connections == 2  # the hub and the light; the simulated home does not move in
            assert run.stop(signal.SIGTERM, timeout=10) == 0
            assert "a,b" not in run.output
            assert "a%2Cb" not in run.output


@pytest.mark.alone
def test_ctrl_c_under_make_on_a_terminal_ends_it_with_exit_code_0(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {shlex.quote(sys.executable)} {shlex.quote(str(RUN))}\n")
    with Terminal(["make", "-f", str(makefile), "run"]) as terminal:
        terminal.wait_for("Ctrl-C ends everything", 60)
        terminal.type(b"\x03")
        assert terminal.wait(10) == 0
        assert "Error" not in terminal.text
        found = ENDED.search(terminal.text)
        assert found is not None, terminal.text
        assert float(found[1]) <= 1.0


def test_the_makefile_s_run_installs_no_broker() -> None:
    dry = subprocess.run(["make", "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout
    assert "scripts/run.py" in dry
    assert "ensure-brokers" not in dry
    real = subprocess.run(["make", "-n", "run", "REAL=1"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    assert "ensure-brokers" in real.stdout
    assert "scripts/run.py --real" in real.stdout


def test_the_demo_needs_nothing_says_what_to_type_and_leaves_nothing(bare: dict[str, str], tmp_path: Path) -> None:
    with python("-m", "event_processor.cli", "demo", env=bare, folder=tmp_path) as demo:
        demo.wait_for("Ctrl-C ends everything", timeout=60)
        assert list((tmp_path / "tmp").iterdir()) != []
        type_the_lines_it_shows(demo, bare)
        demo.wait_for("^SIREN: triggered by front door$")
        demo.wait_for("^LAMP: cmnd/lamp/POWER ON$")
        demo.wait_for("^DEVICE: cmnd/valve/set .*1042")
        assert demo.stop(signal.SIGINT, timeout=10) == 0
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]


def test_the_demo_has_a_home_whose_alarm_rings_the_phone_and_says_last_where_the_dashboard_is(
    bare: dict[str, str], tmp_path: Path
) -> None:
    fast = bare | {"DEMO_SPEED": "2000"}
    with python("-m", "event_processor.cli", "demo", env=fast, folder=tmp_path) as demo:
        address = demo.wait_for("^" + DASHBOARD, timeout=60)[1]
        assert demo.output.index("Ctrl-C ends everything") < demo.output.index("The dashboard: ")
        with urllib.request.urlopen(address, timeout=20) as page:
            assert page.status == 200
        demo.wait_for("^SIREN: triggered by Kitchen Door$", timeout=60)
        demo.wait_for("^PHONE: Alarm: Kitchen Door was opened, and nobody is at home$", timeout=60)
        assert demo.stop(signal.SIGINT, timeout=10) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_demo_s_speed_that_is_none_is_told_in_one_line(bare: dict[str, str], tmp_path: Path) -> None:
    with python("-m", "event_processor.cli", "demo", env=bare | {"DEMO_SPEED": "fast"}, folder=tmp_path) as demo:
        assert demo.wait(60) == 1
        assert "'fast' is no number" in demo.output.splitlines()[-1]
        assert "Traceback" not in demo.output


def test_the_demo_takes_the_brokers_and_settings_of_an_app_conf(bare: dict[str, str], tmp_path: Path) -> None:
    with MqttBroker() as mqtt:
        (tmp_path / "app.conf").write_text(
            f"[mqtt]\nserver_address = {mqtt.url}\nsubscribe = bell/+\n[rabbitmq]\nmq_exchange = mine\n[links]\n"
            "Front Bell = siren\n[mapping:bells]\ntopic = bell/+\ndevice = {1} bell\ntype = bell\n"
        )
        with python("-m", "event_processor.cli", "demo", env=bare, folder=tmp_path) as demo:
            demo.wait_for(f"Publish to 127.0.0.1:{mqtt.port} what bell/", timeout=60)
            with client(Endpoint("embedded", mqtt.host, mqtt.port), "finger") as raw:
                raw.publish("bell/front", b"on")
            demo.wait_for("^SIREN: triggered by front bell$")
            assert demo.stop(signal.SIGTERM, timeout=10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pylib_brokers_serves_both_until_it_is_told_to_stop(
    bare: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    with python(
        "-m", "pylib.tools.cli", "brokers", "--mqtt-port", "0", "--amqp-port", "0", env=bare, folder=tmp_path
    ) as brokers:
        brokers.wait_for("Ctrl-C ends them", timeout=30)
        mqtt, amqp = ADDRESS.findall(brokers.output)
        with client(Endpoint("embedded", "127.0.0.1", int(mqtt.rpartition(":")[2])), "c") as raw:
            raw.publish("a", b"x", 2)
            connection = pika.BlockingConnection(pika.URLParameters(amqp))
            channel = connection.channel()
            channel.confirm_delivery()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_publish("", queue, b"hello")
            assert channel.basic_get(queue)[2] == b"hello"
            assert brokers.stop(number, timeout=2) == 0
            raw.expect_closed()
        with pytest.raises(AMQPError):
            connection.process_data_events(5)


def test_pylib_brokers_listens_where_it_is_told_to(bare: dict[str, str], tmp_path: Path) -> None:
    mqtt, amqp = str(free_port()), str(free_port())
    with python(
        "-m", "pylib.tools.cli", "brokers", "--mqtt-port", mqtt, "--amqp-port", amqp, env=bare, folder=tmp_path
    ) as brokers:
        brokers.wait_for("Ctrl-C ends them", timeout=30)
        assert ADDRESS.findall(brokers.output) == [f"mqtt://127.0.0.1:{mqtt}", f"amqp://guest:guest@127.0.0.1:{amqp}/%2F"]
        assert brokers.stop(signal.SIGINT, timeout=2) == 0


def test_pylib_brokers_names_the_port_that_it_cannot_have(bare: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with python(
            "-m", "pylib.tools.cli", "brokers", "--amqp-port", port, "--mqtt-port", "0", env=bare, folder=tmp_path
        ) as brokers:
            assert brokers.wait(30) == 1
            [line] = brokers.output.splitlines()
            assert f"port {port}" in line
            assert "--amqp-port" in line


@pytest.mark.parametrize("command", [["pylib.tools.cli", "brokers"], ["event_processor.cli", "demo"]])
def test_without_the_extra_one_line_says_what_to_install(bare: dict[str, str], tmp_path: Path, command: list[str]) -> None:
    code = f"import sys; sys.modules['pamqp'] = None; import {command[0]} as cli; sys.exit(cli.main([{command[1]!r}]))"
    with python("-c", code, env=bare, folder=tmp_path) as program:
        assert program.wait(30) == 1
        assert "pip install 'pylib-automation[embedded]'" in program.output.splitlines()[-1]
        assert "Traceback" not in program.output


@pytest.mark.alone
def test_both_start_within_150_ms_and_a_test_with_both_takes_300() -> None:
    starts, wholes = [], []
    for _ in range(5):
        began = time.perf_counter()
        with MqttBroker() as mqtt, AmqpBroker() as amqp:
            starts.append(time.perf_counter() - began)
            there_and_back_mqtt(mqtt)
            there_and_back_amqp(amqp)
        wholes.append(time.perf_counter() - began)
    assert statistics.median(starts) <= 0.150
    assert statistics.median(wholes) <= 0.300


def test_publishing_to_nobody_says_so_in_one_line(bare: dict[str, str], tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with python("-m", "event_processor.publish", address, "a", "b", env=bare, folder=tmp_path) as program:
        assert program.wait(30) == 1
        [line] = program.output.splitlines()
        assert line.startswith(f"Nothing was published to {address}: ")
