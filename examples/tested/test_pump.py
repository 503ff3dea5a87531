"""The pump against a broker in this process, with faults on the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import SimpleQueue

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pump import Pump

from pylib.testing.tester import AppTester


@pytest.fixture
def runs() -> SimpleQueue[float]:
    """For how long the pump ran, each time."""
    return SimpleQueue()


@pytest.fixture
def pump(app: AppTester, runs: SimpleQueue[float]) -> Iterator[Pump]:
    app.watch("garden")
    pump = Pump(app.amqp_line.url, runs.put)
    pump.start()
    assert pump.ready.wait(5)
    yield pump
    pump.stop()


def test_the_pump_runs_and_says_so(app: AppTester, pump: Pump, runs: SimpleQueue[float]) -> None:
    app.publish_amqp("order.pump", {"seconds": 30}, json=True)
    [done] = app.expect("done.pump")
    assert json.loads(done.payload) == {"ran": 30}
    assert runs.get(timeout=5) == 30


def test_an_order_whose_acknowledgement_is_lost_comes_again(app: AppTester, pump: Pump, runs: SimpleQueue[float]) -> None:
    app.amqp_line.cut_after_frames(0, "basic.ack")
    app.publish_amqp("order.pump", {"seconds": 30}, json=True)
    app.expect("done.pump", count=2)
    assert [runs.get(timeout=5), runs.get(timeout=5)] == [30, 30]


def test_the_pump_waits_for_a_broker_that_refuses_it(app: AppTester, pump: Pump, runs: SimpleQueue[float]) -> None:
    app.amqp_line.refuse()
    app.publish_amqp("order.pump", {"seconds": 30}, json=True)
    app.nothing_on("done.pump")
    app.amqp_line.heal()
    app.expect("done.pump")


@pytest.fixture
def failed(app: AppTester) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(app.amqp_url)) as connection:
        yield connection.channel()


def test_an_order_that_is_none_is_a_dead_letter(app: AppTester, pump: Pump, failed: BlockingChannel) -> None:
    app.publish_amqp("order.pump", b"now!")
    for method, properties, body in failed.consume("pump.failed", auto_ack=True, inactivity_timeout=5):
        assert method is not None, "no dead letter came"
        assert properties is not None
        assert properties.headers is not None
        assert (body, properties.headers["x-first-death-reason"]) == (b"now!", "rejected")
        break
