"""``pylib.application`` on a real Mosquitto: one key's messages in order while its handler fails on some of them."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pylib.application import Application, Delivery, Message
from pylib.brokers.retrying import RetryPolicy
from pylib.delivery.dead_letters import DeadLetters
from pylib.runtime.runtime import Runtime
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from tests.system.application_kit import PATIENCE, Got

pytestmark = pytest.mark.timeout(90)

EVENTS = 200
KEYS = 10
QUICK = RetryPolicy(tries=6, first=0.01, longest=0.04)


@pytest.fixture
def app(runtime: Runtime, mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return Application("order")


def publish(mosquitto: Mosquitto, sent: list[tuple[str, bytes]]) -> None:
    """One burst; returns when Mosquitto has all of it."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    for each in [client.publish(topic, payload, qos=1) for topic, payload in sent]:
        each.wait_for_publish(PATIENCE)
    client.disconnect()
    client.loop_stop()


def room_of(delivery: Delivery) -> str:
    return delivery.address.split("/")[1]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_burst_keeps_its_order_per_key_whatever_fails(app: Application, mosquitto: Mosquitto, kind: str) -> None:
    """The key is not the topic: two topics share it, so that retries have to know it as well as the workers."""
    chance = random.Random(7)
    left = Counter({number: chance.choice((0, 0, 0, 0, 1, 3)) for number in range(EVENTS)})
    got = Got()
    mqtt = app.mqtt(mosquitto.address, retry=QUICK)

    def handle(number: int, room: str) -> None:
        if left[number]:
            left[number] -= 1
            raise OSError("this time")
        got.add((room, number))

    if kind == "plain":

        @mqtt.on("rooms/+/+", workers=3, key=room_of)
        def plain(body: int, topic: str) -> None:
            handle(body, topic.split("/")[1])
    else:

        @mqtt.on("rooms/+/+", workers=3, key=room_of)
        async def later(body: int, topic: str) -> None:
            handle(body, topic.split("/")[1])

    app.start()
    assert app.wait_until_ready(PATIENCE), "it did not connect"
    plan = [(str(number % KEYS), number) for number in range(EVENTS)]
    publish(mosquitto, [(f"rooms/{room}/{'door' if number % 3 else 'lamp'}", b"%d" % number) for room, number in plan])
    items = got.wait(EVENTS)
    assert app.stop() == []
    for room in map(str, range(KEYS)):
        assert [number for other, number in got.items if other == room] == [n for other, n in plan if other == room]
    assert len(items) == len(got.items) == EVENTS, "each of them once"
    with closing(DeadLetters(Path(mqtt.options["store"]))) as letters:
        assert letters.count() == 0


def test_a_message_that_no_queue_is_bound_for_can_be_refused(app: Application, mosquitto: Mosquitto, rabbitmq: Vhost) -> None:
    mqtt = app.mqtt(mosquitto.address, retry=QUICK)
    rabbit = app.rabbitmq(rabbitmq.address, exchange="order", reject_unroutable=True)
    handled = Got()

    @mqtt.on("to/nobody")
    def pass_on(body: int) -> Message:
        handled.add(body)
        return rabbit.message("nobody.is.bound", body)

    app.start()
    assert app.wait_until_ready(PATIENCE), "it did not connect"
    publish(mosquitto, [("to/nobody", b"1")])
    handled.wait(1)
    with closing(DeadLetters(Path(mqtt.options["store"]))) as letters:
        end = time.monotonic() + PATIENCE
        while not letters.count():
            assert time.monotonic() < end, "it did not become a dead letter"
            threading.Event().wait(0.01)
        [letter] = letters.list(10)
    assert "nobody.is.bound" in letter.error
    assert app.stop() == []
    assert len(handled.items) == 1, "no further try would help"
