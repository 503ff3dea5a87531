"""The pytest fixtures: private brokers, a fault proxy, certificates, programs and the leak check.

Load it with ``pytest_plugins = ["pylib.testing.plugin"]``. A broker that is not installed fails the test that needs it,
with what to install, everywhere: a skipped test would look like a passed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

from pylib.testing.child import BrokerFailed
from pylib.testing.clock import VirtualClock
from pylib.testing.embedded import EmbeddedBrokers
from pylib.testing.faults import FaultProxy
from pylib.testing.isolation import LeftBehind, fresh_runtime, leak_check
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.ports import LOOPBACK
from pylib.testing.rabbitmq import RabbitMQ, Vhost

if TYPE_CHECKING:
    from pylib.embedded.amqp import AmqpBroker
    from pylib.embedded.mqtt import MqttBroker
    from pylib.runtime.runtime import Runtime
    from pylib.testing.certificates import CertificateAuthority
    from pylib.testing.tester import AppTester

_Broker = TypeVar("_Broker", Mosquitto, RabbitMQ)


class MosquittoFactory(Protocol):
    """``mosquitto_factory(**options)`` returns a started Mosquitto that is ended after the test."""

    def __call__(self, *, start: bool = True, **options: Any) -> Mosquitto: ...


class FaultProxyFactory(Protocol):
    """``fault_proxy_factory(port)``, or ``(url)``, returns a running proxy in front of a broker, stopped after the test."""

    def __call__(self, upstream: int | str, upstream_host: str = ...) -> FaultProxy: ...


class RabbitMQFactory(Protocol):
    """``rabbitmq_factory(**options)`` returns a started RabbitMQ node that is ended after the test."""

    def __call__(self, *, start: bool = True, **options: Any) -> RabbitMQ: ...


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of the leak check."""
    config.addinivalue_line("markers", "leak_check: fails when the test leaves a thread or a file descriptor behind")


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail the test when a thread or a file descriptor that it opened is still there two seconds after it.

    Each is named with the line that started or opened it. ``@pytest.mark.leak_check`` asks for it too. ::

        @pytest.mark.leak_check
        def test_the_reader_closes_its_socket():
            Reader("127.0.0.1", 1883).close()
    """
    with _failing_on_leaks(), leak_check():
        yield


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A fresh runtime, current in the test and the process's default, stopped after it.

    The test fails when something of it is left then: a ZeroMQ socket, a thread, a descriptor, a delivery that was never
    settled. Each is named with the line that made it. ::

        def test_a_relay_passes_on_what_it_gets(runtime):
            relay = Doubler("doubler", "inproc://in", "inproc://out")
            relay.start()
            ...
    """
    with _failing_on_leaks(), fresh_runtime() as made:
        yield made


@pytest.fixture(autouse=True)
def _leak_check_when_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("leak_check") is not None:
        request.getfixturevalue("no_leaks")


@pytest.fixture(scope="session")
def _embedded_brokers() -> Iterator[EmbeddedBrokers]:
    brokers = EmbeddedBrokers()
    yield brokers
    brokers.close()


@pytest.fixture
def mqtt_broker(_embedded_brokers: EmbeddedBrokers) -> Iterator[MqttBroker]:
    """An MQTT 3.1.1 broker in this process, empty and on a real socket, there in milliseconds: ``.url``, ``.host``, ``.port``.

    One server serves the whole run and is as new for each test. Needs the extra ``embedded``. ::

        def test_the_lamp_says_that_it_is_on(mqtt_broker):
            lamp = Lamp(mqtt_broker.host, mqtt_broker.port)
            ...
    """
    yield _embedded_brokers.mqtt()
    _embedded_brokers.reset()


@pytest.fixture
def amqp_broker(_embedded_brokers: EmbeddedBrokers) -> Iterator[AmqpBroker]:
    """An AMQP 0-9-1 broker in this process, as pika expects RabbitMQ to be: ``.url``, ``.host``, ``.port``.

    One server serves the whole run and is as new for each test. Needs the extra ``embedded``. ::

        def test_an_order_is_confirmed(amqp_broker):
            connection = pika.BlockingConnection(pika.URLParameters(amqp_broker.url))
            ...
    """
    yield _embedded_brokers.amqp()
    _embedded_brokers.reset()


@pytest.fixture
def mqtt_line(mqtt_broker: MqttBroker) -> Iterator[FaultProxy]:
    """A line to ``mqtt_broker`` that can be cut, frozen and robbed of packets: connect to ``.url``, ``.host``, ``.port``. ::

    def test_a_reading_is_sent_again(mqtt_line):
        meter = Meter(mqtt_line.host, mqtt_line.port)
        mqtt_line.drop_frames("PUBACK")
        meter.report(21.5)
        mqtt_line.wait_for("PUBACK")
        mqtt_line.reset()
        mqtt_line.wait_for("PUBLISH", count=2)
    """
    with FaultProxy.before(mqtt_broker.url) as line:
        yield line


@pytest.fixture
def amqp_line(amqp_broker: AmqpBroker) -> Iterator[FaultProxy]:
    """A line to ``amqp_broker`` that can be cut, frozen, blocked and robbed of frames: connect to ``.url``. ::

    def test_a_worker_comes_back(amqp_line):
        worker = Worker(amqp_line.url)
        amqp_line.cut_after_frames(0, "basic.ack")
        ...
    """
    with FaultProxy.before(amqp_broker.url) as line:
        yield line


@pytest.fixture
def app(
    request: pytest.FixtureRequest,
    runtime: Runtime,
    _embedded_brokers: EmbeddedBrokers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AppTester]:
    """An application between its brokers: start it, send to it, await what it publishes, see that nothing else came.

    The embedded brokers are used; ``@pytest.mark.parametrize("app", ["embedded", "real"], indirect=True)`` runs the test on
    a Mosquitto and a RabbitMQ too. What fails is kept in a folder of the test's own. See ``pylib.testing.tester.AppTester``.
    """
    from pylib.testing.tester import AppTester

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with ExitStack() as brokers:
        mqtt_url, amqp_url = _addresses(request, getattr(request, "param", "embedded"), _embedded_brokers, brokers)
        with closing(AppTester(runtime, mqtt_url, amqp_url)) as tester:
            yield tester


def _addresses(
    request: pytest.FixtureRequest, where: str, embedded: EmbeddedBrokers, stack: ExitStack
) -> tuple[Callable[[], str], Callable[[], str]]:
    """How to come by the two brokers' addresses, each when it is first asked for."""
    if where not in ("embedded", "real"):
        raise pytest.UsageError(f'the fixture app runs on "embedded" or "real" brokers, not on {where!r}')
    stack.callback(embedded.reset)

    def real_rabbit() -> str:
        node: RabbitMQ = request.getfixturevalue("rabbitmq_node")
        vhost = stack.enter_context(_own_vhost(node))
        return vhost.address

    if where == "embedded":
        return cache(lambda: embedded.mqtt().url), cache(lambda: embedded.amqp().url)
    return cache(lambda: _started(Mosquitto, True, stack).address), cache(real_rabbit)


@pytest.fixture
def mosquitto_factory() -> Iterator[MosquittoFactory]:
    """Make Mosquitto processes for one test; ``start=False`` leaves the start to the test."""
    with ExitStack() as stack:

        def make(*, start: bool = True, **options: Any) -> Mosquitto:
            return _started(lambda: Mosquitto(**options), start, stack)

        yield make


@pytest.fixture
def mosquitto(mosquitto_factory: MosquittoFactory) -> Mosquitto:
    """A fresh Mosquitto that lets everybody in."""
    return mosquitto_factory()


@pytest.fixture
def rabbitmq_factory() -> Iterator[RabbitMQFactory]:
    """Make RabbitMQ nodes for one test, about 5 s each: for tests that stop, freeze or reconfigure a node."""
    with ExitStack() as stack:

        def make(*, start: bool = True, **options: Any) -> RabbitMQ:
            return _started(lambda: RabbitMQ(**options), start, stack)

        yield make


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[RabbitMQ]:
    """One RabbitMQ node for the whole run. A test must leave it running and its settings as they were."""
    with ExitStack() as stack:
        yield _started(RabbitMQ, True, stack)


@pytest.fixture
def rabbitmq(rabbitmq_node: RabbitMQ) -> Iterator[Vhost]:
    """A virtual host and user of one test on the shared node: alone in it, and there in 30 ms."""
    with _own_vhost(rabbitmq_node) as vhost:
        yield vhost


@contextmanager
def _own_vhost(node: RabbitMQ) -> Iterator[Vhost]:
    if node.pid is None:
        pytest.fail("The shared RabbitMQ node has ended: an earlier test stopped it.\n" + node.log_text()[-3000:])
    vhost = node.fresh_vhost()
    yield vhost
    # A test that broke the node has failed already; its clean-up has nothing to add.
    with suppress(BrokerFailed):
        node.delete_vhost(vhost.name)
        node.delete_user(vhost.user)


@pytest.fixture
def fault_proxy_factory() -> Iterator[FaultProxyFactory]:
    """Make proxies that misbehave on request, between a program and its broker."""
    with ExitStack() as stack:

        def make(upstream: int | str, upstream_host: str = LOOPBACK) -> FaultProxy:
            proxy = FaultProxy.before(upstream) if isinstance(upstream, str) else FaultProxy(upstream, upstream_host)
            return stack.enter_context(proxy)

        yield make


@pytest.fixture(scope="session")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A private certificate authority with its good and bad certificates."""
    # Imported here, since only tests with TLS need the package `cryptography`.
    from pylib.testing.certificates import CertificateAuthority

    return CertificateAuthority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that moves only by ``advance``."""
    return VirtualClock()


@contextmanager
def _failing_on_leaks() -> Iterator[None]:
    """Report what was left behind as a failure of the test, without the kit's own stack."""
    left = ""
    try:
        yield
    except LeftBehind as found:
        left = str(found)
    if left:
        pytest.fail(left, pytrace=False)


def _started(make: Callable[[], _Broker], start: bool, stack: ExitStack) -> _Broker:
    try:
        broker = make()
        stack.callback(broker.close)
        if start:
            broker.start()
    except BrokerFailed as e:
        pytest.fail(str(e), pytrace=False)
    return broker
