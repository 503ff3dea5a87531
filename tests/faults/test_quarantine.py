"""Mosquitto forgets what it acknowledged: killed before it has saved, it loses messages that have their PUBACK."""

from __future__ import annotations

import pytest

from pylib.brokers.addresses import parse_addresses
from pylib.brokers.mqtt_values import MqttOptions
from pylib.brokers.paho import PahoPort
from pylib.brokers.port import Outgoing
from pylib.testing.contract.port_thread import PortThread
from pylib.testing.plugin import MosquittoFactory
from tests.contract.worlds import QUICK, MqttWorld

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(60)]

COUNT = 50


def test_what_a_killed_mosquitto_has_acknowledged_and_not_saved_is_published_again(
    mosquitto_factory: MosquittoFactory,
) -> None:
    broker = mosquitto_factory(persistence=True)  # saved every half hour: the next kill loses everything
    world = MqttWorld(broker.host, broker.port, client_id="reader")
    with PortThread(world.port(consume=True)) as reader:  # a session that outlives its connection
        reader.until_up()
        reader.close()
    broker.restart()  # the session, and nothing else, is on disk
    options = MqttOptions(parse_addresses(broker.address, scheme="mqtt"), "writer", back_off=QUICK)
    with PortThread(PahoPort(options)) as writer:
        writer.until_up()
        writer.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(COUNT)])
        writer.until(lambda me: me.answered(range(COUNT)))
        assert [error for _, error in writer.outcomes if error] == []
        broker.kill()
        broker.start()
        writer.until_up(2)
        with PortThread(world.port(consume=True)) as reader:
            reader.until(lambda me: len({each.body for each in me.deliveries}) == COUNT)
            assert [each.body for each in reader.deliveries][:COUNT] == [b"%d" % n for n in range(COUNT)]
            reader.settle(reader.deliveries)
            reader.close()
        assert len(writer.outcomes) == COUNT, "somebody heard an outcome twice"
        writer.close()
