"""``pylib.rabbit`` on a real RabbitMQ: the classes that applications know, and what they promise."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pika
import pika.exceptions
import pytest
import zmq
from pika.adapters.blocking_connection import BlockingChannel

from pylib.app import AppThread
from pylib.brokers.addresses import TlsOptions
from pylib.errors import DependencyError, MessageError, Rejected
from pylib.rabbit import MQConnection, RabbitMQRelay, ZMQListener
from pylib.runtime.runtime import Runtime
from pylib.testing.certificates import CertificateAuthority
from pylib.testing.plugin import FaultProxyFactory, RabbitMQFactory
from pylib.testing.rabbitmq import Vhost
from pylib.zmq import Closable, zmq_socket

pytestmark = pytest.mark.timeout(90)

URL = "inproc://app-thread"
PATIENCE = 15.0


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is kept in a folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Sink(AppThread, Closable):
    """Keeps what comes down the pipe."""

    def __init__(self, url: str = URL, handle: Callable[[Any], None] | None = None) -> None:
        AppThread.__init__(self, name="sink")
        Closable.__init__(self, connect_url=url)
        self.got: list[Any] = []
        self._handle = handle
        self._changed = threading.Condition()

    def run(self) -> None:
        while True:
            message = self.socket.recv_pyobj()
            with self._changed:
                self.got.append(message)
                self._changed.notify_all()
            if self._handle is not None:
                self._handle(message)

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, timeout), self.got
            return list(self.got)


class Idle(MQConnection, Closable):
    """The post's shape: a thread that sits in ``recv_pyobj`` and has a connection at its side."""

    def __init__(self, address: str, exchange: str = "home", kind: str = "topic", **named: Any) -> None:
        MQConnection.__init__(self, mq_server_address=address, mq_exchange_name=exchange, mq_exchange_type=kind, **named)
        Closable.__init__(self, connect_url="inproc://idle")

    def run(self) -> None:
        while True:
            self.socket.recv_pyobj()


@contextmanager
def channel_of(vhost: Vhost) -> Iterator[BlockingChannel]:
    with closing(vhost.connect()) as connection:
        yield connection.channel()


def bound(channel: BlockingChannel, exchange: str, kind: str = "topic", key: str = "#", **named: Any) -> str:
    channel.exchange_declare(exchange, kind, durable=True)
    queue: str = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, key, **named)
    return queue


def take(channel: BlockingChannel, queue: str) -> tuple[Any, pika.BasicProperties, bytes]:
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE):
        assert method is not None, "no message arrived in time"
        assert properties is not None
        return method, properties, body or b""
    raise AssertionError("cancelled")


def started_listener(address: str, exchange: str, key: str | tuple[str, ...] = "#", **named: Any) -> ZMQListener:
    ready = threading.Event()
    listener = ZMQListener(URL, address, exchange, key, on_ready=ready.set, **named)
    listener.start()
    assert ready.wait(PATIENCE), "the listener did not come up"
    return listener


def sender(url: str) -> Any:
    pipe = zmq_socket(zmq.PUSH)
    pipe.connect(url)
    return pipe


# -- constructing ------------------------------------------------------------------------------------------------------


def test_the_relay_raises_pikas_connection_error_when_nobody_answers(runtime: Runtime) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(pika.exceptions.AMQPConnectionError) as caught:
            RabbitMQRelay("inproc://relay", f"amqp://me:canary-4711@127.0.0.1:{port}", "home", "siren")
    assert isinstance(caught.value, DependencyError)
    assert "connection refused" in str(caught.value)
    assert "canary" not in f"{caught.value!s}{caught.value!r}"


def test_the_relay_tries_its_addresses_in_turn_and_names_all_when_none_answers(runtime: Runtime, rabbitmq: Vhost) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"amqp://127.0.0.1:{taken.getsockname()[1]}"
        relay = RabbitMQRelay("inproc://relay", [dead, rabbitmq.address], "home", "siren")
        assert relay.device_topic == "siren"
        with pytest.raises(pika.exceptions.AMQPConnectionError, match=r"refused.*; .*refused"):
            RabbitMQRelay("inproc://relay2", [dead, dead], "home", "siren")


def test_the_relays_trial_connection_is_closed_again(runtime: Runtime, rabbitmq: Vhost) -> None:
    RabbitMQRelay("inproc://relay", rabbitmq.address, "home", "siren")
    user = f'[{{user, <<"{rabbitmq.user}">>}}]'
    ours = f"[P || P <- rabbit_networking:connections(), rabbit_networking:connection_info(P, [user]) =:= {user}]"
    deadline = time.monotonic() + PATIENCE
    while rabbitmq.node.evaluate(f"length({ours})") != "0":
        assert time.monotonic() < deadline, "the trial connection is still open"


def test_a_stop_interrupts_the_relays_constructor(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        silent.settimeout(PATIENCE)
        peers: list[socket.socket] = []

        def stop_once_connected() -> None:
            peers.append(silent.accept()[0])
            runtime.trip()

        stopper = threading.Thread(target=stop_once_connected)
        stopper.start()
        started = time.monotonic()
        with pytest.raises(pika.exceptions.AMQPConnectionError, match="stopped while connecting"):
            RabbitMQRelay("inproc://relay", f"127.0.0.1:{silent.getsockname()[1]}", "home", "siren")
        assert time.monotonic() - started < 2.0
        stopper.join(PATIENCE)
        for peer in peers:
            peer.close()
    caplog.clear()  # pika logs exceptions, and their frames hold the half-made relay


def test_the_listeners_constructor_neither_connects_nor_raises(runtime: Runtime) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0.2)
        ZMQListener(URL, f"127.0.0.1:{server.getsockname()[1]}", "home", "event.#")
        with pytest.raises(TimeoutError):
            server.accept()
    ZMQListener(URL, "no-such-host.invalid", "home", "event.#", name="another")


def test_the_relay_with_wait_goes_on_trying(runtime: Runtime, rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(rabbitmq.port)
    proxy.refuse()
    address = rabbitmq.address.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
    ready = threading.Event()
    relay = RabbitMQRelay("inproc://relay", address, "home", "siren", wait=True, on_ready=ready.set)
    relay.start()
    proxy.heal()
    assert ready.wait(PATIENCE)


# -- exchanges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "key"), [("topic", "event.control.#"), ("direct", "event.control.siren"), ("fanout", "")])
def test_messages_pass_through_each_kind_of_exchange(runtime: Runtime, rabbitmq: Vhost, kind: str, key: str) -> None:
    sink = Sink()
    sink.start()
    started_listener(rabbitmq.address, "home", key, mq_exchange_type=kind)
    relay = RabbitMQRelay("inproc://relay", rabbitmq.address, "home", "siren", kind)
    relay.start()
    sender("inproc://relay").send_pyobj(("event.control.siren", {"trigger": True}))
    (message,) = sink.wait_for(1)
    assert list(message) == ["siren"]
    assert message["siren"]["data"] == {"trigger": True}


def test_a_headers_exchange_is_declared_and_published_to(runtime: Runtime, rabbitmq: Vhost) -> None:
    with channel_of(rabbitmq) as channel:
        queue = bound(channel, "by-header", "headers", arguments={"x-match": "any-with-x", "none": 1})
        relay = RabbitMQRelay("inproc://relay", rabbitmq.address, "by-header", "siren", "headers")
        relay.start()
        channel.queue_bind(queue, "by-header", "", {"x-match": "all"})  # matches every message
        sender("inproc://relay").send_pyobj(("event.notify.x", b"raw"))
        method, properties, body = take(channel, queue)
        assert (method.routing_key, body) == ("event.notify.x", b"raw")
        assert properties.message_id
        assert properties.delivery_mode == 2


def test_an_exchange_that_is_not_durable_is_taken_as_it_is_with_one_warning(
    runtime: Runtime, rabbitmq: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    with channel_of(rabbitmq) as channel:
        channel.exchange_declare("old", "topic", durable=False)
        sink = Sink()
        sink.start()
        started_listener(rabbitmq.address, "old", "event.#")
        relay = RabbitMQRelay("inproc://relay", rabbitmq.address, "old", "siren")
        relay.start()
        sender("inproc://relay").send_pyobj(("event.notify.siren", [1, 2]))
        (message,) = sink.wait_for(1)
        assert message["siren"]["data"] == [1, 2]
    rabbitmq.node.close_all_connections()
    with channel_of(rabbitmq) as channel:
        deadline = time.monotonic() + PATIENCE
        while len(sink.got) < 2:
            assert time.monotonic() < deadline, "nothing passes after the connections were closed"
            channel.basic_publish("old", "event.notify.siren", msgspec.msgpack.encode([3]))
            channel.connection.process_data_events(0.05)
    warnings = [r.getMessage() for r in caplog.records if "exists with other properties" in r.getMessage()]
    assert len(warnings) == 2, "one for the listener, one for the relay"
    assert all("'old'" in text for text in warnings)


def test_a_non_durable_exchange_is_made_again_after_its_broker_lost_it(
    runtime: Runtime, rabbitmq_factory: RabbitMQFactory
) -> None:
    node = rabbitmq_factory()
    with closing(pika.BlockingConnection(pika.URLParameters(node.address))) as connection:
        connection.channel().exchange_declare("old", "topic", durable=False)
    ready = threading.Semaphore(0)
    relay = RabbitMQRelay("inproc://relay", node.address, "old", "siren", on_ready=ready.release)
    relay.start()
    assert ready.acquire(timeout=PATIENCE)
    node.restart()
    assert ready.acquire(timeout=PATIENCE)
    with closing(pika.BlockingConnection(pika.URLParameters(node.address))) as connection:
        channel = connection.channel()
        queue: str = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "old", "#")
        sender("inproc://relay").send_pyobj(("event.notify.siren", b"after"))
        assert take(channel, queue)[2] == b"after"


def test_without_permission_to_declare_an_existing_exchange_is_used(runtime: Runtime, rabbitmq: Vhost) -> None:
    with channel_of(rabbitmq) as channel:
        queue = bound(channel, "home")
        rabbitmq.node.set_permissions(rabbitmq.user, rabbitmq.name, configure="^$")
        relay = RabbitMQRelay("inproc://relay", rabbitmq.address, "home", "siren")
        relay.start()
        sender("inproc://relay").send_pyobj(("event.notify.siren", b"x"))
        assert take(channel, queue)[2] == b"x"


def test_what_neither_exists_nor_may_be_made_is_an_error_that_says_so(runtime: Runtime, rabbitmq: Vhost) -> None:
    rabbitmq.node.set_permissions(rabbitmq.user, rabbitmq.name, configure="^$")
    listener = ZMQListener(URL, rabbitmq.address, "missing", "event.#", reconnect=False)
    listener.start()
    listener.join(PATIENCE)
    assert not listener.is_alive()
    assert runtime.latch.cause is not None
    assert "exchange 'missing' does not exist and may not be declared" in str(runtime.latch.cause.exception)


# -- time to live ------------------------------------------------------------------------------------------------------


def test_x_message_ttl_becomes_the_expiration_of_each_message(runtime: Runtime, rabbitmq: Vhost) -> None:
    with channel_of(rabbitmq) as channel:
        queue = bound(channel, "control", "direct", "event.control.siren")
        idle = Idle(rabbitmq.address, "control", "direct", mq_arguments={"x-message-ttl": 90 * 1000})
        idle.start()
        idle._basic_publish("event.control.siren", {"trigger": True})
        _, properties, body = take(channel, queue)
        assert properties.expiration is not None
        assert 80_000 < int(properties.expiration) <= 90_000
        assert properties.content_type == "application/msgpack"
        assert msgspec.msgpack.decode(body)["data"] == {"trigger": True}
        assert properties.timestamp is not None
        assert abs(properties.timestamp - time.time()) < 60


def test_a_message_past_its_life_is_never_delivered_through_an_outage_either(
    runtime: Runtime, rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = fault_proxy_factory(rabbitmq.port)
    address = rabbitmq.address.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
    with channel_of(rabbitmq) as channel:
        queue = bound(channel, "control", "direct", "event.control.siren")
        idle = Idle(address, "control", "direct", mq_arguments={"x-message-ttl": 300})
        idle.start()
        idle._basic_publish("event.control.siren", b"first", wait=True)
        assert take(channel, queue)[2] == b"first"
        proxy.refuse()
        idle._basic_publish("event.control.siren", b"late")
        ended = threading.Event()
        assert not ended.wait(0.5)  # its life of 0.3 s passes while the broker is away
        proxy.heal()
        deadline = time.monotonic() + PATIENCE
        while True:  # after the outage
            try:
                idle._basic_publish("event.control.siren", b"fresh", wait=PATIENCE)
                break
            except MessageError:  # this one too ran out of time
                assert time.monotonic() < deadline
        assert take(channel, queue)[2] == b"fresh"
    assert any("expired before it could be sent" in r.getMessage() for r in caplog.records)


def test_a_message_that_waited_in_the_queue_past_its_life_is_not_handed_on(runtime: Runtime, rabbitmq: Vhost) -> None:
    sink = Sink()
    sink.start()
    started_listener(rabbitmq.address, "home", "event.#")
    with channel_of(rabbitmq) as channel:
        old = pika.BasicProperties(headers={"expires-at": str(time.time() - 1)})
        channel.basic_publish("home", "event.notify.siren", msgspec.msgpack.encode("old"), old)
        channel.basic_publish("home", "event.notify.siren", msgspec.msgpack.encode("new"))
    assert sink.wait_for(1) == [{"siren": "new"}]


# -- publishing and waiting --------------------------------------------------------------------------------------------


def test_publishing_returns_at_once_and_waiting_returns_after_the_confirm(runtime: Runtime, rabbitmq: Vhost) -> None:
    idle = Idle(rabbitmq.address)
    idle.start()
    idle._basic_publish(routing_key="event.notify.a", event_payload={"a": 1}, wait=True)
    started = time.monotonic()
    for _ in range(100):
        idle._basic_publish("event.notify.a", {"a": 1})
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("key", "payload", "reason"),
    [("x" * 256, {}, "AMQP allows 255"), ("a\0b", {}, "NUL"), ("event.notify.a", {"a": object()}, "object")],
)
def test_waiting_raises_what_was_wrong_with_the_message(
    runtime: Runtime, rabbitmq: Vhost, key: str, payload: object, reason: str
) -> None:
    idle = Idle(rabbitmq.address)
    idle.start()
    if "object" in reason:
        payload = {"a": Unsendable()}
        reason = "Unsendable"
    with pytest.raises(Rejected, match=reason):
        idle._basic_publish(key, payload, wait=True)
    idle._basic_publish("event.notify.a", {"a": 1}, wait=True)
    assert not runtime.stopping


class Unsendable:
    """Travels between threads and has no form on a wire."""


def test_waiting_ends_with_an_error_while_rabbitmq_is_away(runtime: Runtime) -> None:
    idle = Idle("127.0.0.1:9")
    idle.start()
    started = time.monotonic()
    with pytest.raises((TimeoutError, DependencyError)):
        idle._basic_publish("event.notify.a", {}, wait=0.2)
    assert time.monotonic() - started < 2.0


def test_several_threads_publish_and_wait_at_once(runtime: Runtime, rabbitmq: Vhost) -> None:
    with channel_of(rabbitmq) as channel:
        queue = bound(channel, "home")
        idle = Idle(rabbitmq.address)
        idle.start()
        errors: list[BaseException] = []

        def publish(number: int) -> None:
            try:
                for n in range(20):
                    idle._basic_publish(f"event.notify.{number}", b"%d" % n, wait=True)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert errors == []
        seen: dict[str, list[int]] = {}
        for _ in range(100):
            method, _, body = take(channel, queue)
            seen.setdefault(method.routing_key, []).append(int(body))
        assert seen == {f"event.notify.{number}": list(range(20)) for number in range(5)}


def test_heartbeats_are_served_while_run_sits_in_recv_pyobj_and_every_pipe_is_idle(
    runtime: Runtime, rabbitmq_factory: RabbitMQFactory, caplog: pytest.LogCaptureFixture
) -> None:
    # RabbitMQ hangs up on a client that is silent for two intervals.
    node = rabbitmq_factory()
    sink = Sink()
    sink.start()
    idle = Idle(node.address)
    idle._link._options = replace(idle._link._options, heartbeat=1)
    idle.start()
    idle._basic_publish("event.notify.a", b"", wait=True)
    intervals = "[rabbit_networking:connection_info(P, [timeout]) || P <- rabbit_networking:connections()]"
    assert "{timeout, 1}" in node.evaluate(intervals)
    assert not threading.Event().wait(4.0)  # four heartbeat intervals in which nothing is sent
    idle._basic_publish("event.notify.a", b"", wait=True)
    assert "missed heartbeats" not in node.log_text()
    assert not [r for r in caplog.records if "lost" in r.getMessage()]


# -- what a listener hands on ------------------------------------------------------------------------------------------


def test_malformed_messages_are_set_aside_with_key_and_reason_and_the_good_ones_pass(
    runtime: Runtime, rabbitmq: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Sink()
    sink.start()
    listener = started_listener(rabbitmq.address, "home", "#")
    bad = {
        "event.notify.two-bytes": b"\x01\x02",
        "event.notify.cut": b"\xa1",
        "event.notify.not-utf8": b"\xa1\xff",
        "event.notify.empty": b"",
        "event.notify.deep": b"\x91" * (1 << 20),
        "event.notify.huge-claim": b"\xdd\xff\xff\xff\xff",
        "short.key": msgspec.msgpack.encode({"a": 1}),
        "shorter": msgspec.msgpack.encode({"a": 1}),
    }
    good = [{"a": 1}, [1, 2], 7, None, "ON", {"timestamp": 1.5, "data": {"a": 1}}]
    with channel_of(rabbitmq) as channel:
        for n, (key, body) in enumerate(bad.items()):
            channel.basic_publish("home", key, body)
            channel.basic_publish("home", f"event.notify.good-{n}", msgspec.msgpack.encode(good[n % len(good)]))
        json_type = pika.BasicProperties(content_type="application/json")
        channel.basic_publish("home", "event.notify.bad-json", b'{"a": ', json_type)
        channel.basic_publish("home", "event.notify.last", b'{"a": 1}', json_type)
        messages = sink.wait_for(len(bad) + 1)
        assert [next(iter(message)) for message in messages] == [*(f"good-{n}" for n in range(len(bad))), "last"]
        assert listener.is_alive()
        said = [r.getMessage() for r in caplog.records if "set aside" in r.getMessage()]
        for key in [*bad, "event.notify.bad-json"]:
            assert len([text for text in said if key in text]) == 1, (key, said)
        # All of them are acknowledged: none waits in the queue to come again.
        deadline = time.monotonic() + PATIENCE
        while runtime.receipts.open_receipts:
            assert time.monotonic() < deadline
    assert not runtime.stopping


def test_what_cannot_be_published_is_set_aside_with_its_key_and_reason_and_the_good_ones_pass(
    runtime: Runtime, rabbitmq: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    with channel_of(rabbitmq) as channel:
        queue = bound(channel, "home")
        relay = RabbitMQRelay("inproc://relay", rabbitmq.address, "home", "siren")
        relay.start()
        pipe = sender("inproc://relay")
        bad: list[Any] = [
            "no tuple", None, (), ("alone",), (1, 2), ("a", "b", "c", "d"),
            ("event.bad.nul\0", {}), ("event.bad.long" + "x" * 300, {}), ("event.bad.\ud800", {}),
            ("event.bad.object", Unsendable()), ("event.bad.created", {}, "yesterday"), {"event.bad.dict": 1},
        ]  # fmt: skip
        for n, message in enumerate(bad):
            pipe.send_pyobj(message)
            pipe.send_pyobj((f"event.good.{n}", {"n": n}))
        pipe.send(b"not a pickle")
        pipe.send(b"")
        pipe.send_pyobj(("event.good.last", {}))
        keys = [take(channel, queue)[0].routing_key for _ in range(len(bad) + 1)]
        assert keys == [*(f"event.good.{n}" for n in range(len(bad))), "event.good.last"]
        assert relay.is_alive()
        said = [r.getMessage() for r in caplog.records if "set aside" in r.getMessage()]
        assert len(said) == len(bad) + 2, said
        for key in ("event.bad.nul", "event.bad.long", "event.bad.object", "event.bad.created"):
            assert len([text for text in said if key in text]) == 1, (key, said)
        assert not [text for text in said if "\0" in text]
    assert not runtime.stopping


# -- TLS, user, password and permissions -------------------------------------------------------------------------------


def test_tls_with_a_private_authority_user_password_and_permissions(
    runtime: Runtime, rabbitmq_factory: RabbitMQFactory, certificate_authority: CertificateAuthority
) -> None:
    node = rabbitmq_factory(tls=certificate_authority.server_tls())
    vhost = node.fresh_vhost()
    tls = TlsOptions(ca_file=certificate_authority.ca)
    sink = Sink()
    sink.start()
    started_listener(vhost.tls_address, "home", "event.#", tls=tls)
    relay = RabbitMQRelay("inproc://relay", vhost.tls_address, "home", "siren", tls=tls)
    relay.start()
    sender("inproc://relay").send_pyobj(("event.notify.siren", {"a": 1}))
    assert sink.wait_for(1)[0]["siren"]["data"] == {"a": 1}
    with pytest.raises(pika.exceptions.AMQPConnectionError, match="password was refused") as caught:
        RabbitMQRelay("inproc://other", vhost.tls_address.replace(vhost.password, "canary"), "home", "x", tls=tls)
    assert "canary" not in str(caught.value)
    assert isinstance(caught.value, DependencyError)


def test_a_lost_connection_ends_the_application_where_that_was_asked_for(runtime: Runtime, rabbitmq: Vhost) -> None:
    ready = threading.Event()
    relay = RabbitMQRelay("inproc://relay", rabbitmq.address, "home", "siren", reconnect=False, on_ready=ready.set)
    relay.start()
    assert ready.wait(PATIENCE)
    rabbitmq.node.close_all_connections()
    relay.join(PATIENCE)
    assert runtime.stopping
    assert runtime.exit_code == 1


def test_a_quorum_queue_is_had_by_option_and_delivers(runtime: Runtime, rabbitmq: Vhost) -> None:
    sink = Sink()
    sink.start()
    started_listener(rabbitmq.address, "home", quorum=True, queue="siren")
    with channel_of(rabbitmq) as channel:
        channel.basic_publish("home", "event.control.siren", msgspec.msgpack.encode({"sound": True}))
        assert sink.wait_for(1) == [{"siren": {"sound": True}}]
    kinds = rabbitmq.node.ctl("list_queues", "-p", rabbitmq.name, "--silent", "name", "type")
    assert kinds.split() == ["siren", "quorum"]
