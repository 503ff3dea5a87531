"""What brokers do to us: restarts, forced closes, alarms, refusals, a second client with our id, what they will not take."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from paho.mqtt.client import MQTTv311

from pylib.brokers.addresses import parse_addresses
from pylib.brokers.backoff import BackOff
from pylib.brokers.mqtt_values import MqttOptions
from pylib.brokers.paho import PahoPort
from pylib.brokers.port import Outgoing
from pylib.errors import AccessRefused, ConnectionLost, Rejected
from pylib.mqtt import MqttSubscriber
from pylib.runtime.runtime import Runtime
from pylib.testing.contract.port_thread import PortThread
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory
from pylib.testing.rabbitmq import RabbitMQ, Vhost
from tests.contract.conftest import Mortal
from tests.contract.test_outages import publish_and_wait
from tests.contract.worlds import QUICK, MqttWorld, RabbitWorld

pytestmark = [pytest.mark.timeout(90)]

PATIENCE = 20.0
SECRET = "canary-4711"


def until_down(port: PortThread, times: int) -> None:
    port.until(lambda me: len(me.downs) >= times)


def test_a_graceful_restart_is_followed_and_nothing_is_lost(brief: Mortal) -> None:
    world = brief.world
    with PortThread(world.port(consume=True)) as port:
        port.until_up()
        publish_and_wait(port, world, range(3))
        brief.terminate()
        port.until(lambda me: len(me.downs) >= 1)
        assert not port.call(lambda: port.port.up)
        port.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(3, 6)])
        brief.start()
        port.until(lambda me: me.answered(range(6)), 60)
        assert [error for _, error in port.outcomes if error] == []
        port.until(lambda me: {b"%d" % n for n in range(6)} <= {each.body for each in me.deliveries})
        port.close()


def test_connections_that_the_node_closes_come_back_with_consumer_and_confirms(
    rabbitmq: Vhost, rabbitmq_node: RabbitMQ
) -> None:
    world = RabbitWorld(rabbitmq.address)
    with PortThread(world.port(consume=True)) as port:
        for round_ in range(1, 4):
            port.until_up(round_)
            first = 5 * (round_ - 1)
            port.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(first, first + 5)])
            rabbitmq_node.close_all_connections("maintenance")
            until_down(port, round_)
        port.until(lambda me: me.answered(range(15)))
        assert "maintenance" in str(port.downs[0][0])
        assert [error for _, error in port.outcomes if error] == []
        port.until(lambda me: {b"%d" % n for n in range(15)} <= {each.body for each in me.deliveries})
        port.close()


def ring(node: RabbitMQ, alarm: str, on: bool) -> None:
    """Set off or clear an alarm, and return when the node says so itself."""
    if alarm == "memory":
        node.set_vm_memory_high_watermark(0 if on else 0.4)
    else:
        node.evaluate(f"ok = rabbit_disk_monitor:set_disk_free_limit({10**15 if on else 10**6})")
    deadline = time.monotonic() + PATIENCE
    while (node.evaluate("rabbit_alarm:get_alarms()") != "[]") != on:
        assert time.monotonic() < deadline, "the alarm does not change"


@pytest.mark.parametrize("alarm", ["memory", "disk"])
def test_an_alarm_pauses_publishing_is_said_once_and_ends_while_consumers_go_on(
    rabbitmq: Vhost, rabbitmq_node: RabbitMQ, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, alarm: str
) -> None:
    caplog.set_level(logging.INFO)
    node = rabbitmq_node
    world = RabbitWorld(rabbitmq.address)
    request.addfinalizer(lambda: ring(node, alarm, on=False))
    with PortThread(world.port()) as publisher, PortThread(world.port(consume=True)) as consumer:
        publisher.until_up()
        consumer.until_up()
        world.send([b"before-%d" % n for n in range(5)])
        consumer.until(lambda me: len(me.deliveries) == 5)
        ring(node, alarm, on=True)
        sent = 0
        deadline = time.monotonic() + PATIENCE
        while not publisher.call(lambda: publisher.port.blocked):  # RabbitMQ says so to who publishes
            assert time.monotonic() < deadline, "RabbitMQ does not say that it blocks us"
            publisher.publish([(Outgoing(world.where, b"%d" % sent), sent)])
            node.evaluate("ok")  # a moment for it to say so
            sent += 1
        publisher.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(sent, sent + 20)])
        sent += 20
        assert publisher.call(lambda: publisher.port.room) == 0
        assert publisher.call(lambda: publisher.port.up)
        # Acknowledgements of a connection that does not publish still get through.
        consumer.settle(consumer.deliveries[:5])
        until_all_acknowledged(rabbitmq, consumer)
        # Longer than the watchdog waits: a blocked connection is not a deaf one.
        with pytest.raises(AssertionError, match="not in time"):
            publisher.until(lambda me: len(me.downs) > 0, 6.5)
        ring(node, alarm, on=False)
        publisher.until(lambda me: me.answered(range(sent)))
        assert publisher.outcomes == [(n, None) for n in range(sent)]
        consumer.until(lambda me: len({each.body for each in me.deliveries}) >= min(sent + 5, 400))
        said = [r.getMessage() for r in caplog.records if "stop publishing" in r.getMessage()]
        assert len(said) == 1, said
        assert publisher.ups == consumer.ups == 1
        publisher.close()
        consumer.close()


def until_all_acknowledged(vhost: Vhost, consumer: PortThread) -> None:
    """Until RabbitMQ has got an acknowledgement for each of the first five deliveries."""
    query = (
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost.name}">>, queue, <<"contract">>)), '
        "[{_, N}] = rabbit_amqqueue:info(Q, [messages_unacknowledged]), N"
    )
    deadline = time.monotonic() + PATIENCE
    while int(vhost.node.evaluate(query)) > len(consumer.deliveries) - 5:
        assert time.monotonic() < deadline, "an alarm holds up the consumer"


# -- two clients with one id -------------------------------------------------------------------------------------------


def mqtt_port(broker: Mosquitto, client_id: str = "twin", back_off: BackOff = QUICK) -> PahoPort:
    return PahoPort(MqttOptions(parse_addresses(broker.address, scheme="mqtt"), client_id, back_off=back_off))


@contextmanager
def broker_that_says(last_words: bytes) -> Iterator[int]:
    """Lets one MQTT 5 client after the other in, confirms its subscription, and says goodbye in these bytes."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    peer, _ = listener.accept()
                except OSError:
                    continue
                with closing(peer):
                    peer.settimeout(2.0)
                    try:
                        peer.recv(1000)
                        peer.sendall(b"\x20\x03\0\0\0")  # CONNACK
                        subscribe = peer.recv(1000)
                        peer.sendall(b"\x90\x04" + subscribe[2:4] + b"\0\0")  # SUBACK
                        peer.sendall(last_words)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join(5)


def test_a_session_that_was_taken_over_is_named_and_not_taken_back_in_a_hurry() -> None:
    """MQTT 5 has a word for it; Mosquitto 2.0.11 does not say it, so a broker of two lines does."""
    slow = BackOff(first=0.01, longest=0.01, refused=5.0)
    with broker_that_says(b"\xe0\x02\x8e\0") as tcp_port:
        options = MqttOptions(parse_addresses(f"mqtt://127.0.0.1:{tcp_port}", scheme="mqtt"), "twin", back_off=slow)
        with PortThread(PahoPort(options)) as port:
            port.until(lambda me: len(me.downs) >= 1)
            error, retry_in = port.downs[0]
            assert isinstance(error, AccessRefused)
            assert "another client uses our client id 'twin'" in str(error)
            assert retry_in == 5.0
            assert not port.call(lambda: port.port.up)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_fight_for_an_id_slows_down_and_the_error_says_what_it_may_be(mosquitto: Mosquitto, version: str) -> None:
    """Where a broker has no word for it, all one sees is connections that do not last."""
    ports = []
    for _ in range(2):
        port = mqtt_port(mosquitto, back_off=BackOff(first=0.05, longest=30.0))
        if version == "3.1.1":
            port._protocol, port._fell_back = MQTTv311, True
        ports.append(port)
    with PortThread(ports[0]) as one, PortThread(ports[1]) as other:
        one.until(lambda me: len(me.downs) >= 5)
        waits = [retry for _, retry in one.downs[:5]]
        assert (waits[4] or 0) >= 4 * (waits[0] or 0), waits
        errors = [error for error, _ in [*one.downs, *other.downs]]
        assert all(isinstance(error, ConnectionLost) for error in errors)
        assert any("does another client use client id 'twin'" in str(error) for error in errors)


def test_an_application_says_in_its_log_that_its_id_may_be_used_twice(
    runtime: Runtime, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ready = threading.Event()
    subscriber = MqttSubscriber(mosquitto.address, sink_url=None, client_id="twin", on_ready=ready.set)
    subscriber.start()
    assert ready.wait(PATIENCE)
    with PortThread(mqtt_port(mosquitto, back_off=BackOff(first=0.3, longest=0.3))):
        deadline = time.monotonic() + PATIENCE
        while not (said := [r for r in caplog.records if "does another client use client id 'twin'" in r.getMessage()]):
            assert time.monotonic() < deadline, "nothing is said"
            subscriber.join(0.02)
        assert said[0].levelno >= logging.WARNING
    assert subscriber.is_alive()
    assert not runtime.stopping


# -- what a broker does not take ---------------------------------------------------------------------------------------


def test_a_message_larger_than_the_broker_takes_is_refused_before_it_is_sent(mosquitto_factory: MosquittoFactory) -> None:
    broker = mosquitto_factory(extra=["max_packet_size 10000"])
    world = MqttWorld(broker.host, broker.port)
    with world.watch() as watcher, PortThread(world.port()) as port:
        port.until_up()
        for n, size in enumerate((10, 9_000, 9_960, 9_990, 10_001, 200_000, 11)):
            port.publish([(Outgoing(world.where, bytes(size)), n)])
        port.until(lambda me: me.answered(range(7)))
        refused = {token: error for token, error in port.outcomes if error is not None}
        assert set(refused) == {3, 4, 5}
        assert all(isinstance(error, Rejected) and "max_packet_size" in str(error) for error in refused.values())
        assert port.ups == 1, "the broker hung up on it"
        assert [len(body) for body in watcher.collect(4)] == [10, 9_000, 9_960, 11]
        port.close()


def test_a_message_larger_than_rabbitmq_takes_is_refused_and_the_others_pass(rabbitmq: Vhost, rabbitmq_node: RabbitMQ) -> None:
    world = RabbitWorld(rabbitmq.address)
    limit = "application:set_env(rabbit, max_message_size, {0}), persistent_term:put(max_message_size, {0})"
    rabbitmq_node.evaluate(limit.format(100_000))
    try:
        with world.watch() as watcher, PortThread(world.port()) as port:
            port.until_up()
            port.publish([(Outgoing(world.where, bytes(10)), 0), (Outgoing(world.where, bytes(200_000)), 1)])
            port.until(lambda me: me.answered([0, 1]))
            port.publish([(Outgoing(world.where, bytes(11)), 2)])
            port.until(lambda me: me.answered([2]))
            assert {token: type(error) for token, error in port.outcomes} == {0: type(None), 1: Rejected, 2: type(None)}
            # The small one was accepted and not confirmed when RabbitMQ closed the channel, so it may come twice.
            sizes = [len(watcher.collect(1)[0])]
            while sizes[-1] != 11:
                sizes += [len(watcher.collect(1)[0])]
            assert set(sizes) == {10, 11}
            port.close()
    finally:
        rabbitmq_node.evaluate(limit.format(134_217_728))


# -- refusals --------------------------------------------------------------------------------------------------------


def test_wrong_credentials_are_tried_slowly_and_no_secret_is_in_any_log_or_error(
    mosquitto_factory: MosquittoFactory, rabbitmq: Vhost, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    broker = mosquitto_factory(users={"me": "right"})
    mqtt = MqttWorld(broker.host, broker.port)
    amqp = RabbitWorld(rabbitmq.address)
    login = f"{rabbitmq.user}:{SECRET}"
    place = f"{amqp.host}:{amqp.tcp_port}"
    for port_of in (
        lambda: mqtt.port(f"mqtt://me:{SECRET}@{broker.host}:{broker.port}"),
        lambda: amqp.port(f"amqp://{login}@{place}/{rabbitmq.name}"),
    ):
        with PortThread(port_of()) as port:
            port.until(lambda me: len(me.downs) >= 3)
            for error, retry_in in port.downs:
                assert isinstance(error, AccessRefused)
                assert SECRET not in str(error) + repr(error) + repr(error.__cause__) + repr(error.__context__)
                assert retry_in is not None
                assert retry_in >= QUICK.refused, "tried again in a hurry"
            assert port.ups == 0
    written = capfd.readouterr()
    assert SECRET not in caplog.text + written.out + written.err
    assert SECRET not in "".join(repr(vars(record)) for record in caplog.records)


def test_rejecting_a_wildcard_or_nul_topic_costs_no_connection(mosquitto: Mosquitto) -> None:
    with PortThread(mqtt_port(mosquitto)) as port:
        port.until_up()
        for topic in ("a\0b", "a/+/b", "a/#", "\ud800", "", "x" * 70_000):
            with pytest.raises(Rejected):
                port.call(lambda topic=topic: port.port.publish(Outgoing(topic, b""), 0))  # type: ignore[misc]
        port.publish([(Outgoing("good", b""), 1)])
        port.until(lambda me: me.answered([1]))
        assert port.ups == 1
        assert port.downs == []
        port.close()
