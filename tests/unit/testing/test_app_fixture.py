"""The fixture ``app``: it starts, sends, awaits and says what was wrong, on embedded brokers and on real ones."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pika.exceptions import UnroutableError

from pylib.app import ZmqRelay
from pylib.application import Application, Message
from pylib.brokers.retrying import RetryPolicy
from pylib.mqtt import MqttSubscriber
from pylib.rabbit import RabbitMQRelay, ZMQListener
from pylib.testing.tester import AppTester

pytestmark = pytest.mark.timeout(60)

both = pytest.mark.parametrize("app", ["embedded", "real"], indirect=True)


def make_garden(mqtt_url: str, amqp_url: str) -> Application:
    garden = Application("garden")
    mqtt = garden.mqtt(mqtt_url, retry=RetryPolicy(tries=2, first=0.02, longest=0.02))
    rabbit = garden.rabbitmq(amqp_url, exchange="garden")

    @mqtt.on("soil/+/state")
    def water(reading: dict[str, Any], topic: str) -> Message | None:
        if reading["moisture"] < 20:
            return rabbit.message("event.control.pump", {"bed": topic}, expires=90)
        return None

    @rabbit.on("event.control.pump")
    def pump(order: dict[str, Any]) -> Message:
        return mqtt.message("pump/state", {"for": order["bed"]}, retain=True)

    return garden


@both
def test_an_application_is_started_fed_and_seen_on_both_brokers(app: AppTester) -> None:
    app.start(make_garden(app.mqtt_url, app.amqp_url))
    app.publish_mqtt("soil/bed/state", {"moisture": 50})
    app.publish_mqtt("soil/bed/state", {"moisture": 3})
    [order] = app.expect("event.control.pump")
    assert (order.broker, order.exchange, order.body) == ("amqp", "garden", {"bed": "soil/bed/state"})
    assert order.content_type == "application/msgpack"
    assert 0 < int(order.expiration or 0) <= 90_000
    [state] = app.expect("pump/#", where=lambda m: m.body["for"] == "soil/bed/state")
    assert (state.broker, state.qos) == ("mqtt", 1)
    app.nothing_on("#")


@both
def test_what_is_published_to_rabbitmq_by_the_test_is_not_taken_for_the_applications(app: AppTester) -> None:
    app.start(make_garden(app.mqtt_url, app.amqp_url))
    app.publish_amqp("event.control.pump", {"bed": "b"})
    assert [each.body for each in app.expect("pump/state")] == [{"for": "b"}]
    app.nothing_on("event.control.pump")
    with pytest.raises(UnroutableError):
        app.publish_amqp("nobody", {"bed": "b"}, exchange="")


def test_what_came_instead_is_told(app: AppTester) -> None:
    app.start(make_garden(app.mqtt_url, app.amqp_url))
    app.publish_mqtt("soil/bed/state", {"moisture": 3})
    app.expect("pump/state")
    with pytest.raises(AssertionError, match=r"2 messages on event\.control\.pump did not come within 0\.05 s.*amqp garden: "):
        app.expect("event.control.pump", 2, within=0.05)
    with pytest.raises(
        AssertionError, match=r"Nothing should have come on event\.#, and this did: amqp garden: event\.control"
    ):
        app.nothing_on("event.#")


def test_each_message_is_returned_once_and_in_order(app: AppTester) -> None:
    app.start(make_garden(app.mqtt_url, app.amqp_url))
    for bed in "abc":
        app.publish_mqtt(f"soil/{bed}/state", {"moisture": 1})
    assert [each.body["bed"][5] for each in app.expect("event.control.pump", 2)] == ["a", "b"]
    assert [each.body["bed"][5] for each in app.expect("event.control.pump")] == ["c"]


def test_dead_letters_are_waited_for(app: AppTester) -> None:
    app.start(make_garden(app.mqtt_url, app.amqp_url))
    app.publish_mqtt("soil/bed/state", "wet")
    app.publish_mqtt("soil/bed/state", {"moisture": None})
    errors = app.dead_letters(2)
    assert len(errors) == 2
    app.nothing_on("#", within=0.05)


class Answer(ZmqRelay):
    def process(self, message: Any) -> Any:
        ((topic, body),) = message.items()
        return f"event.notify.{topic.rpartition('/')[2]}", body


@both
def test_threads_in_the_form_of_the_first_applications_are_started_and_waited_for(app: AppTester) -> None:
    app.watch("home")
    app.start(
        RabbitMQRelay("inproc://out", app.amqp_url, "home", on_ready=app.ready()),
        Answer("answer", "inproc://in", "inproc://out"),
        MqttSubscriber(app.mqtt_url, "sensor/#", sink_url="inproc://in", on_ready=app.ready()),
    )
    app.publish_mqtt("sensor/door", {"open": True})
    assert [each.body for each in app.expect("event.notify.door")] == [{"open": True}]


def test_a_pipe_is_fed_and_heard(app: AppTester) -> None:
    app.listen("inproc://out")
    app.start(Answer("answer", "inproc://in", "inproc://out"))
    app.send("inproc://in", {"sensor/door": 1})
    assert app.receive("inproc://out") == ("event.notify.door", 1)
    with pytest.raises(AssertionError, match="nothing came down inproc://out"):
        app.receive("inproc://out", within=0.05)


def test_a_listener_gets_what_the_test_publishes(app: AppTester) -> None:
    app.watch("home")
    app.listen("inproc://heard")
    app.start(ZMQListener("inproc://heard", app.amqp_url, "home", "event.#", on_ready=app.ready()))
    app.publish_amqp("event.control.siren", {"on": True})
    assert app.receive("inproc://heard")["siren"]["data"] == {"on": True}


def test_an_application_that_does_not_connect_fails_the_start(app: AppTester) -> None:
    app.mqtt_line.refuse()
    garden = Application("garden")
    garden.mqtt(app.mqtt_line.url).on("a")(lambda body: None)
    with pytest.raises(AssertionError, match=r"garden did not connect in 0\.1 s"):
        app.start(garden, within=0.1)


def test_the_line_to_a_broker_is_scripted_while_the_application_runs(app: AppTester) -> None:
    app.start(make_garden(app.mqtt_line.url, app.amqp_line.url))
    app.amqp_line.drop_frames("basic.ack", direction="to_client")
    app.publish_mqtt("soil/bed/state", {"moisture": 3})
    app.amqp_line.wait_for("basic.ack", direction="to_client")
    app.expect("event.control.pump")
    assert len(app.runtime.receipts) > 0, "acknowledged without a confirm"
    app.amqp_line.reset()
    app.expect("event.control.pump")  # unconfirmed, so published again
    app.settle()


def test_a_test_that_looks_on_at_nothing_is_told_so(app: AppTester) -> None:
    with pytest.raises(AssertionError, match="looks on at: nothing yet"):
        app.expect("a", within=0.01)
    with pytest.raises(ValueError, match="exchange="):
        app.publish_amqp("a", 1)


def test_whoever_publishes_is_seen_library_or_not(app: AppTester) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    url = app.mqtt_url
    connected = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    client.loop_start()
    assert connected.wait(5)
    client.publish("lamp/state", b"ON", qos=1)
    assert [each.body for each in app.expect("lamp/+")] == ["ON"]
    client.disconnect()
    client.loop_stop()
