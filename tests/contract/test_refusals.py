"""Being refused: a typed error with one line for the person who has to mend it, and never the password."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from pylib.brokers.addresses import TlsOptions
from pylib.errors import AccessRefused, ConnectFailed, DependencyError
from pylib.testing.certificates import CertificateAuthority
from pylib.testing.contract.port_thread import PortThread
from pylib.testing.mosquitto import Mosquitto, ServerTls
from pylib.testing.plugin import MosquittoFactory, RabbitMQFactory
from pylib.testing.rabbitmq import Vhost
from tests.contract.worlds import MqttWorld, RabbitWorld, World

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(120)]

SECRET = "canary-4711"


def refusal(world: World, address: str, *, tls: TlsOptions | None = None) -> DependencyError:
    """The first thing the port's owner hears, checked for what every such message keeps to."""
    with PortThread(world.port(address, tls=tls, connect_timeout=1.0)) as port:
        port.until(lambda me: len(me.downs) >= 1)
        error, delay = port.downs[0]
        assert port.ups == 0
        assert delay is not None, "it tries again by itself"
    text = str(error)
    assert "\n" not in text
    assert SECRET not in text
    assert SECRET not in repr(error)
    assert "Traceback" not in text
    return error


def test_a_wrong_password_is_named_for_rabbitmq(rabbitmq: Vhost) -> None:
    world = RabbitWorld(rabbitmq.address)
    address = f"amqp://{rabbitmq.user}:{SECRET}@{world.host}:{world.tcp_port}/{rabbitmq.name}"
    error = refusal(world, address)
    assert isinstance(error, AccessRefused)
    assert str(error) == (
        f"RabbitMQ at {world.host}:{world.tcp_port}: user '{rabbitmq.user}' or its password was refused; check both"
    )


def test_a_virtual_host_that_does_not_exist_is_named(rabbitmq: Vhost) -> None:
    world = RabbitWorld(rabbitmq.address)
    address = f"amqp://{rabbitmq.user}:{rabbitmq.password}@{world.host}:{world.tcp_port}/nowhere"
    error = refusal(world, address)
    assert isinstance(error, AccessRefused)
    assert "'nowhere'" in str(error)
    assert rabbitmq.password not in str(error)


def test_a_virtual_host_that_the_user_may_not_enter_is_named(rabbitmq: Vhost) -> None:
    other = rabbitmq.node.fresh_vhost()
    world = RabbitWorld(rabbitmq.address)
    address = f"amqp://{rabbitmq.user}:{rabbitmq.password}@{world.host}:{world.tcp_port}/{other.name}"
    error = refusal(world, address)
    assert isinstance(error, AccessRefused)
    assert f"'{other.name}'" in str(error)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_wrong_password_is_named_for_mqtt(mosquitto_factory: MosquittoFactory, version: str) -> None:
    broker = mosquitto_factory(users={"door": "right"})
    world = MqttWorld(broker.host, broker.port, version=version)
    error = refusal(world, f"mqtt://door:{SECRET}@{broker.host}:{broker.port}")
    assert isinstance(error, AccessRefused)
    assert f"MQTT broker at {broker.host}:{broker.port}: user 'door'" in str(error)
    assert "check user, password and id" in str(error)


def test_a_refused_subscription_is_named() -> None:
    """Mosquitto grants every subscription in its SUBACK, so a scripted broker refuses one (MQTT 5 section 3.9.3)."""
    with scripted([b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x87"]) as tcp_port:
        world = MqttWorld("127.0.0.1", tcp_port)
        with PortThread(world.port(consume=True)) as port:
            port.until(lambda me: len(me.downs) >= 1)
            error = port.downs[0][0]
    assert isinstance(error, AccessRefused)
    assert world.where in str(error)
    assert "permissions" in str(error)


def test_a_closed_port_is_named(world: World) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        error = refusal(world, world.address(taken.getsockname()[1]))
    assert isinstance(error, ConnectFailed)
    assert "connection refused; check that the broker is running and the port is right" in str(error)


def test_an_unknown_host_is_named(world: World) -> None:
    scheme = "amqp" if isinstance(world, RabbitWorld) else "mqtt"
    error = refusal(world, f"{scheme}://u:{SECRET}@no-such-host.invalid")
    assert isinstance(error, ConnectFailed)
    assert "no-such-host.invalid" in str(error)
    assert "check the address" in str(error)


def test_a_web_server_is_not_taken_for_a_broker(world: World) -> None:
    with scripted([b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"], hang_up=True) as tcp_port:
        error = refusal(world, world.address(tcp_port))
    assert isinstance(error, DependencyError)
    assert f"127.0.0.1:{tcp_port}" in str(error)


def test_a_server_that_says_nothing_is_given_up(world: World) -> None:
    with scripted([]) as tcp_port:
        error = refusal(world, world.address(tcp_port))
    assert isinstance(error, ConnectFailed)
    assert f"127.0.0.1:{tcp_port}" in str(error)


# -- TLS --------------------------------------------------------------------------------------------------------------


class TlsBroker(Protocol):
    def __call__(self, tls: ServerTls) -> tuple[World, str, int]: ...


@pytest.fixture(params=["mqtt", "amqp"])
def tls_broker(
    request: pytest.FixtureRequest, mosquitto_factory: MosquittoFactory, rabbitmq_factory: RabbitMQFactory
) -> TlsBroker:
    """Start a broker that serves TLS: its world, the scheme of its addresses and a port of it that speaks no TLS."""

    def make(tls: ServerTls) -> tuple[World, str, int]:
        if request.param == "amqp":
            node = rabbitmq_factory(tls=tls)
            world = RabbitWorld(f"amqp://guest:guest@localhost:{node.tls_port}/%2F")
            return world, f"amqps://guest:guest@localhost:{node.tls_port}", node.port
        broker = mosquitto_factory(tls=tls)
        plain: Mosquitto = mosquitto_factory()
        return MqttWorld("localhost", broker.port), f"mqtts://localhost:{broker.port}", plain.port

    return make


def test_tls_with_a_private_authority_works_and_every_flaw_of_it_is_named(
    tls_broker: TlsBroker, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    world, address, plain = tls_broker(certificate_authority.server_tls())
    right = TlsOptions(ca_file=certificate_authority.ca)
    with PortThread(world.port(address, tls=right)) as port:
        port.until_up()
        port.close()
    other = CertificateAuthority(tmp_path / "other")
    error = refusal(world, address, tls=TlsOptions(ca_file=other.ca))
    assert isinstance(error, AccessRefused)
    assert "certificate is not trusted" in str(error)
    error = refusal(world, address)  # the system's own authorities
    assert isinstance(error, AccessRefused)
    assert "check the CA file" in str(error)
    error = refusal(world, f"{address.partition('//')[0]}//127.0.0.1:{plain}", tls=right)  # no TLS there
    assert isinstance(error, ConnectFailed)
    error = refusal(world, address.replace("mqtts", "mqtt").replace("amqps", "amqp"))  # TLS there, and none spoken
    assert isinstance(error, DependencyError)
    missing = TlsOptions(ca_file=tmp_path / "missing.pem")
    error = refusal(world, address, tls=missing)
    assert "missing.pem" in str(error)


@pytest.mark.parametrize("flaw", ["wrong_host", "expired"])
def test_a_certificate_with_a_flaw_is_refused(
    tls_broker: TlsBroker, certificate_authority: CertificateAuthority, flaw: str
) -> None:
    certificate = getattr(certificate_authority, flaw)()
    world, address, _ = tls_broker(certificate_authority.server_tls(certificate))
    error = refusal(world, address, tls=TlsOptions(ca_file=certificate_authority.ca))
    assert isinstance(error, AccessRefused)
    assert ("expired" if flaw == "expired" else "ostname mismatch") in str(error)


def test_a_client_certificate_opens_the_door_where_one_is_asked_for(
    tls_broker: TlsBroker, certificate_authority: CertificateAuthority
) -> None:
    world, address, _ = tls_broker(certificate_authority.server_tls(require_certificate=True))
    ours = certificate_authority.client()
    options = TlsOptions(ca_file=certificate_authority.ca, cert_file=ours.certificate, key_file=ours.key)
    with PortThread(world.port(address, tls=options)) as port:
        port.until_up()
        port.close()
    error = refusal(world, address, tls=TlsOptions(ca_file=certificate_authority.ca))
    assert isinstance(error, DependencyError)


# -- MQTT 5 and brokers that are too old for it ------------------------------------------------------------------------


def test_where_mqtt_5_is_refused_3_1_1_is_spoken_and_said_once(mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with OldBroker(mosquitto.port) as old:
        world = MqttWorld("127.0.0.1", old.port)
        with PortThread(world.port(consume=True)) as port:
            port.until_up()
            MqttWorld(mosquitto.host, mosquitto.port).send([b"hello"])
            port.until(lambda me: len(me.deliveries) == 1)
            port.settle(port.deliveries)
            old.drop()
            port.until_up(2)
            port.close()
    assert old.levels[:2] == [5, 4]
    assert set(old.levels[1:]) == {4}
    said = [record for record in caplog.records if "going on with MQTT 3.1.1" in record.getMessage()]
    assert len(said) == 1


def test_a_connection_cut_during_the_greeting_is_not_taken_for_an_old_broker_for_ever(mosquitto: Mosquitto) -> None:
    with (
        OldBroker(mosquitto.port, hang_ups=2, refuse_five=False) as proxy,
        PortThread(MqttWorld("127.0.0.1", proxy.port).port()) as port,
    ):
        port.until_up()
        port.close()
    assert proxy.levels[0] == 5
    assert proxy.levels[-1] == 5


def test_nothing_a_broker_sends_ends_the_thread(mosquitto: Mosquitto) -> None:
    """Malformed packets after a good CONNACK: the connection is given up and made again."""
    connack = b"\x20\x03\x00\x00\x00"
    for garbage in (
        b"\x32\x03\x00\x09a",  # a PUBLISH whose topic is longer than the packet
        b"\x32\x02\x00\x00",  # no packet id
        b"\x30\x06\x00\x01a\x02\xff\xff",  # a property that does not exist
        b"\x30\xff\xff\xff\xff\xff",  # a length of five bytes
        b"\x00\x00",  # a packet type that does not exist
        b"\x40\x00",  # a PUBACK without its packet id
        b"\xe0\x00",  # DISCONNECT
        bytes(range(256)),
    ):
        with scripted([connack + garbage]) as tcp_port, PortThread(MqttWorld("127.0.0.1", tcp_port).port()) as port:
            port.until(lambda me: len(me.downs) >= 1)
            assert isinstance(port.downs[0][0], DependencyError)


@contextmanager
def scripted(answers: list[bytes], *, hang_up: bool = False) -> Iterator[int]:
    """A server that gives one answer to each thing it hears, then waits (or hangs up)."""
    listener = socket.create_server(("127.0.0.1", 0))
    peers: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peers.append(peer)
                with suppress(OSError):
                    for answer in answers:
                        peer.recv(4096)
                        peer.sendall(answer)
                if hang_up:
                    peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for peer in peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()
        thread.join(5)


class OldBroker:
    """Stands before Mosquitto and answers MQTT 5's greeting with "unacceptable protocol version" (MQTT 3.1.1 section
    3.2.2.3); anything else passes. ``levels`` are the protocol levels it was greeted with.
    """

    def __init__(self, upstream: int, *, hang_ups: int = 0, refuse_five: bool = True) -> None:
        self._upstream = upstream
        self._hang_ups = hang_ups
        self._refuse_five = refuse_five
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = self._listener.getsockname()[1]
        self.levels: list[int] = []

    def __enter__(self) -> OldBroker:
        self._go(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(5)

    def drop(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _go(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                greeting = client.recv(4096)
                at = greeting.find(b"MQTT")
                level = greeting[at + 4] if at >= 0 else 0
                self.levels.append(level)
                if len(self.levels) <= self._hang_ups:
                    client.close()
                elif level == 5 and self._refuse_five:
                    client.sendall(b"\x20\x02\x00\x01")
                    client.shutdown(socket.SHUT_WR)
                else:
                    broker = socket.create_connection(("127.0.0.1", self._upstream))
                    self._open.append(broker)
                    broker.sendall(greeting)
                    self._go(self._pump, client, broker)
                    self._go(self._pump, broker, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
