"""Receipts through both real brokers: nothing is acknowledged to one before the other has accepted what came of it."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest

from pylib.app import ZmqRelay
from pylib.brokers.retrying import RetryPolicy
from pylib.mqtt import MqttSubscriber
from pylib.rabbit import RabbitMQRelay, ZMQListener
from pylib.runtime.receipts import fail_handling
from pylib.runtime.runtime import Runtime
from pylib.testing.faults import FaultProxy
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import FaultProxyFactory, RabbitMQFactory
from pylib.testing.rabbitmq import RabbitMQ, Vhost
from pylib.zmq import URL_HEARTBEAT_NANNY, URL_MQTT_PUBLISH

pytestmark = pytest.mark.timeout(110)

PATIENCE = 20.0
MOST_TRIES = 4
RELAY = "inproc://rabbit-mq-publisher"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is kept in a folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Turn(ZmqRelay):
    """Makes of a delivery a message for the other side."""

    def __init__(self, source: str, sink: str, target: str) -> None:
        ZmqRelay.__init__(self, "turn", source, sink)
        self._target = target
        self.handled = threading.Semaphore(0)

    def process(self, message: Any) -> Any:
        self.handled.release()
        ((_, body),) = message.items()
        return self._target, body


class Stubborn(ZmqRelay):
    """Fails one message, for whatever reason a handler may have; all others pass."""

    def __init__(self, source: str, sink: str, most_failures: int) -> None:
        ZmqRelay.__init__(self, "stubborn", source, sink)
        self.tries = 0
        self._most = most_failures

    def process(self, message: Any) -> Any:
        ((_, body),) = message.items()
        if body == "poison" and self.tries < self._most:
            self.tries += 1
            fail_handling(RuntimeError("the handler does not like it"))
            return None
        return "event.notify.x", body


def send(broker: Mosquitto, topic: str, *payloads: bytes) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for payload in payloads:
        client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def sensors(mosquitto: Mosquitto, fault_proxy_factory: FaultProxyFactory) -> FaultProxy:
    """The line to the MQTT broker, which counts what is acknowledged."""
    return fault_proxy_factory(mosquitto.port, mosquitto.host)


def pubacks(line: FaultProxy) -> int:
    return line.seen("PUBACK", "to_broker")


def up(thread: Any, ready: threading.Event) -> None:
    thread.start()
    assert ready.wait(PATIENCE), f"{thread.name} did not come up"


@pytest.fixture
def mortal_rabbit(rabbitmq_factory: RabbitMQFactory) -> RabbitMQ:
    """A node of this test's own, with a durable queue that keeps what is published to ``home``."""
    node = rabbitmq_factory()
    with closing(pika.BlockingConnection(pika.URLParameters(node.address))) as connection:
        channel = connection.channel()
        channel.exchange_declare("home", "topic", durable=True)
        channel.queue_declare("kept", durable=True)
        channel.queue_bind("kept", "home", "#")
    return node


def kept(node: RabbitMQ, last: object) -> list[Any]:
    """What the queue holds, until ``last`` comes."""
    with closing(pika.BlockingConnection(pika.URLParameters(node.address))) as connection:
        bodies: list[Any] = []
        for method, _, body in connection.channel().consume("kept", auto_ack=True, inactivity_timeout=PATIENCE):
            assert method is not None, f"{last} does not come after {bodies}"
            bodies.append(msgspec.msgpack.decode(body or b"")["data"])
            if bodies[-1] == last:
                break
        return bodies


def test_an_mqtt_delivery_is_acknowledged_after_rabbitmqs_confirm_and_survives_its_death(
    runtime: Runtime, mosquitto: Mosquitto, sensors: FaultProxy, mortal_rabbit: RabbitMQ
) -> None:
    ready = [threading.Event(), threading.Event()]
    relay = RabbitMQRelay(RELAY, mortal_rabbit.address, "home", "me", on_ready=ready[0].set)
    turn = Turn(URL_HEARTBEAT_NANNY, RELAY, "event.notify.x")
    subscriber = MqttSubscriber(f"mqtt://{sensors.address}", "sensor/#", client_id="receipts", on_ready=ready[1].set)
    up(relay, ready[0])
    turn.start()
    up(subscriber, ready[1])
    send(mosquitto, "sensor/door", b"1")
    assert kept(mortal_rabbit, last=1) == [1]
    deadline = time.monotonic() + PATIENCE
    while pubacks(sensors) < 1:
        assert time.monotonic() < deadline, "a confirmed message is never acknowledged"
        turn.handled.acquire(timeout=0.02)
    mortal_rabbit.kill()
    send(mosquitto, "sensor/door", b"2", b"3")
    assert turn.handled.acquire(timeout=PATIENCE)
    assert not turn.join(0.5)
    assert pubacks(sensors) == 1, "acknowledged before RabbitMQ had it"
    assert len(runtime.receipts) == 2
    mortal_rabbit.start()
    # What was read from the killed node without being remembered there comes again: count each once.
    assert [n for n in dict.fromkeys(kept(mortal_rabbit, last=3)) if n != 1] == [2, 3]
    deadline = time.monotonic() + PATIENCE
    while pubacks(sensors) < 3:
        assert time.monotonic() < deadline
        turn.join(0.02)


def test_an_amqp_delivery_is_acknowledged_after_the_mqtt_brokers_puback(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy: FaultProxy = fault_proxy_factory(mosquitto.port, mosquitto.host)
    ready = [threading.Event(), threading.Event()]
    subscriber = MqttSubscriber(f"mqtt://{proxy.address}", sink_url=None, keepalive=60, on_ready=ready[0].set)
    turn = Turn("inproc://from-rabbit", URL_MQTT_PUBLISH, "device/siren")
    orders = fault_proxy_factory(rabbitmq.address)
    listener = ZMQListener("inproc://from-rabbit", orders.url, "home", "event.#", queue="mine", on_ready=ready[1].set)
    up(subscriber, ready[0])
    turn.start()
    up(listener, ready[1])
    proxy.freeze("to_client")  # the PUBACK does not come back
    with closing(rabbitmq.connect()) as connection:
        connection.channel().basic_publish("home", "event.control.x", msgspec.msgpack.encode("go"))
        assert turn.handled.acquire(timeout=PATIENCE)
        turn.join(0.5)
        assert orders.seen("basic.deliver") == 1
        assert orders.seen("basic.ack", "to_broker") == 0, "acknowledged before the PUBACK"
        proxy.thaw("to_client")
        orders.wait_for("basic.ack", direction="to_broker", timeout=PATIENCE)
        # What RabbitMQ had not taken for acknowledged would be back in its queue.
        assert listener.stop()
        assert connection.channel().queue_declare("mine", passive=True).method.message_count == 0
    assert len(runtime.receipts) == 0


@pytest.mark.parametrize("failures", [MOST_TRIES - 1, MOST_TRIES])
def test_a_failing_handler_is_tried_again_and_its_message_set_aside_after_four_tries(
    runtime: Runtime,
    mosquitto: Mosquitto,
    sensors: FaultProxy,
    rabbitmq: Vhost,
    caplog: pytest.LogCaptureFixture,
    failures: int,
) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare("home", "topic", durable=True)
        queue: str = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "home", "#")
        ready = [threading.Event(), threading.Event()]
        relay = RabbitMQRelay(RELAY, rabbitmq.address, "home", "me", on_ready=ready[0].set)
        stubborn = Stubborn(URL_HEARTBEAT_NANNY, RELAY, failures)
        subscriber = MqttSubscriber(f"mqtt://{sensors.address}", "sensor/#", client_id="receipts", on_ready=ready[1].set,
                                    retry=RetryPolicy(tries=MOST_TRIES))  # fmt: skip
        up(relay, ready[0])
        stubborn.start()
        up(subscriber, ready[1])
        send(mosquitto, "sensor/door", b"poison", b"good")
        arrived: list[Any] = []
        expected = ["good", "poison"] if failures < MOST_TRIES else ["good"]
        for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE):
            assert method is not None, arrived
            arrived.append(msgspec.msgpack.decode(body or b"")["data"])
            if len(arrived) == len(expected):
                break
        assert sorted(arrived) == expected
    deadline = time.monotonic() + PATIENCE
    while pubacks(sensors) < 2:
        assert time.monotonic() < deadline, "not acknowledged in the end"
        stubborn.join(0.02)
    acknowledged = [head[2:] for head in sensors.heads("PUBACK", "to_broker")]
    assert acknowledged == [b"\0\x01", b"\0\x02"], "out of the order of arrival"

    def given_up_on() -> list[str]:
        return [r.getMessage() for r in caplog.records if f"after {MOST_TRIES} tries" in r.getMessage()]

    # Its acknowledgement came with its first failure, which is when it was stored: the verdict comes later.
    while failures == MOST_TRIES and not given_up_on():
        assert time.monotonic() < deadline, "not set aside in the end"
        stubborn.join(0.02)
    given_up = given_up_on()
    assert len(given_up) == (1 if failures == MOST_TRIES else 0)
    assert all("does not like it" in text for text in given_up)
    assert [r for r in caplog.records if "sensor/door" in r.getMessage() and "does not like it" in r.getMessage()]
    assert stubborn.tries == failures
    assert not runtime.stopping
