"""One trace from an MQTT publish to an AMQP consume: one trace id, every hop a span. On real brokers."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pika
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from event_processor.settings import load
from pylib.application import Application
from pylib.brokers.port import Delivery
from pylib.config import AppConfig
from pylib.errors import Rejected
from pylib.observe.tracing import configure_tracing
from pylib.runtime.runtime import Runtime
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import RabbitMQ, Vhost
from tests.system.application_kit import PATIENCE, Garden, Got
from tests.system.hub_kit import APP_CONF, DOOR

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
#: Seconds that a stop may take here: how long it takes is another test's.
STOP = 5.0
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def publish(broker: Mosquitto, topic: str, payload: bytes, **user: str) -> None:
    """Publish over MQTT 5 with user properties; returns when Mosquitto has it."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in user.items():
        properties.UserProperty = (name, value)
    client.publish(topic, payload, qos=1, properties=properties).wait_for_publish(PATIENCE)
    client.disconnect()
    client.loop_stop()


def consumed(address: str, exchange: str, kind: str, start: Any) -> tuple[dict[str, Any], bytes]:
    """What a plain consumer finds in the first message of the exchange that follows ``start()``: headers and body."""
    with closing(pika.BlockingConnection(pika.URLParameters(address))) as connection:
        channel = connection.channel()
        channel.exchange_declare(exchange, kind, durable=True)
        channel.queue_declare("mine", exclusive=True)
        channel.queue_bind("mine", exchange, "#" if kind == "topic" else "event.control.siren")
        start()
        for method, properties, body in channel.consume("mine", inactivity_timeout=PATIENCE, auto_ack=True):
            assert method is not None, "nothing arrived"
            return dict((properties and properties.headers) or {}), body or b""
    raise AssertionError("nothing arrived")


def finished(spans: InMemorySpanExporter, enough: int) -> list[ReadableSpan]:
    """The spans, as soon as there are so many: the last one ends with the broker's confirm, which the test does not see."""
    end = time.monotonic() + PATIENCE
    while len(spans.get_finished_spans()) < enough and time.monotonic() < end:
        spans.force_flush()
        _tick()
    return sorted(spans.get_finished_spans(), key=lambda span: span.start_time or 0)


def _tick() -> None:
    threading.Event().wait(0.01)


def is_one_chain(found: list[ReadableSpan], trace: str | None = TRACE) -> None:
    """Every span but the first has its parent among the others, and all have one trace id."""
    idents = {span.context.span_id for span in found if span.context}
    traces = {format(span.context.trace_id, "032x") for span in found if span.context}
    assert len(traces) == 1
    assert trace is None or traces == {trace}
    loose = [span.name for span in found if span.parent is None or span.parent.span_id not in idents]
    assert loose == [found[0].name], f"these hang on nothing: {loose}"


def test_one_trace_leads_from_an_mqtt_publish_through_a_handler_to_an_amqp_consume(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, spans: InMemorySpanExporter
) -> None:
    assert configure_tracing(runtime, "garden", exporter=spans)
    garden = Garden(mosquitto, rabbitmq)
    heard = Got()

    @garden.mqtt.on("soil/+/state")
    def water(reading: dict[str, Any], topic: str) -> Any:
        return garden.rabbit.message("event.control.pump", {"seconds": reading["dry"]})

    @garden.rabbit.on("event.control.#")
    def pump(order: dict[str, Any], delivery: Delivery) -> None:
        heard.add((delivery.headers or {}).get("traceparent"))

    garden.start()
    publish(mosquitto, "soil/7/state", b'{"dry": 3}', traceparent=PARENT, tracestate="vendor=1")
    (there,) = heard.wait(1)
    found = finished(spans, 5)
    is_one_chain(found)
    assert sorted(span.name for span in found) == [
        "pump process", "receive event.control.pump", "receive soil/7/state", "send event.control.pump", "water process",
    ]  # fmt: skip
    assert str(there).split("-")[1] == TRACE
    first = next(span for span in found if span.name.startswith("receive soil"))
    assert first.parent is not None
    assert format(first.parent.span_id, "016x") == PARENT.split("-")[2]
    systems = {str((span.attributes or {}).get("messaging.system", "")) for span in found}
    assert systems == {"", "mqtt", "rabbitmq"}
    assert runtime.stop() == []


def test_a_trace_begins_at_the_first_hop_and_an_async_handler_is_one(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, spans: InMemorySpanExporter
) -> None:
    configure_tracing(runtime, "garden", exporter=spans)
    garden = Garden(mosquitto, rabbitmq)

    @garden.mqtt.on("soil/+/state")
    async def water(reading: dict[str, Any]) -> Any:
        return garden.rabbit.message("event.control.pump", {"seconds": reading["dry"]})

    garden.start()
    headers, _ = consumed(rabbitmq.address, "garden", "topic", lambda: publish(mosquitto, "soil/7/state", b'{"dry": 3}'))
    found = finished(spans, 3)
    is_one_chain(found, trace=None)
    assert [span.name for span in found] == ["receive soil/7/state", "water process", "send event.control.pump"]
    assert headers["traceparent"].split("-")[1] == format(found[0].context.trace_id, "032x")
    assert runtime.stop() == []


def test_what_is_forwarded_keeps_its_trace_and_a_failure_is_an_error_without_the_body(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, spans: InMemorySpanExporter
) -> None:
    configure_tracing(runtime, "garden", exporter=spans)
    garden = Garden(mosquitto, rabbitmq)

    @garden.mqtt.on("soil/+/state")
    def water(body: bytes) -> None:
        raise Rejected(f"cannot use {body!r}: password=hunter2")

    garden.start()
    publish(mosquitto, "soil/7/state", b"secretbody", traceparent=PARENT)
    found = finished(spans, 2)
    is_one_chain(found)
    failed = found[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert "secretbody" not in str(failed.status.description)
    assert "hunter2" not in str(failed.status.description)
    assert (failed.attributes or {})["error.type"] == "Rejected"
    assert runtime.stop() == []


@pytest.mark.parametrize("broken", ["", "nonsense", "00-0-0-01", f"00-{'0' * 32}-{'0' * 16}-01", "x" * 5000])
def test_a_trace_that_is_none_costs_no_message(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, spans: InMemorySpanExporter, broken: str
) -> None:
    configure_tracing(runtime, "garden", exporter=spans)
    app = Application("garden")
    mqtt, heard = app.mqtt(mosquitto.address), Got()
    mqtt.on("soil/+/state")(lambda body: heard.add(body))
    app.start()
    assert app.wait_until_ready(PATIENCE)
    publish(mosquitto, "soil/7/state", b'{"dry": 3}', traceparent=broken)
    assert heard.wait(1) == [{"dry": 3}]
    is_one_chain(finished(spans, 2), trace=None)
    assert runtime.stop() == []


@pytest.fixture
def hub_config(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> AppConfig:
    (tmp_path / "app.conf").write_text(APP_CONF.format(expiry=90) + "\n[web]\nenabled = no\n")
    environ = {
        "APP_CONFIG": str(tmp_path / "app.conf"), "DEVICE_NAME": "test-device", "MQTT_SERVER_ADDRESS": mosquitto.address,
        "RABBITMQ_SERVER_ADDRESS": rabbitmq.address, "HUB_DATABASE": str(tmp_path / "hub.db"),
        "STATE_DIRECTORY": str(tmp_path),
    }  # fmt: skip
    return AppConfig(tmp_path / "app.conf", environ)


def test_one_trace_leads_through_the_whole_hub(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, spans: InMemorySpanExporter, hub_config: AppConfig,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    from event_processor.app import build

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    configure_tracing(runtime, "hub", exporter=spans)
    hub = build(load(hub_config), runtime, device="test-device")
    hub.start()
    assert hub.ready.wait(PATIENCE)
    headers, body = consumed(
        rabbitmq.address, hub.settings.rabbitmq.control_exchange, "direct",
        lambda: publish(mosquitto, "sensor/front/door", DOOR.encode(), traceparent=PARENT),
    )  # fmt: skip
    assert headers["traceparent"].split("-")[1] == TRACE
    assert body
    found = [span for span in finished(spans, 5) if span.context and format(span.context.trace_id, "032x") == TRACE]
    is_one_chain(found)
    assert [span.name for span in found] == [
        "receive sensor/front/door", "HeartbeatFilter process", "EventProcessor process", "StoreWriter process",
        "send event.control.siren",
    ]  # fmt: skip
    assert runtime.stop(STOP) == []
