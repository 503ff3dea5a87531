"""The embedded MQTT broker on its socket: start, end, limits, safety, and this library's own clients on it."""

from __future__ import annotations

import logging
import queue
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from pylib.embedded.mqtt import MqttBroker, MqttLimits
from pylib.errors import ConfigError
from pylib.mqtt import MqttSubscriber
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket
from tests.conformance.mqtt import kit
from tests.conformance.mqtt.kit import Endpoint, Raw, client

PATIENCE = 10.0

pytestmark = pytest.mark.leak_check


@pytest.fixture
def broker() -> Iterator[MqttBroker]:
    with MqttBroker() as made:
        yield made


def at(broker: MqttBroker) -> Endpoint:
    return Endpoint("embedded", broker.host, broker.port)


def test_it_listens_on_a_free_loopback_port_by_default(broker: MqttBroker) -> None:
    assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
    with client(at(broker), "c") as raw:
        raw.expect_nothing()


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_user_and_password(host: str) -> None:
    with pytest.raises(ConfigError, match="give it a user and a password"):
        MqttBroker(host)


@pytest.mark.parametrize(("user", "password"), [("anna", None), (None, "secret")])
def test_half_a_login_is_refused(user: str | None, password: str | None) -> None:
    with pytest.raises(ConfigError, match="both"):
        MqttBroker(user=user, password=password)


def test_an_empty_password_does_not_open_it_to_others() -> None:
    with pytest.raises(ConfigError, match="give it a user and a password"):
        MqttBroker("0.0.0.0", user="anna", password="")


def test_with_a_login_it_may_listen_everywhere() -> None:
    with MqttBroker("0.0.0.0", user="an:na", password="p@ss") as open_to_all:
        assert open_to_all.url == f"mqtt://an%3Ana:p%40ss@0.0.0.0:{open_to_all.port}"
        assert "p@ss" not in repr(open_to_all)
        assert "p%40ss" not in repr(open_to_all)


@pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.9"])
def test_every_loopback_address_is_free(host: str) -> None:
    with MqttBroker(host) as other, client(at(other), "c") as raw:
        raw.expect_nothing()


def test_a_port_in_use_is_an_error_of_start(broker: MqttBroker) -> None:
    second = MqttBroker(port=broker.port)
    with pytest.raises(OSError, match=str(broker.port)):
        second.start()
    second.close()


def test_it_may_be_closed_twice_and_before_it_was_started() -> None:
    MqttBroker().close()
    started = MqttBroker().start()
    started.close()
    started.close()


def test_no_password_and_no_payload_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), MqttBroker(user="anna", password="right-secret") as guarded:
        for password in ("right-secret", "wrong-secret"):
            with Raw(at(guarded)) as raw:
                raw.send(kit.connect("c", user="anna", password=password))
                raw.read()
                raw.send(kit.publish("a", b"payload-secret") + kit.packet(0xF0) + b"rest-secret")
                raw.expect_closed()
    assert "secret" not in caplog.text


def test_an_ordinary_client_is_not_worth_a_line(caplog: pytest.LogCaptureFixture, broker: MqttBroker) -> None:
    with caplog.at_level(logging.INFO), client(at(broker), "c") as raw:
        raw.subscribe(("a", 1))
        raw.send(kit.publish("a", b"x", 1))
        raw.take()
        raw.expect(kit.answer(kit.PUBACK, 1))
        raw.leave()
    assert caplog.text == ""


def test_reset_forgets_everything_and_closes_all_connections(broker: MqttBroker) -> None:
    with client(at(broker), "keeper", clean=False) as raw:
        raw.subscribe(("a", 1))
        raw.publish("kept", b"x", retain=True)
        broker.reset()
        raw.expect_closed()
    with client(at(broker), "keeper", clean=False, present=False) as raw:
        raw.subscribe(("#", 1))
        raw.expect_nothing()


def test_a_will_is_not_published_into_what_a_reset_has_made_new(broker: MqttBroker) -> None:
    with client(at(broker), "lamp", will=kit.Arrived("will", b"gone", retain=True)) as lamp:
        broker.reset()
        lamp.expect_closed()
    with client(at(broker), "c") as raw:
        raw.subscribe(("#", 0))
        raw.expect_nothing()


def test_more_connections_than_allowed_are_closed_at_once() -> None:
    with MqttBroker(limits=MqttLimits(connections=2)) as small, client(at(small), "a"), client(at(small), "b") as second:
        with Raw(at(small)) as third:
            third.expect_closed()
        second.leave()
        with client(at(small), "c") as again:
            again.expect_nothing()


def test_a_client_that_never_greets_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylib.embedded.mqtt.server.CONNECT_DEADLINE", 0.05)
    with MqttBroker() as broker, Raw(at(broker)) as raw:
        raw.send(kit.connect("c")[:-1])
        raw.expect_closed()


def test_nothing_is_read_from_a_client_that_takes_no_answers(broker: MqttBroker) -> None:
    with client(at(broker), "speaker") as speaker:
        speaker.publish("large", b"x" * 1_000_000, retain=True)
    with Raw(at(broker)) as raw:
        raw.send(kit.connect("stuck") + kit.subscribe(("large", 0)) * 100)  # 100 MB of answers
        deadline = time.monotonic() + PATIENCE
        while broker._thread.call(lambda: [line._transport.is_reading() for line in broker._service.lines]) != [False]:
            assert time.monotonic() < deadline
        with client(at(broker), "other") as other:
            other.expect_nothing()
        held = broker._thread.call(lambda: broker.limits.held_bytes - broker._service.broker.budget.free)
        assert held <= 64 * 1024 * 1024
        raw.expect(kit.packet(kit.CONNACK, b"\0\0"))  # and as soon as it takes them, it is served
        raw.expect(kit.packet(kit.SUBACK, b"\0\1\0"))
        assert len(raw.arrived().payload) == 1_000_000


def test_a_clogged_client_that_is_gone_is_found_by_its_keep_alive(broker: MqttBroker) -> None:
    with Raw(at(broker)) as stuck, client(at(broker), "speaker") as speaker:
        speaker.subscribe(("will", 0))
        stuck.send(kit.connect("stuck", keep_alive=1, will=kit.Arrived("will", b"gone")) + kit.subscribe(("flood", 0)))
        for _ in range(200):
            speaker.send(kit.publish("flood", b"x" * 100_000))
        assert speaker.arrived().payload == b"gone"


def test_a_client_that_does_not_read_its_goodbye_is_gone_within_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylib.embedded.mqtt.server.GOODBYE", 0.1)
    with MqttBroker() as broker, Raw(at(broker)) as raw, client(at(broker), "speaker") as speaker:
        raw.send(kit.connect("c") + kit.subscribe(("flood", 0)))
        raw.expect(kit.packet(kit.CONNACK, b"\0\0"))
        raw.expect(kit.packet(kit.SUBACK, b"\0\1\0"))
        for _ in range(100):
            speaker.publish("flood", b"x" * 100_000)
        with client(at(broker), "c"):  # ends the first one, which does not read
            deadline = time.monotonic() + PATIENCE
            while broker.connections != 2:
                assert time.monotonic() < deadline


def test_a_runtime_closes_its_broker_at_the_end_of_its_stop() -> None:
    runtime = Runtime()
    owned = MqttBroker(runtime=runtime).start()
    with client(at(owned), "c") as raw:
        assert runtime.stop() == []
        raw.expect_closed()


def test_paho_with_mqtt_5_is_told_and_with_3_1_1_is_let_in(broker: MqttBroker) -> None:
    told: queue.Queue[str] = queue.Queue()
    for version, answer in ((paho.MQTTv5, "Unsupported protocol version"), (paho.MQTTv311, "Success")):
        made = paho.Client(CallbackAPIVersion.VERSION2, protocol=version)
        made.on_connect = lambda _client, _data, _flags, reason, _properties: told.put(str(reason))
        made.connect(broker.host, broker.port)
        made.loop_start()
        assert told.get(timeout=PATIENCE) == answer
        made.disconnect()
        made.loop_stop()


def test_the_library_s_own_bridge_falls_back_and_works_both_ways(
    runtime: Runtime, broker: MqttBroker, caplog: pytest.LogCaptureFixture
) -> None:
    sink = zmq_socket(zmq.PULL)
    sink.bind("inproc://sink")
    ready = threading.Event()
    with caplog.at_level(logging.WARNING):
        MqttSubscriber(broker.url, "a/#", sink_url="inproc://sink", publish_urls=("inproc://out",), on_ready=ready.set).start()
        assert ready.wait(PATIENCE)
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "it speaks no MQTT 5; going on with MQTT 3.1.1."
    ]
    out = zmq_socket(zmq.PUSH)
    out.connect("inproc://out")
    with client(at(broker), "c") as raw:
        raw.publish("a/b", b'{"on": true}')
        assert sink.recv_pyobj() == {"a/b": {"on": True}}
        raw.subscribe(("said/#", 1))
        out.send_pyobj(("said/so", "yes"))
        message = raw.take()
        assert (message.topic, message.qos) == ("said/so", 1)
    for opened in (sink, out):
        opened.close()


def test_importing_it_starts_nothing() -> None:
    assert [thread.name for thread in threading.enumerate() if "MQTT" in thread.name] == []


@pytest.mark.alone
def test_it_starts_within_75_ms_and_closes_within_200_with_clients_connected() -> None:
    starts, closes = [], []
    for _ in range(5):
        began = time.perf_counter()
        started = MqttBroker().start()
        starts.append(time.perf_counter() - began)
        with ExitStack() as stack:
            clients = [stack.enter_context(client(at(started), f"c{n}")) for n in range(20)]
            clients[0].subscribe(("#", 0))
            clients[1].send(kit.publish("flood", b"x" * 1_000_000) * 5)
            began = time.perf_counter()
            started.close()
            closes.append(time.perf_counter() - began)
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((started.host, at(started).port or 1), 1)
    assert statistics.median(starts) <= 0.075
    assert max(closes) <= 0.2
