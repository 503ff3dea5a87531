"""The simulated home as a pure generator: believable, repeatable, and understood by the hub's own discovery."""

from __future__ import annotations

import json
import struct
import zlib
from datetime import UTC, datetime

import pytest

from event_processor.discovery.discovery import Discovery
from event_processor.domain.bodies import from_rabbitmq
from event_processor.simulator import Home, Sent
from event_processor.simulator.forgetting import topics
from event_processor.simulator.living import morning
from event_processor.simulator.values import RABBITMQ

MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAY = 24 * HOUR


def states(messages: list[Sent], device: str) -> list[dict]:
    return [json.loads(bytes(m.payload)) for m in messages if m.topic == f"simulated/{device}/state"]  # type: ignore[arg-type]


def understood(messages: list[Sent]) -> Discovery:
    discovery = Discovery()
    for message in messages:
        if isinstance(message.payload, bytes):
            found = discovery.read(message.topic, message.payload, retained=message.retained, now=MONDAY)
            assert found.problems == ()
    return discovery


def test_the_same_seed_lives_the_same_day_however_it_is_asked_for() -> None:
    whole = Home(7, start=MONDAY)
    at_once = whole.until(MONDAY + DAY)
    pieces = Home(7, start=MONDAY)
    in_pieces = [m for minute in range(0, 1441, 7) for m in pieces.until(MONDAY + minute * 60)] + pieces.until(MONDAY + DAY)
    assert in_pieces == at_once
    assert Home(8, start=MONDAY).until(MONDAY + DAY) != at_once
    assert whole.until(MONDAY) == []  # what is past is past
    assert whole.next_due > MONDAY + DAY


def test_every_device_announces_itself_so_that_the_hub_knows_its_room_its_unit_and_who_says_that_it_is_there() -> None:
    registry = understood(Home(1, start=MONDAY).announcements()).registry
    devices = list(registry.devices.values())
    assert len(devices) == 16
    assert {device.room for device in devices} >= {"Hall", "Kitchen", "Bathroom", "Bedroom", "Living Room", "Cellar"}
    flow = registry.entity("House Water flow")
    assert flow is not None
    assert flow.unit == "L/min"
    for key in ("Hall Light", "Coffee Machine", "Hall Siren", "Water Valve", "Living Room Heating"):
        entity = registry.entity(key)
        assert entity is not None
        assert entity.role == "both"


def test_a_day_has_its_rhythm() -> None:
    told = Home(1, start=MONDAY).until(MONDAY + DAY)
    assert [each["presence"] for each in states(told, "phone")] == ["not_home", "home"]
    doors = [each["contact"] for each in states(told, "entrance_door")]
    assert doors == ["ON", "OFF"] * (len(doors) // 2)
    assert len(doors) >= 4
    flows = [each["flow"] for each in states(told, "water_meter")]
    assert max(flows) > 20  # the leak of the first day
    assert 8 <= sorted(flows)[-3] <= 35
    totals = [each["total"] for each in states(told, "water_meter")]
    assert totals == sorted(totals)
    powers = [each["power"] for each in states(told, "house_power")]
    assert min(powers) >= 100
    assert max(powers) > 2000  # the oven
    warm = [each["temperature"] for each in states(told, "living_climate")]
    assert min(warm) > 12
    assert max(warm) < 25
    assert 1_500 < len(told) < 10_000


def test_at_night_it_is_dark_and_at_noon_it_is_not() -> None:
    home = Home(1, start=MONDAY)
    night = states(home.until(MONDAY + 5 * HOUR), "hall_motion")
    noon = states(home.until(MONDAY + 14 * HOUR), "hall_motion")
    assert {each["illuminance"] for each in night} == {0}
    assert max(each["illuminance"] for each in noon) > 50


def test_who_is_seen_is_gone_again_after_a_while() -> None:
    told = states(Home(1, start=MONDAY).until(MONDAY + DAY), "hall_motion")
    occupied = [each["occupancy"] for each in told]
    assert occupied.count("ON") > 5
    assert occupied[-1] == "OFF"


@pytest.mark.parametrize(
    ("topic", "payload", "device", "expected"),
    [
        ("simulated/hall_light/set", b'{"state": "ON", "brightness": 90}', "hall_light", {"state": "ON", "brightness": 90}),
        ("simulated/coffee_plug/set", b"OFF", "coffee_plug", {"state": "OFF"}),
        ("simulated/siren/set", b"ON", "siren", {"state": "ON"}),
        ("simulated/siren/set", b'{"state": "on"}', "siren", {"state": "ON"}),
        ("simulated/water_valve/set", b"CLOSE", "water_valve", {"state": "closed"}),
        ("simulated/living_climate/target/set", b"22.5", "living_climate", {"target": 22.5}),
        ("simulated/living_climate/mode/set", b"off", "living_climate", {"mode": "off"}),
    ],
)
def test_a_device_does_what_it_is_told_and_says_so(topic: str, payload: bytes, device: str, expected: dict) -> None:
    home = Home(1, start=MONDAY)
    (state,) = states(home.told(topic, payload), device)
    assert expected.items() <= state.items()
    assert home.told(topic, payload) == []  # it is so already


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("simulated/hall_light/state", b"ON"),
        ("simulated/nobody/set", b"ON"),
        ("simulated/siren/set", b"perhaps"),
        ("simulated/siren/set", b"{"),
        ("simulated/siren/set", b'{"state": 5}'),
        ("simulated/siren/set", b"\xff\xfe"),
        ("simulated/siren/set", b"ON" * 1000),
        ("simulated/living_climate/target/set", b"nan"),
        ("simulated/living_climate/target/set", b"900"),
        ("simulated", b"ON"),
    ],
)
def test_what_makes_no_sense_to_a_device_is_ignored(topic: str, payload: bytes) -> None:
    home = Home(1, start=MONDAY)
    assert home.told(topic, payload) == []


def test_a_shut_valve_ends_the_leak_and_the_people_open_it_when_they_are_back() -> None:
    home = Home(1, start=MONDAY)
    leaking = False
    while not leaking:
        for state in states(home.until(home.next_due), "water_meter"):
            leaking = leaking or state["flow"] > 20
    shut = home.told("simulated/water_valve/set", b"CLOSE")
    assert states(shut, "water_meter")[-1]["flow"] == 0
    later = states(home.until(MONDAY + DAY), "water_valve")
    assert [each["state"] for each in later] == ["open"]


def test_a_device_out_of_reach_is_told_by_the_gateway_and_says_nothing_itself() -> None:
    told = Home(1, start=MONDAY).until(MONDAY + 3 * HOUR)
    reach = [m.payload for m in told if m.topic == "simulated/bedroom_window/availability"]
    assert reach == [b"offline", b"online"]
    assert states(told, "bedroom_window") != []  # how it is, once it is back


def test_the_garden_is_an_application_in_the_form_of_the_first_ones() -> None:
    garden = [m for m in Home(1, start=MONDAY).until(MONDAY + HOUR) if m.link == RABBITMQ]
    assert {m.topic for m in garden} == {"event.heartbeat.garden", "event.notify.garden"}
    discovery = Discovery()
    found = [discovery.noticed(m.topic, from_rabbitmq(m.topic, m.payload, now=MONDAY)) for m in garden]
    assert all(each.problems == () for each in found)
    assert "Garden Thermometer" in {event.device for each in found for event in each.events}


def test_the_camera_s_pictures_are_small_png_files_that_show_the_hour() -> None:
    pictures = [bytes(m.payload) for m in Home(1, start=MONDAY).until(MONDAY + DAY) if m.topic.endswith("picture")]  # type: ignore[arg-type]
    assert len(pictures) > 100
    assert len(set(pictures)) > 100
    for picture in (pictures[0], pictures[70]):
        assert len(picture) < 4_000
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        kinds, pixels, rest = [], b"", picture[8:]
        while rest:
            (length,) = struct.unpack(">I", rest[:4])
            kind, data = rest[4:8], rest[8 : 8 + length]
            assert struct.unpack(">I", rest[8 + length : 12 + length])[0] == zlib.crc32(kind + data)
            kinds.append(kind)
            pixels += data if kind == b"IDAT" else b""
            rest = rest[12 + length :]
        assert kinds == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
        assert len(zlib.decompress(pixels)) == 120 * 161  # 160 pixels and a filter byte a row


def test_whatever_is_retained_can_be_taken_back() -> None:
    home = Home(1, start=MONDAY)
    kept = {m.topic for m in (*home.announcements(), *home.until(MONDAY + DAY)) if m.retained}
    assert kept <= set(topics())


def test_the_morning_is_the_last_one() -> None:
    assert morning(MONDAY + 12 * HOUR, 6.5) == MONDAY + 6.5 * HOUR
    assert morning(MONDAY + 5 * HOUR, 6.5) == MONDAY - 17.5 * HOUR
