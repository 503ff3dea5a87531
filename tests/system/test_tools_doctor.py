"""``pylib doctor`` against real brokers that are set up wrongly: each mistake is named by its code, with what to do."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pylib.application import Application
from pylib.config import app_config
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import Letter
from pylib.delivery.spool_table import MIGRATIONS
from pylib.observe.control import Control, control_path
from pylib.runtime.runtime import Runtime
from pylib.testing.certificates import CertificateAuthority
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import RabbitMQ, Vhost
from pylib.tools.cli import main
from pylib.tools.doctor.findings import CODES

pytestmark = pytest.mark.leak_check


class Doctor:
    """Runs ``pylib doctor --json`` in this process; the findings by their codes, and the exit code."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.code = -1
        self.well: list[str] = []

    def __call__(self, *arguments: object) -> dict[str, dict[str, str]]:
        self.code = main(["doctor", "--json", "--state-dir", str(self.folder), *map(str, arguments)])
        out, err = self._capsys.readouterr()
        assert err == ""
        report = json.loads(out)
        assert report["healthy"] == (self.code == 0)
        self.well = report["well"]
        for finding in report["findings"]:
            assert finding["code"] in CODES
            assert finding["fix"], finding
            assert "hush" not in json.dumps(finding), "a password is in a finding"
        # Whether somebody sets this machine's clock, and how long the tests' certificates are good, is not the matter here.
        others = ("CLOCK-UNSYNCHRONISED", "TLS-EXPIRES-SOON")
        return {finding["code"]: finding for finding in report["findings"] if finding["code"] not in others}

    def names(self, code: str, fix: str, *arguments: object) -> dict[str, str]:
        """One mistake, named and with its fix: returns the finding."""
        found = self(*arguments)
        assert code in found, f"{code} is not among {sorted(found)}"
        assert fix in found[code]["fix"], found[code]["fix"]
        return found[code]


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.chdir(tmp_path)
    return Doctor(tmp_path / "state", capsys)


def amqp(vhost: Vhost, password: str | None = None, name: str | None = None) -> tuple[str, ...]:
    return "--amqp-address", vhost.node.url(vhost.user, password or vhost.password, name or vhost.name)


# -- well


def test_of_brokers_that_are_set_up_well_nothing_is_an_error(doctor: Doctor, mosquitto: Mosquitto, rabbitmq: Vhost) -> None:
    found = doctor("--mqtt-address", mosquitto.address, "--subscribe", "sensor/#", "--publish", "cmnd/#", *amqp(rabbitmq),
                   "--exchange", "home:topic", "--bind", "event.#", "--queue", "mine")  # fmt: skip
    assert doctor.code == 0, found
    assert {"'sensor/#' may be subscribed to, and delivers", "'cmnd/#' may be published to"} <= {
        line.split(": ", 1)[1] for line in doctor.well
    }
    assert any("mosquitto version 2" in line for line in doctor.well)
    assert any("exchange 'home' is not there yet, and may be declared" in line for line in doctor.well)
    with closing(rabbitmq.connect()) as connection, pytest.raises(Exception, match="NOT_FOUND"):
        connection.channel().exchange_declare("home", passive=True)  # nothing was left behind


# -- ten wrong set-ups, the first five on MQTT


def test_1_a_mosquitto_that_listens_to_its_own_machine_only(doctor: Doctor, mosquitto: Mosquitto) -> None:
    doctor.names("REFUSED", "listener 1883", "--mqtt-address", f"mqtt://127.0.0.2:{mosquitto.port}")
    assert doctor.code == 1


def test_2_a_mosquitto_that_wants_another_password_or_any(doctor: Doctor, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    broker = mosquitto_factory(users={"hub": "hush"})
    wrong = f"mqtt://hub:other@127.0.0.1:{broker.port}"
    assert "user 'hub'" in doctor.names("MQTT-CREDENTIALS", "password_file", "--mqtt-address", wrong)["what"]
    doctor.names("MQTT-ANONYMOUS", "mqtt://user:password@", "--mqtt-address", f"mqtt://127.0.0.1:{broker.port}")
    assert doctor("--mqtt-address", broker.address) == {}


def test_3_an_acl_that_lets_nothing_through(doctor: Doctor, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    broker = mosquitto_factory(users={"hub": "hush"}, acl=["user hub", "topic write sensor/#", "topic read cmnd/#"])
    found = doctor("--mqtt-address", broker.address, "--subscribe", "sensor/#", "--publish", "cmnd/#")
    assert "topic read sensor/#" in found["MQTT-READ-DENIED"]["fix"]
    assert "topic write cmnd/#" in found["MQTT-PUBLISH-DENIED"]["fix"]


def test_4_a_mosquitto_without_persistence_has_forgotten_the_session_after_a_restart(
    doctor: Doctor, mosquitto_factory: Callable[..., Mosquitto]
) -> None:
    forgetful, keeping = mosquitto_factory(persistence=False), mosquitto_factory(persistence=True)
    for broker in (forgetful, keeping):
        assert doctor("--mqtt-address", broker.address) == {}
        assert doctor("--mqtt-address", broker.address) == {}, "the session is there as long as the broker runs"
        broker.terminate()
        broker.start()
    doctor.names("MQTT-FORGETS", "persistence true", "--mqtt-address", forgetful.address)
    assert doctor("--mqtt-address", keeping.address) == {}
    conf = forgetful.folder / "mosquitto.conf"
    doctor.names("MQTT-PERSISTENCE", "autosave_interval 60", "--mqtt-address", keeping.address, "--mosquitto-conf", conf)
    conf = keeping.folder / "mosquitto.conf"
    found = doctor.names("MQTT-AUTOSAVE", "autosave_interval 60", "--mqtt-address", keeping.address, "--mosquitto-conf", conf)
    assert "1800 s" in found["what"]


def test_5_two_clients_with_one_client_id(doctor: Doctor, mosquitto: Mosquitto) -> None:
    doctor.folder.mkdir()
    (doctor.folder / "app.conf").write_text(f"[mqtt]\nserver_address = {mosquitto.address}\nclient_id = twin\n")
    other = paho.Client(CallbackAPIVersion.VERSION2, "twin", protocol=MQTTProtocolVersion.MQTTv5)
    connected = threading.Event()
    other.on_connect = lambda *_: connected.set()
    other.reconnect_delay_set(min_delay=1, max_delay=1)
    other.connect(mosquitto.host, mosquitto.port)
    other.loop_start()
    try:
        assert connected.wait(10)
        found = doctor.names("MQTT-CLIENT-ID-TWICE", "client_id", "--config", doctor.folder / "app.conf", "--take-over")
        assert "'twin'" in found["what"]
    finally:
        other.disconnect()
        other.loop_stop()
    assert doctor("--config", doctor.folder / "app.conf", "--take-over") == {}


def test_6_certificates_that_do_not_fit(doctor: Doctor, mosquitto_factory: Callable[..., Mosquitto], tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    (tmp_path / "other").mkdir()
    stranger = CertificateAuthority(tmp_path / "other")
    good = mosquitto_factory(tls=authority.server_tls())
    at = f"localhost:{good.port}"
    trusted = ("--ca", good.tls.ca if good.tls else "")
    assert doctor("--mqtt-address", f"mqtts://{at}", *trusted) == {}
    doctor.names("TLS-UNKNOWN-CA", "tls_ca", "--mqtt-address", f"mqtts://{at}", "--ca", stranger.server_tls().ca)
    doctor.names("TLS-EXPECTED", "mqtts://", "--mqtt-address", f"mqtt://{at}")
    doctor.names("TLS-MISSING", "TLS port", "--mqtt-address", f"mqtts://localhost:{mosquitto_factory().port}", *trusted)
    for certificate, code, fix in (
        (authority.expired(), "TLS-EXPIRED", "Renew"), (authority.wrong_host(), "TLS-WRONG-HOST", "subjectAltName"),
    ):  # fmt: skip
        bad = mosquitto_factory(tls=authority.server_tls(certificate))
        doctor.names(code, fix, "--mqtt-address", f"mqtts://localhost:{bad.port}", *trusted)
    strict = mosquitto_factory(tls=authority.server_tls(require_certificate=True))
    doctor.names("TLS-CLIENT-CERTIFICATE", "tls_cert", "--mqtt-address", f"mqtts://localhost:{strict.port}", *trusted)


def test_7_addresses_of_the_other_broker(doctor: Doctor, mosquitto: Mosquitto, rabbitmq: Vhost) -> None:
    found = doctor.names("WRONG-PROTOCOL", "1883", "--mqtt-address", f"mqtt://127.0.0.1:{rabbitmq.port}")
    assert "AMQP is spoken" in found["what"]
    # Mosquitto hangs up on what is no MQTT, and says nothing.
    doctor.names("HANGS-UP", "log", "--amqp-address", f"amqp://127.0.0.1:{mosquitto.port}")
    doctor.names("NAME-UNKNOWN", "Correct the name", "--mqtt-address", "mqtt://no-such-broker.invalid")


def test_8_rabbitmq_users_and_virtual_hosts(doctor: Doctor, rabbitmq: Vhost) -> None:
    doctor.names("AMQP-CREDENTIALS", "rabbitmqctl", *amqp(rabbitmq, password="other"))
    doctor.names("AMQP-VHOST-MISSING", "rabbitmqctl add_vhost nowhere", *amqp(rabbitmq, name="nowhere"))
    doctor.names("AMQP-VHOST-DENIED", "set_permissions -p /", *amqp(rabbitmq, name="/"))
    assert "AMQP-VERSION-OLD" in doctor(*amqp(rabbitmq)), "RabbitMQ 3.10 is what the tests run on"


def test_9_exchanges_queues_and_permissions_that_differ(doctor: Doctor, rabbitmq: Vhost) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare("home", "fanout")
        channel.exchange_declare("shut", "topic", durable=True)
        channel.queue_declare("mine", durable=True, arguments={"x-max-length": 7})
    found = doctor(*amqp(rabbitmq), "--exchange", "home:topic", "--queue", "mine")
    assert "'topic' but current is 'fanout'" in found["AMQP-EXCHANGE-DIFFERS"]["what"]
    assert "delete_queue mine" in found["AMQP-QUEUE-DIFFERS"]["fix"]
    rabbitmq.node.set_permissions(
        rabbitmq.user, rabbitmq.name, configure="^amq[.]gen.*", write="^amq[.]gen.*", read="^amq[.]gen.*"
    )
    found = doctor(*amqp(rabbitmq), "--exchange", "shut", "--exchange", "new", "--queue", "hub.queue")
    assert "exchange 'new'" in found["AMQP-EXCHANGE-DENIED"]["what"]
    assert "shut" in found["AMQP-PUBLISH-DENIED"]["fix"]
    assert "shut" in found["AMQP-BIND-DENIED"]["fix"]
    assert "queue 'hub.queue'" in found["AMQP-QUEUE-DENIED"]["what"]


def test_10_a_rabbitmq_with_a_memory_alarm(doctor: Doctor, rabbitmq: Vhost) -> None:
    with closing(rabbitmq.connect()) as connection:
        connection.channel().exchange_declare("home", "topic", durable=True)
    rabbitmq.node.set_vm_memory_high_watermark(0)
    try:
        doctor.names("AMQP-BLOCKED", "vm_memory_high_watermark", *amqp(rabbitmq), "--exchange", "home")
    finally:
        rabbitmq.node.set_vm_memory_high_watermark(0.4)


# -- more


def test_a_broker_that_grants_less_qos(doctor: Doctor, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    broker = mosquitto_factory(extra=["max_qos 1"])
    doctor.names("MQTT-QOS-LOWER", "max_qos", "--mqtt-address", broker.address, "--subscribe", "sensor/#", "--qos", "2")
    assert "MQTT-QOS-LOWER" not in doctor("--mqtt-address", broker.address, "--subscribe", "sensor/#", "--qos", "1")


@pytest.mark.slow
def test_rabbitmq_as_an_mqtt_broker(doctor: Doctor, rabbitmq_factory: Callable[..., RabbitMQ]) -> None:
    node = rabbitmq_factory(plugins=["rabbitmq_mqtt"])
    address = f"mqtt://guest:guest@127.0.0.1:{node.mqtt_port}"
    found = doctor("--mqtt-address", address, "--subscribe", "sensor/#", "--qos", "2")
    assert "no MQTT 5" in found["MQTT-OLD"]["what"]
    assert "QoS 1" in found["MQTT-QOS-LOWER"]["what"]
    assert any("delivers" in line for line in doctor.well)


def test_topics_that_do_not_map(doctor: Doctor, mosquitto: Mosquitto, rabbitmq: Vhost) -> None:
    found = doctor("--mqtt-address", mosquitto.address, "--subscribe", "home/v1.2/+", "--subscribe", "#", "--no-canary",
                   *amqp(rabbitmq), "--exchange", "home", "--bind", "event.kit*", "--bind", "event/#")  # fmt: skip
    assert "'home.v1%2E2.*'" in found["TOPIC-DOTS"]["what"]
    assert "$SYS" in found["TOPIC-DOLLAR"]["what"]
    assert "KEY-WILDCARD" in found
    assert "TOPIC-INVALID" in doctor("--mqtt-address", mosquitto.address, "--subscribe", "a/#/b", "--no-canary")


def test_settings_that_cannot_be_read_or_name_no_broker(doctor: Doctor, tmp_path: Path) -> None:
    doctor.names("CONFIG-NOTHING", "server_address")
    (tmp_path / "app.conf").write_text("nonsense\n[mqtt]\n")
    doctor.names("CONFIG", "Correct", "--config", tmp_path / "app.conf")
    (tmp_path / "app.conf").write_text("[mqtt]\nserver_address = http://x\n[hub]\n[sentry]\ndsn = https://x@y/1\n")
    doctor.names("CONFIG", "Correct", "--config", tmp_path / "app.conf")


def test_a_state_folder_that_others_may_write_with_letters_and_a_spool_in_it(doctor: Doctor, mosquitto: Mosquitto) -> None:
    doctor.folder.mkdir()
    doctor.folder.chmod(0o777)
    letters = DeadLetters(doctor.folder / "delivery.db")
    letters.add(Letter(origin="s", broker="mqtt://x:1", address="a", key="a", body=b"{}", received_at=1.0, error="E: no"))
    letters.close()
    with closing(sqlite3.connect(doctor.folder / "relay.spool")) as spool, spool:
        spool.executescript(MIGRATIONS[0])
        spool.execute("INSERT INTO spool VALUES (1, 10, 0, 1.0, NULL, 'a', x'00')")
        spool.execute("INSERT INTO spool VALUES (2, 2000000000, 0, 1.0, NULL, 'a', x'00')")
    found = doctor("--mqtt-address", mosquitto.address)
    assert "chmod 700" in found["STATE-OPEN"]["fix"]
    assert "pylib dead-letters list" in found["DEAD-LETTERS"]["fix"]
    assert "2 messages" in found["SPOOL-FULL"]["what"]
    os.utime(doctor.folder / "relay.spool", (2**32, 2**32))
    assert "CLOCK-WRONG" in doctor("--mqtt-address", mosquitto.address)
    assert stat.S_IMODE(doctor.folder.stat().st_mode) == 0o777, "it changed what it should only name"


def test_a_state_folder_that_is_none(doctor: Doctor, tmp_path: Path, mosquitto: Mosquitto) -> None:
    doctor.folder.write_text("")
    doctor.names("STATE-PERMISSION", "chown", "--mqtt-address", mosquitto.address)


@pytest.fixture
def second_control(runtime: Runtime, doctor: Doctor) -> Iterator[None]:
    """Somebody of another process number answers in the folder."""
    doctor.folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        for pid in (1, 2):
            control = Control(runtime, control_path(doctor.folder, pid), name=f"app{pid}")
            control._answers["about"] = lambda _, pid=pid: {"name": f"app{pid}", "pid": pid, "since": 1.0}  # type: ignore[misc]
            assert control.start()
            stack.callback(control.close)
        yield


@pytest.mark.usefixtures("second_control")
def test_two_running_applications_that_share_a_state_folder(doctor: Doctor, mosquitto: Mosquitto) -> None:
    found = doctor.names("STATE-SHARED", "state_dir", "--mqtt-address", mosquitto.address)
    assert "app1 (process 1)" in found["what"]


def test_what_the_running_application_complains_of(
    doctor: Doctor, runtime: Runtime, mosquitto_factory: Callable[..., Mosquitto], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(doctor.folder))
    app_config.reset()
    broker = mosquitto_factory()
    app = Application("garden")
    mqtt = app.mqtt(broker.address, client_id="garden")
    mqtt.on("soil/#")(lambda topic: None)
    app.start()
    assert app.wait_until_ready(10)
    assert doctor("--mqtt-address", broker.address) == {}
    assert any("garden: runs, and says that it is well" in line for line in doctor.well)
    with closing(_Twin(broker, "garden")):
        # Which of the two is told, and whether its socket lives long enough to hear why, is a matter of luck at each takeover.
        deadline = time.monotonic() + 45
        while "MQTT-CLIENT-ID-TWICE" not in (found := doctor("--mqtt-address", broker.address)):
            assert time.monotonic() < deadline, found
    assert "client" in found["MQTT-CLIENT-ID-TWICE"]["what"]
    assert "client_id" in found["MQTT-CLIENT-ID-TWICE"]["fix"]
    runtime.stop()


class _Twin:
    """Takes a client id over, and has it."""

    def __init__(self, broker: Mosquitto, client_id: str) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        connected = threading.Event()
        self._client.on_connect = lambda *_: connected.set()
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert connected.wait(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
