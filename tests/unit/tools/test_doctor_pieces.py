"""The doctor's judgements that need no broker: what answers a connection, versions, topics, settings, words."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pylib.brokers.addresses import Address, Secret, TlsOptions
from pylib.brokers.topics import check_topic, mqtt_matches
from pylib.tools.doctor.findings import CODES, Finding, Report
from pylib.tools.doctor.memory import look_at_settings
from pylib.tools.doctor.mqtt import canary_topic
from pylib.tools.doctor.rabbit import judge_version
from pylib.tools.doctor.reach import reach

SOURCES = Path(__file__).resolve().parents[3] / "src" / "pylib" / "tools" / "doctor"


@contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """Something that accepts, says this and hangs up, as often as it is asked; the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if answer:
                        connection.recv(100)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("scheme", "answer", "code", "fix"),
    [
        # A container's port that is published, with a Mosquitto in it that listens to itself alone.
        ("mqtt", b"", "HANGS-UP", "listener 1883"),
        ("amqp", b"", "HANGS-UP", "log"),
        ("mqtt", b"HTTP/1.1 400 Bad Request\r\n\r\n", "WRONG-PROTOCOL", "1883"),
        ("mqtt", b"AMQP\x00\x00\x09\x01", "WRONG-PROTOCOL", "1883"),
        ("amqp", b"HTTP/1.1 400 Bad Request\r\n\r\n", "WRONG-PROTOCOL", "5672"),
        ("amqp", b"AMQP\x00\x01\x00\x00", "WRONG-PROTOCOL", "5672"),
        ("amqp", b"\x20\x02\x00\x00", "WRONG-PROTOCOL", "5672"),
        ("amqp", b"\x15\x03\x03\x00\x02\x02\x46", "TLS-EXPECTED", "amqps://"),
    ],
)
def test_what_answers_on_the_port_is_recognised(scheme: str, answer: bytes, code: str, fix: str) -> None:
    report = Report()
    with listener(answer) as port:
        address = Address(scheme, "127.0.0.1", port, "hub", Secret("hush"))  # type: ignore[arg-type]
        assert reach(address, TlsOptions(), report) is None
    assert [finding.code for finding in report.findings] == [code]
    assert fix in report.findings[0].fix


def test_a_canary_matches_its_filter_and_is_a_topic() -> None:
    for topic_filter in ("sensor/#", "#", "door/+", "+/state/#", "$share/group/meter/+"):
        topic = canary_topic(topic_filter)
        assert topic is not None
        assert mqtt_matches(topic_filter, check_topic(topic))
        assert "pylib-doctor" in topic
    assert canary_topic("cmnd/siren/POWER") is None, "a message there would set something off"


@pytest.mark.parametrize(
    ("properties", "codes"),
    [
        ({"product": b"RabbitMQ", "version": b"3.10.8"}, ["AMQP-VERSION-OLD"]),
        ({"product": b"RabbitMQ", "version": b"3.13.7"}, []),
        ({"product": b"RabbitMQ", "version": b"4.1.0"}, ["AMQP-VERSION-4"]),
        ({"product": b"LavinMQ", "version": b"2.0"}, ["AMQP-NOT-RABBITMQ"]),
        ({}, []),
    ],
)
def test_versions_of_rabbitmq(properties: dict[str, object], codes: list[str]) -> None:
    report = Report()
    judge_version(properties, "RabbitMQ at x", report)
    assert [finding.code for finding in report.findings] == codes


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("listener 1883\n", ["MQTT-PERSISTENCE"]),
        ("persistence true\n", ["MQTT-AUTOSAVE"]),
        ("persistence true\nautosave_interval 0\n", ["MQTT-AUTOSAVE"]),
        ("# persistence false\npersistence true\nautosave_interval 60\n", []),
        ("include_dir {folder}/conf.d\n", []),
    ],
)
def test_settings_of_mosquitto(tmp_path: Path, text: str, codes: list[str]) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text("persistence true\nautosave_interval 30\n")
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(text.format(folder=tmp_path))
    report = Report()
    look_at_settings(conf, (), report)
    assert [finding.code for finding in report.findings] == codes


def test_every_code_is_used_and_no_other() -> None:
    text = "".join(path.read_text() for path in SOURCES.glob("*.py") if path.name != "findings.py")
    assert set(re.findall(r'"([A-Z][A-Z0-9]+(?:-[A-Z0-9]+)*)"', text)) & set(CODES) == set(CODES)
    with pytest.raises(ValueError, match="not among CODES"):
        Finding(code="OTHER", severity="note", about="", what="", fix="")
