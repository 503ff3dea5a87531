"""The simulated home's threads, on the embedded broker."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from queue import Queue

import pytest
import zmq

from event_processor.simulator.home import Home
from event_processor.simulator.living import SimulatedHome, home_threads
from event_processor.simulator.phone import Phone, listening
from pylib.app import AppThread
from pylib.embedded.mqtt import MqttBroker
from pylib.errors import ConfigError
from pylib.mqtt import MqttSubscriber
from pylib.runtime.runtime import Runtime
from pylib.zmq import Closable


class Heard(AppThread, Closable):
    """What goes over the broker."""

    def __init__(self) -> None:
        AppThread.__init__(self)
        Closable.__init__(self, connect_url="inproc://heard")
        self.queue: Queue[tuple[str, bytes, bool]] = Queue()

    def run(self) -> None:
        while True:
            self.queue.put(self.socket.recv_pyobj())

    def until(self, wanted: Callable[[str, bytes, bool], bool]) -> tuple[str, bytes, bool]:
        while True:
            found = self.queue.get(timeout=20)
            if wanted(*found):
                return found


@pytest.fixture
def heard(runtime: Runtime, mqtt_broker: MqttBroker) -> Heard:
    heard = Heard()
    heard.start()
    MqttSubscriber(
        mqtt_broker.url, ("simulated/#", "homeassistant/#"), sink_url="inproc://heard", client_id="ear", name="ear",
        publish_urls=("inproc://say",), session_expiry=0, decode=lambda d: (d.address, d.body, d.retained),
    ).start()  # fmt: skip
    return heard


def test_it_announces_itself_obeys_and_its_last_wills_follow(runtime: Runtime, mqtt_broker: MqttBroker, heard: Heard) -> None:
    threads = home_threads(mqtt_broker.url, speed=1.0, start=0.0)
    for thread in threads:
        thread.start()
    heard.until(lambda topic, body, _: topic == "homeassistant/device/simulated-siren/config" and b"Hall Siren" in body)
    heard.until(lambda topic, body, _: topic == "simulated/siren/state" and json.loads(body)["state"] == "OFF")
    gateway = next(thread for thread in threads if thread.name == "simulated gateway")
    talker = MqttSubscriber(mqtt_broker.url, sink_url=None, publish_urls=("inproc://talk",), client_id="talker", name="talker")
    talker.start()
    speaker = runtime.sockets.open(zmq.PUSH)
    speaker.connect("inproc://talk")
    speaker.send_pyobj(("simulated/siren/set", "ON"))
    heard.until(lambda topic, body, _: topic == "simulated/siren/state" and json.loads(body)["state"] == "ON")
    speaker.send_pyobj(("homeassistant/status", "online"))
    heard.until(lambda topic, _body, __: topic == "homeassistant/device/simulated-siren/config")
    assert gateway.stop()
    heard.until(lambda topic, body, _: topic == "simulated/gateway/link" and body == b"offline")
    speaker.close()


@pytest.mark.parametrize("speed", [0.0, -1.0, 1e9, float("nan")])
def test_a_speed_that_is_none_is_refused(runtime: Runtime, speed: float) -> None:
    with pytest.raises(ConfigError, match="speed"):
        SimulatedHome(Home(1, start=0.0), speed, {})


def test_the_phone_shows_what_it_is_told_and_refuses_what_is_no_notification(runtime: Runtime) -> None:
    shown: Queue[tuple[str, str]] = Queue()
    server = listening()
    Phone(server, lambda title, text: shown.put((title, text))).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    headers = {"Content-Type": "application/json"}
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        urllib.request.urlopen(urllib.request.Request(url, b"[]", headers), timeout=10)
    refused.value.close()
    note = b'{"title": "Alarm", "message": "A door", "type": "info"}'
    with urllib.request.urlopen(urllib.request.Request(url, note, headers), timeout=10) as answer:
        assert answer.status == 204
    assert shown.get(timeout=10) == ("Alarm", "A door")
