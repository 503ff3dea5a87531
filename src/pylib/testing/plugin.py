"""The pytest fixtures: private brokers, a fault proxy, certificates, programs and the leak check.

Load it with ``pytest_plugins = ["pylib.testing.plugin"]``. A broker that is not installed fails the test that needs it,
with what to install, everywhere: a skipped test would look like a passed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

from pylib.testing.child import BrokerFailed
from pylib.testing.clock import VirtualClock
from pylib.testing.faults import FaultProxy
from pylib.testing.isolation import LeftBehind, fresh_runtime, leak_check
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.ports import LOOPBACK
from pylib.testing.rabbitmq import RabbitMQ, Vhost

if TYPE_CHECKING:
    from pylib.runtime.runtime import Runtime
    from pylib.testing.certificates import CertificateAuthority

_Broker = TypeVar("_Broker", Mosquitto, RabbitMQ)


class MosquittoFactory(Protocol):
    """``mosquitto_factory(**options)`` returns a started Mosquitto that is ended after the test."""

    def __call__(self, *, start: bool = True, **options: Any) -> Mosquitto: ...


class FaultProxyFactory(Protocol):
    """``fault_proxy_factory(port)`` returns a running proxy in front of a loopback port, stopped after the test."""

    def __call__(self, upstream_port: int, upstream_host: str = ...) -> FaultProxy: ...


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
    if rabbitmq_node.pid is None:
        pytest.fail("The shared RabbitMQ node has ended: an earlier test stopped it.\n" + rabbitmq_node.log_text()[-3000:])
    vhost = rabbitmq_node.fresh_vhost()
    yield vhost
    # A test that broke the node has failed already; its clean-up has nothing to add.
    with suppress(BrokerFailed):
        rabbitmq_node.delete_vhost(vhost.name)
        rabbitmq_node.delete_user(vhost.user)


@pytest.fixture
def fault_proxy_factory() -> Iterator[FaultProxyFactory]:
    """Make proxies that misbehave on request, between a program and its broker."""
    with ExitStack() as stack:

        def make(upstream_port: int, upstream_host: str = LOOPBACK) -> FaultProxy:
            return stack.enter_context(FaultProxy(upstream_port, upstream_host))

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
    try:
        yield
    except LeftBehind as left:
        pytest.fail(str(left), pytrace=False)


def _started(make: Callable[[], _Broker], start: bool, stack: ExitStack) -> _Broker:
    try:
        broker = make()
        stack.callback(broker.close)
        if start:
            broker.start()
    except BrokerFailed as e:
        pytest.fail(str(e), pytrace=False)
    return broker
