"""What a user sees who has configured something wrongly: one line that says what to mend, exit code 1, no traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pylib.testing.certificates import CertificateAuthority
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory
from pylib.testing.ports import free_port
from pylib.testing.processes import Program, run_program
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import READY, Home


def complaints(program: Program) -> list[str]:
    """Run the program to its end, and return what it logged at WARNING or above; it has to end with exit code 1."""
    assert program.wait(30) == 1
    assert "Traceback" not in program.output
    records = [json.loads(line) for line in program.output.splitlines()]
    assert not any("exception" in record for record in records)
    return [record["message"] for record in records if record["level"] not in ("DEBUG", "INFO")]


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    return Home.of(tmp_path, mosquitto, rabbitmq)


def one_complaint(home: Home, env: Mapping[str, str], *arguments: str) -> str:
    with home.hub(*arguments, env=env) as hub:
        found = complaints(hub)
        assert len(found) == 1, found
        return found[0]


def test_a_wrong_password_of_rabbitmq_is_named_and_not_shown(home: Home, rabbitmq: Vhost) -> None:
    wrong = rabbitmq.address.replace(rabbitmq.password, "wr0ng")
    complaint = one_complaint(home, {"RABBITMQ_SERVER_ADDRESS": wrong})
    assert f"user {rabbitmq.user!r} or its password was refused; check both" in complaint
    assert "wr0ng" not in complaint


def test_a_wrong_password_of_mosquitto_is_named_and_not_shown(home: Home, mosquitto_factory: MosquittoFactory) -> None:
    broker = mosquitto_factory(users={"hub": "right"})
    wrong = broker.address.replace("right", "wr0ng")
    complaint = one_complaint(home, {"MQTT_SERVER_ADDRESS": wrong})
    assert "user 'hub'" in complaint
    assert "refused" in complaint
    assert "wr0ng" not in complaint


@pytest.mark.parametrize(("option", "who"), [("MQTT_SERVER_ADDRESS", "MQTT"), ("RABBITMQ_SERVER_ADDRESS", "RabbitMQ")])
def test_an_unreachable_port_is_named_when_told_not_to_wait(home: Home, option: str, who: str) -> None:
    port = free_port()
    complaint = one_complaint(home, {option: f"127.0.0.1:{port}"}, "--no-wait")
    assert who in complaint
    assert f"127.0.0.1:{port}: connection refused; check that the broker is running and the port is right" in complaint


@pytest.mark.parametrize("option", ["MQTT_SERVER_ADDRESS", "RABBITMQ_SERVER_ADDRESS"])
def test_a_wrong_host_is_named_when_told_not_to_wait(home: Home, option: str) -> None:
    complaint = one_complaint(home, {option: "no-such-host.invalid"}, "--no-wait")
    assert "no-such-host.invalid" in complaint
    assert "the host name is not known" in complaint


@pytest.mark.parametrize("kind", ["mqtt", "rabbitmq"])
def test_tls_on_a_port_that_speaks_none_is_named(home: Home, mosquitto: Mosquitto, rabbitmq: Vhost, kind: str) -> None:
    if kind == "mqtt":
        env = {"MQTT_SERVER_ADDRESS": f"mqtts://127.0.0.1:{mosquitto.port}"}
    else:
        env = {"RABBITMQ_SERVER_ADDRESS": rabbitmq.address.replace("amqp://", "amqps://")}
    complaint = one_complaint(home, env)
    assert "TLS" in complaint
    assert "check that this is its TLS port" in complaint


def test_a_certificate_that_nobody_vouches_for_is_refused_and_named(
    home: Home, mosquitto_factory: MosquittoFactory, certificate_authority: CertificateAuthority
) -> None:
    broker = mosquitto_factory(tls=certificate_authority.server_tls())
    complaint = one_complaint(home, {"MQTT_SERVER_ADDRESS": f"mqtts://localhost:{broker.port}"})
    assert "its TLS certificate is not trusted" in complaint


def test_a_missing_option_is_named_with_its_file_and_section(home: Home) -> None:
    path = Path(home.env["APP_CONFIG"])
    path.write_text(path.read_text().replace("mq_exchange = test_home", ""))
    complaint = one_complaint(home, {})
    assert complaint.startswith(f"{path}: [rabbitmq] mq_exchange is missing")


def test_a_settings_file_that_is_not_there_is_named(home: Home) -> None:
    complaint = one_complaint(home, {}, "--config", "/no/such/app.conf")
    assert complaint.startswith("/no/such/app.conf")


def test_an_address_that_cannot_be_understood_is_named_by_its_option(home: Home) -> None:
    complaint = one_complaint(home, {"MQTT_SERVER_ADDRESS": "localhost:door"})
    assert "MQTT_SERVER_ADDRESS" in complaint
    assert "port" in complaint


@pytest.mark.parametrize("name", ["siren.py", "thermometer.py"])
def test_an_example_says_as_much_on_one_line(home: Home, rabbitmq: Vhost, name: str) -> None:
    wrong = rabbitmq.address.replace(rabbitmq.password, "wr0ng")
    with home.example(name, env={"RABBITMQ_SERVER_ADDRESS": wrong}) as program:
        found = complaints(program)
    assert len(found) == 1, found
    assert "or its password was refused" in found[0]


@pytest.mark.parametrize("name", ["siren.py", "thermometer.py"])
def test_an_example_told_not_to_wait_ends_when_rabbitmq_is_away(home: Home, name: str) -> None:
    env = {"RABBITMQ_SERVER_ADDRESS": f"127.0.0.1:{free_port()}", "APP_WAIT_FOR_BROKERS": "no"}
    with home.example(name, env=env) as program:
        found = complaints(program)
    assert len(found) == 1, found
    assert "connection refused" in found[0]


def test_a_broker_that_is_away_is_waited_for_and_that_is_said_once(home: Home, mosquitto_factory: MosquittoFactory) -> None:
    broker = mosquitto_factory(start=False)
    with home.hub(env={"MQTT_SERVER_ADDRESS": broker.address}) as hub:
        hub.wait_for("connection refused; check that the broker is running and the port is right; trying again")
        broker.start()
        hub.wait_for(READY, timeout=30)
        assert hub.output.count("connection refused") == 1
        assert hub.stop() == 0


def test_a_password_changed_while_the_hub_is_connected_does_not_end_it(home: Home, rabbitmq: Vhost) -> None:
    with home.running_hub() as hub:
        rabbitmq.node.delete_user(rabbitmq.user)
        rabbitmq.node.close_all_connections()
        hub.wait_for("or its password was refused; check both; trying again until somebody has mended it", timeout=30)
        assert hub.running
        rabbitmq.node.add_user(rabbitmq.user, rabbitmq.password)
        rabbitmq.node.set_permissions(rabbitmq.user, rabbitmq.name)
        assert hub.stop() == 0


def test_check_says_for_each_broker_whether_it_lets_us_in(home: Home) -> None:
    with home.hub("check") as program:
        assert program.wait(30) == 0
        assert "MQTT broker: ok" in program.output
        assert "RabbitMQ: ok" in program.output
    with home.hub("check", env={"MQTT_SERVER_ADDRESS": f"127.0.0.1:{free_port()}"}) as program:
        assert program.wait(30) == 1
        assert "connection refused" in program.output
        assert "RabbitMQ: ok" in program.output


def test_a_wrong_argument_is_said_with_exit_code_2(home: Home) -> None:
    with run_program([sys.executable, "-m", "event_processor.cli", "--nonsense"], env=home.env) as program:
        assert program.wait(30) == 2
        assert "unrecognized arguments: --nonsense" in program.output


def test_a_second_hub_on_the_same_store_is_told_so_in_a_line(home: Home) -> None:
    with home.running_hub():
        complaint = one_complaint(home, {})
    assert "is in use by another hub. Stop that one, or give this one a file of its own" in complaint
