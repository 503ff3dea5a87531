"""The registry: look-ups, what is different, groups, and being stored; and the modes of availability."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.domain.availability import Mode, judge, mode_of
from event_processor.domain.entities import CommandForm, DeviceInfo, Entity, Found
from event_processor.domain.outcome import Change
from event_processor.domain.registry import Registry
from pylib.errors import DecodeError

PLUG = DeviceInfo(id="plug", name="Plug", convention="homeassistant", room="Kitchen", aliases=("mac:aabbccddeeff",))
RELAY = Entity(
    key="Plug", device="plug", name="Plug", role="both", type="switch", command=CommandForm(topic="set", payloads={"on": "ON"})
)
POWER = Entity(
    key="Plug power", device="plug", name="Power", type="power", unit="W", room="Cellar", unique=2**52, enabled=False
)


def filled() -> Registry:
    registry = Registry()
    registry.apply(Found(devices=(PLUG,), entities=(RELAY, POWER)))
    return registry


def test_devices_entities_and_rooms_are_found() -> None:
    registry = filled()
    assert registry.device("plug") == PLUG
    assert registry.entities_of("plug") == (RELAY, POWER)
    assert registry.keys_of("nobody") == ()
    assert (registry.room_of("Plug"), registry.room_of("Plug power"), registry.room_of("nobody")) == ("Kitchen", "Cellar", "")


def test_only_what_is_different_is_a_change() -> None:
    registry = Registry()
    found = Found(devices=(PLUG,), entities=(RELAY, POWER))
    assert [(change.scope, change.key) for change in registry.apply(found)] == [
        ("device", "plug"),
        ("entity", "Plug"),
        ("entity", "Plug power"),
    ]
    assert registry.apply(found) == ()
    gone = registry.apply(Found(removed=("Plug", "Plug power", "nobody")))
    assert [(change.scope, change.key, change.value) for change in gone] == [
        ("entity", "Plug", None),
        ("entity", "Plug power", None),
        ("device", "plug", None),
    ]
    assert not registry.devices


def test_an_entity_without_its_device_is_not_taken() -> None:
    registry = Registry()
    assert registry.apply(Found(entities=(RELAY,))) == ()


def test_a_group_loses_whoever_is_removed() -> None:
    registry = filled()
    registry.set_group("Ground floor", ["Plug", "Plug power"])
    assert registry.groups_of("Plug") == ("Ground floor",)
    changes = registry.remove("Plug")
    assert changes[-1] == Change("setting", "group:Ground floor", b'["Plug power"]')
    registry.remove("Plug power")
    assert registry.groups == {}


def test_what_is_stored_comes_back_in_any_order() -> None:
    registry = filled()
    registry.set_group("g", ["Plug"])
    stored = registry.snapshot()
    for order in (stored, stored[::-1]):
        again = Registry()
        again.restore(order)
        assert (again.devices, again.entities, again.groups) == (registry.devices, registry.entities, registry.groups)


def test_what_cannot_be_read_is_named_and_the_rest_comes_back() -> None:
    registry = Registry()
    stored = [*filled().snapshot(), Change("entity", "broken", b"{"), Change("device", "worse", b'{"id": 3}')]
    with pytest.raises(DecodeError, match="'broken'"):
        registry.restore(stored)
    assert set(registry.entities) == {"Plug", "Plug power"}


@given(
    st.sampled_from(["all", "any", "latest"]),
    st.lists(st.sampled_from([True, False, None]), max_size=4),
    st.sampled_from([True, False, None]),
)
def test_availability_is_what_its_mode_says(mode: Mode, words: list[bool | None], latest: bool | None) -> None:
    said = judge(mode, words, latest)
    if mode == "latest" or not words:
        assert said == latest
    elif mode == "all":
        assert said == (False if False in words else None if None in words else True)
    else:
        assert said == (True if True in words else None if None in words else False)


def test_an_unknown_mode_is_the_usual_one() -> None:
    assert [mode_of(word) for word in ("all", "any", "latest", None, 3)] == ["all", "any", "latest", "latest", "latest"]
