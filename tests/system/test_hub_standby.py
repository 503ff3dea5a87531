"""One hub of a group is active; when it is gone another takes over within seconds, and never two at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from event_processor.standby import Standby
from pylib.brokers.addresses import parse_addresses
from pylib.runtime.runtime import Runtime
from pylib.testing.plugin import FaultProxyFactory
from pylib.testing.rabbitmq import Vhost

PATIENCE = 20.0


@pytest.fixture
def hub(rabbitmq: Vhost) -> Iterator[Callable[..., Standby]]:
    """Make hubs of one group, each with a runtime of its own."""
    with ExitStack() as stack:

        def make(address: str | None = None, exchange_every: float = 600.0) -> Standby:
            runtime = Runtime()
            stack.callback(runtime.stop)
            with runtime.active():
                standby = Standby(
                    parse_addresses(address or rabbitmq.address, scheme="amqp", where="test"), "home", "main",
                    exchange_every=exchange_every,
                )  # fmt: skip
            standby.start()
            return standby

        yield make


def waits(standby: Standby, rabbitmq: Vhost) -> None:
    """Until it is consuming, and waits for its turn."""
    deadline = time.monotonic() + PATIENCE
    up = threading.Event()
    while not any(link.up for thread in standby.runtime.supervisor.members() if thread.link and (link := thread.link())):
        assert time.monotonic() < deadline
        up.wait(0.02)


def test_one_hub_is_active_and_the_other_takes_over_when_it_stops(hub: Callable[..., Standby], rabbitmq: Vhost) -> None:
    first = hub()
    assert first.active.wait(PATIENCE)
    second = hub()
    waits(second, rabbitmq)
    assert not second.active.is_set()
    first.runtime.stop()
    assert second.active.wait(5), "a hub that stopped did not hand over"


def test_a_hub_that_loses_rabbitmq_ends_and_the_other_takes_over(
    hub: Callable[..., Standby], rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(rabbitmq.port)
    first = hub(rabbitmq.address.replace(f":{rabbitmq.port}", f":{proxy.port}"))
    assert first.active.wait(PATIENCE)
    second = hub()
    waits(second, rabbitmq)
    cut = time.monotonic()
    proxy.refuse()
    proxy.reset()
    assert second.active.wait(5)
    assert time.monotonic() - cut < 5
    first.runtime.latch.wait()
    assert first.runtime.exit_code == 1, "a hub that does not know whether it is active went on"


def test_the_token_is_exchanged_before_rabbitmq_loses_patience_and_the_active_one_stays_active(
    hub: Callable[..., Standby], rabbitmq: Vhost
) -> None:
    first = hub(exchange_every=0.2)
    assert first.active.wait(PATIENCE)
    second = hub(exchange_every=0.2)
    waits(second, rabbitmq)
    received = next(thread.link for thread in first.runtime.supervisor.members() if thread.name == "Standby, way in")
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while (link := received()) is None or link.received < 5:  # type: ignore[misc]
        assert time.monotonic() < deadline, "the token is not exchanged"
        pause.wait(0.05)
    assert not second.active.is_set()
    assert not first.runtime.stopping
