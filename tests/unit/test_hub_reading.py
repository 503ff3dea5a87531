"""From a delivery to what goes down the pipeline, and back to the same events at its end."""

from __future__ import annotations

import time

import msgspec
import pytest

from event_processor.app import read_mqtt, read_rabbitmq
from event_processor.domain.bodies import from_forwarded
from event_processor.domain.mapping import compile_mapping
from pylib.brokers.port import Delivery
from pylib.errors import DecodeError

DOOR = b'{"input_location": "Front", "input_1": {"input_label": "Door", "sample_value": 97, "active": true}}'


def test_a_sensor_on_mqtt_goes_down_the_pipeline_in_the_shape_of_the_first_listing() -> None:
    message = read_mqtt(())(Delivery("sensor/front/door", DOOR))
    assert isinstance(message, dict)
    assert list(message) == ["sensor/front"]
    assert message["sensor/front"]["data"]["active_devices"][0]["device_key"] == "Front Door"
    (event,) = from_forwarded(message, now=0.0)
    assert (event.device, event.active, event.source, event.retained) == ("Front Door", True, "mqtt", False)


def test_a_retained_message_stays_one_on_its_way() -> None:
    (event,) = from_forwarded(read_mqtt(())(Delivery("sensor/front/door", DOOR, retained=True)), now=0.0)
    assert event.retained


def test_a_message_that_waited_at_its_broker_is_as_old_as_its_properties_say() -> None:
    body = msgspec.msgpack.encode({"data": {"active_devices": [{"device_key": "Front Door"}]}})
    for message in (
        read_mqtt(())(Delivery("sensor/front/door", DOOR, created_at=1000.0)),
        read_rabbitmq(Delivery("event.notify.front", body, created_at=1000.0)),
    ):
        (event,) = from_forwarded(message, now=time.time())
        assert event.created_at == 1000.0


def test_a_plain_payload_is_read_as_its_mapping_says() -> None:
    mapping = compile_mapping("s", topic="zigbee/+/switch", device="{1} switch", type="switch")
    (event,) = from_forwarded(read_mqtt((mapping,))(Delivery("zigbee/hall/switch", b"ON")), now=0.0)
    assert (event.device, event.type, event.active) == ("hall switch", "switch", True)


def test_a_heartbeat_of_an_output_application_is_a_heartbeat_at_the_end_of_the_pipeline() -> None:
    body = msgspec.msgpack.encode({"data": {"device_info": {"outputs": [{"device_key": "Siren", "type": "siren"}]}}})
    events = from_forwarded(read_rabbitmq(Delivery("event.heartbeat.siren", body)), now=0.0)
    assert {event.kind for event in events} == {"heartbeat", "output"}


def test_what_the_hub_says_of_itself_is_not_an_event() -> None:
    assert read_mqtt((), own_topic="event_processor/hub/status")(Delivery("event_processor/hub/status", b"online")) is None


@pytest.mark.parametrize("routing_key", ["event", "event.notify", "event.notify."])
def test_a_short_routing_key_is_one_message_at_fault(routing_key: str) -> None:
    with pytest.raises(DecodeError, match="routing key"):
        read_rabbitmq(Delivery(routing_key, b"\x80"))
