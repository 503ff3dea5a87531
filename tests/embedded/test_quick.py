"""What a test with both embedded brokers costs."""

from __future__ import annotations

import statistics
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import pylib
from pylib.testing.processes import run_program

TESTS = """
import paho.mqtt.client as mqtt
import pika
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pylib.embedded.amqp import AmqpBroker
from pylib.embedded.mqtt import MqttBroker
pytest_plugins = ["pylib.testing.plugin"]

@pytest.mark.parametrize("number", range(10))
def test_both(app, number):
    app.watch("garden")
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(app.mqtt_url.rpartition(":")[2]))
    client.loop_start()
    client.publish("a/b", b"1", qos=1)
    app.expect("a/b")
    client.disconnect()
    client.loop_stop()
    with pika.BlockingConnection(pika.URLParameters(app.amqp_url)) as connection:
        connection.channel().basic_publish("garden", "a.b", b"1")
        app.expect("a.b")
"""


@pytest.mark.alone
def test_a_test_with_both_brokers_takes_less_than_300_ms(tmp_path: Path) -> None:
    (tmp_path / "test_both.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=times.xml", "test_both.py"]
    with run_program(command, folder=tmp_path, env={"PYTHONPATH": str(Path(pylib.__file__).parents[1])}) as program:
        assert program.wait(60) == 0, program.output
    # Set-up and clean-up included; the first one starts both brokers.
    times = [float(case.attrib["time"]) * 1000 for case in ElementTree.parse(tmp_path / "times.xml").iter("testcase")]
    print(f"a test with both: first {times[0]:.0f} ms, median {statistics.median(times):.0f} ms")
    assert len(times) == 10
    assert statistics.median(times) <= 300
