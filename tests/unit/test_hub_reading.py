"""From a delivery to what goes down the hub's first pipe."""

from __future__ import annotations

import msgspec
import pytest

from event_processor.domain.heard import Heard
from event_processor.reading import LONGEST_ID, raw_mqtt, read_rabbitmq
from pylib.brokers.port import Delivery
from pylib.errors import DecodeError

DOOR = b'{"input_location": "Front", "input_1": {"input_label": "Door", "sample_value": 97, "active": true}}'


def test_an_mqtt_message_goes_on_as_it_came_and_stays_retained_on_its_way() -> None:
    raw = raw_mqtt()(Delivery("sensor/front/door", DOOR, tag=7, retained=True))
    assert raw is not None
    assert (raw.topic, raw.body, raw.retained, raw.again) == ("sensor/front/door", DOOR, True, False)


def test_a_message_that_waited_at_its_broker_is_as_old_as_its_properties_say() -> None:
    raw = raw_mqtt()(Delivery("sensor/front/door", DOOR, created_at=1000.0))
    assert raw is not None
    assert raw.at == 1000.0
    body = msgspec.msgpack.encode({"data": {"active_devices": [{"device_key": "Front Door"}]}})
    heard = read_rabbitmq(Delivery("event.notify.front", body, created_at=1000.0))
    assert isinstance(heard, Heard)
    assert [event.created_at for event in heard.events] == [1000.0]


def test_what_a_broker_delivers_again_is_known_by_its_packet_and_its_content() -> None:
    take = raw_mqtt()
    first, again = take(Delivery("a/b", b"1", tag=7)), take(Delivery("a/b", b"1", tag=7, redelivered=True))
    other = take(Delivery("a/b", b"1", tag=8))
    assert first is not None and again is not None and other is not None  # noqa: PT018  # for the type checker
    assert (first.again, again.again) == (False, True)
    assert first.origin == again.origin != other.origin


def test_the_id_that_a_sender_has_chosen_is_kept_as_long_as_it_is_no_burden() -> None:
    take, ids = raw_mqtt(), ("a", "b" * LONGEST_ID, "c" * 60_000, "d" * 60_000, "c" * 60_000, "\ud800" * 300)
    raws = [take(Delivery("a/b", b"1", message_id=each)) for each in ids]
    kept = [raw.message_id for raw in raws if raw is not None]
    assert kept[:2] == [*ids[:2]]
    assert max(map(len, kept)) <= LONGEST_ID
    assert kept[2] != kept[3]
    assert kept[2] == kept[4], "the same one is the same one"
    body = msgspec.msgpack.encode({"data": {"active_devices": [{"device_key": "Front Door"}]}})
    heard = read_rabbitmq(Delivery("event.notify.front", body, message_id="c" * 60_000))
    assert isinstance(heard, Heard)
    assert heard.message_id == kept[2]


def test_a_heartbeat_of_an_output_application_is_a_heartbeat_at_the_end_of_the_pipeline() -> None:
    body = msgspec.msgpack.encode({"data": {"device_info": {"outputs": [{"device_key": "Siren", "type": "siren"}]}}})
    heard = read_rabbitmq(Delivery("event.heartbeat.siren", body))
    assert isinstance(heard, Heard)
    assert {event.kind for event in heard.events} == {"heartbeat", "output"}


def test_what_the_hub_says_of_itself_is_not_an_event() -> None:
    own = "event_processor/hub/status"
    assert raw_mqtt(own_topic=own)(Delivery(own, b"online")) is None


@pytest.mark.parametrize("routing_key", ["event", "event.notify", "event.notify."])
def test_a_short_routing_key_is_one_message_at_fault(routing_key: str) -> None:
    with pytest.raises(DecodeError, match="routing key"):
        read_rabbitmq(Delivery(routing_key, b"\x80"))
