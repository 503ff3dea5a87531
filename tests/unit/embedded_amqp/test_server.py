"""The server as a program uses it: over sockets, with pika."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pika
import pytest
from pamqp import commands, frame
from pika.exceptions import ConnectionClosedByBroker

from pylib.embedded.amqp import AmqpBroker, Limits
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime
from tests.unit.embedded_amqp.driver import PROTOCOL_HEADER

pytestmark = pytest.mark.leak_check


def _connect(broker: AmqpBroker, vhost: str = "/") -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(broker.url_of(vhost)))


def test_a_message_goes_through() -> None:
    with AmqpBroker() as broker, _connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"hello", pika.BasicProperties(headers={"a": [1, {"b": None}]}))
        assert broker.queues()["q"].ready == 1
        method, properties, body = channel.basic_get("q")
        assert method is not None
        assert properties is not None
        assert (body, properties.headers) == (b"hello", {"a": [1, {"b": None}]})
        channel.basic_ack(method.delivery_tag or 0)
        channel.queue_declare("q", passive=True)
        assert (broker.queues()["q"].unacked, broker.memory()) == (0, 0)


def test_clients_are_told_when_it_closes() -> None:
    broker = AmqpBroker().start()
    connection = _connect(broker)
    broker.close()
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.process_data_events(5)
    assert caught.value.reply_code == 320


def test_it_closes_although_a_client_does_not_read() -> None:
    with AmqpBroker() as broker, _connect(broker) as publisher:
        channel = publisher.channel()
        channel.queue_declare("q")
        for _ in range(10):
            channel.basic_publish("", "q", b"x" * 1_000_000)
        channel.queue_declare("q", passive=True)
        with socket.create_connection(("127.0.0.1", broker.port)) as stuck:
            stuck.sendall(
                PROTOCOL_HEADER
                + frame.marshal(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), 0)
                + frame.marshal(commands.Connection.TuneOk(10, 131072, 0), 0)
                + frame.marshal(commands.Connection.Open("/"), 0)
                + frame.marshal(commands.Channel.Open(), 1)
                + frame.marshal(commands.Basic.Consume(queue="q"), 1)
            )
            while not broker.queues()["q"].unacked:
                channel.queue_declare("q", passive=True)
            # It is given no more than the sockets and the server's bound hold.
            assert broker.queues()["q"].ready > 0
            publisher.close()
            broker.close()


@pytest.mark.alone
def test_it_starts_and_closes_at_once() -> None:
    began = time.perf_counter()
    broker = AmqpBroker().start()
    started = time.perf_counter()
    connections = [_connect(broker) for _ in range(10)]
    closing = time.perf_counter()
    broker.close()
    assert started - began < 0.075
    assert time.perf_counter() - closing < 0.2
    for connection in connections:
        with pytest.raises(pika.exceptions.AMQPError):
            connection.process_data_events(5)


def test_it_can_be_asked_what_is_in_it_and_emptied() -> None:
    with AmqpBroker(vhosts=("other",)) as broker, _connect(broker, "other") as connection:
        channel = connection.channel()
        channel.exchange_declare("x")
        channel.queue_declare("q", durable=True)
        cancelled: list[object] = []
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume("q", lambda *_: None)
        state = broker.queues("other")["q"]
        assert (state.ready, state.consumers, state.durable) == (0, 1, True)
        assert "x" in broker.exchanges("other")
        assert broker.connections() == 1
        broker.reset()
        assert broker.queues("other") == {}
        assert "x" not in broker.exchanges("other")
        connection.process_data_events(5)
        assert cancelled
        channel.queue_declare("q")


def test_only_loopback_is_served_without_credentials_of_ones_own() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigError, match="user and a password of your own"):
            AmqpBroker(host)
        with pytest.raises(ConfigError, match="user and a password of your own"):
            AmqpBroker(host, user="me")
    with AmqpBroker("0.0.0.0", user="me", password="a long one") as broker:
        parameters = pika.ConnectionParameters("127.0.0.1", broker.port, credentials=pika.PlainCredentials("me", "a long one"))
        pika.BlockingConnection(parameters).close()
    with pytest.raises(ConfigError, match="not empty"):
        AmqpBroker(user="me", password="")


def test_the_password_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pylib")
    with AmqpBroker(user="me", password="hush-hush") as broker:
        with _connect(broker):
            pass
        wrong = pika.ConnectionParameters("127.0.0.1", broker.port, credentials=pika.PlainCredentials("me", "wrong-one"))
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(wrong)
        assert "hush-hush" not in repr(broker) + repr(broker._core)
        assert "hush-hush" in broker.url
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("pylib")]
    assert not any("hush" in each or "wrong-one" in each for each in logged)


def test_an_address_that_is_taken_is_said_to_the_caller() -> None:
    with AmqpBroker() as broker, pytest.raises(OSError, match="in use"):
        AmqpBroker(port=broker.port).start()


def test_a_runtime_closes_it_after_everything_else(runtime: Runtime) -> None:
    broker = AmqpBroker(runtime=runtime).start()
    connection = _connect(broker)
    assert runtime.stop() == []
    assert runtime.exit_code == 0
    with pytest.raises(ConnectionClosedByBroker):
        connection.process_data_events(5)
    with pytest.raises(RuntimeError, match="not running"):
        broker.queues()


def test_one_connection_too_many_is_told_why() -> None:
    refused = pytest.raises(pika.exceptions.ProbableAccessDeniedError, match=r"530.*connection limit \(1\) is reached")
    with AmqpBroker(limits=Limits(connections=1)) as broker, _connect(broker), refused:
        _connect(broker)


def test_a_blocked_publisher_goes_on_when_there_is_room() -> None:
    blocked = threading.Event()
    with AmqpBroker(limits=Limits(memory=200_000)) as broker, _connect(broker) as publisher, _connect(broker) as consumer:
        publisher.add_on_connection_blocked_callback(lambda *_: blocked.set())
        channel = publisher.channel()
        channel.queue_declare("q")
        for _ in range(3):
            channel.basic_publish("", "q", b"x" * 100_000)
        while not blocked.is_set():
            publisher.process_data_events(5)
        drained = consumer.channel()
        while drained.basic_get("q", auto_ack=True)[0] is not None:
            pass
        # Answered, so what the server had left unread is read again.
        assert channel.queue_declare("q", passive=True).method.message_count <= 1


def test_garbage_on_a_socket_costs_that_socket_alone() -> None:
    with AmqpBroker() as broker, _connect(broker) as connection:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x01\x00\x00", b"\x00" * 100):
            with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as raw:
                raw.sendall(garbage)
                answer = b""
                while chunk := _receive(raw):
                    answer += chunk
                assert answer == b"AMQP\x00\x00\x09\x01"
        connection.channel().queue_declare("still here")


def _receive(raw: socket.socket) -> bytes:
    try:
        return raw.recv(100)
    except ConnectionResetError:  # it was closed with our bytes unread
        return b""
