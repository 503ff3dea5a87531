"""Homie 5: descriptions and values as the specification has them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.discovery.conftest import House, only, values

BASE = "homie/5/super-car"
DESCRIPTION: dict[str, Any] = {
    "homie": "5.0",
    "version": 7,
    "name": "Super car",
    "nodes": {
        "engine": {
            "name": "Car engine",
            "type": "V8",
            "properties": {
                "speed": {
                    "name": "Engine speed",
                    "datatype": "integer",
                    "unit": "rpm",
                    "format": "0:12000:100",
                    "settable": True,
                },
                "direction": {"name": "Direction", "datatype": "enum", "format": "forward,backward", "settable": True},
                "temperature": {"name": "Engine temperature", "datatype": "float", "unit": "°C", "format": "-20:120"},
                "running": {"datatype": "boolean", "settable": True},
            },
        },
        "horn": {
            "properties": {
                "press": {"name": "Press", "datatype": "enum", "format": "short,long", "retained": False},
                "blow": {"datatype": "boolean", "settable": True, "retained": False},
            }
        },
    },
}


def announce(house: House, **more: Any) -> None:
    house.fine(f"{BASE}/$state", "init", retained=True)
    house.fine(f"{BASE}/$description", {**DESCRIPTION, **more}, retained=True)


def test_a_device_describes_itself(house: House) -> None:
    announce(house)
    speed = house.entity("Super car Car engine Engine speed")
    assert (speed.unit, speed.role) == ("rpm", "both")
    assert speed.command is not None
    assert speed.command.limits == (0.0, 12000.0, 100.0)
    assert house.entity("Super car Car engine Engine temperature").role == "input"
    assert house.entity("Super car horn blow").role == "output"
    assert values(house.fine(f"{BASE}/engine/temperature", "21.5", retained=True)) == {
        "Super car Car engine Engine temperature": (21.5, None)
    }
    assert values(house.fine(f"{BASE}/engine/running", "true")) == {"Super car Car engine running": ("on", True)}
    assert only(house.fine(f"{BASE}/horn/press", "long")).active is True


def test_it_is_told_by_set(house: House) -> None:
    announce(house)
    assert house.tell("Super car Car engine running", False) == (f"{BASE}/engine/running/set", "false")
    assert house.tell("Super car Car engine Engine speed", 900) == (f"{BASE}/engine/speed/set", "900")
    assert house.tell("Super car Car engine Direction", "backward") == (f"{BASE}/engine/direction/set", "backward")
    with pytest.raises(Exception, match="forward, backward"):
        house.tell("Super car Car engine Direction", "up")


@pytest.mark.parametrize(("state", "online"), [("ready", True), ("sleeping", True), ("disconnected", False), ("lost", False)])
def test_its_state_says_whether_it_is_there(house: House, state: str, online: bool) -> None:
    announce(house)
    assert [word.online for word in house.fine(f"{BASE}/$state", state).availability] == [online]


def test_a_state_that_came_before_the_description_counts(house: House) -> None:
    house.fine(f"{BASE}/$state", "ready", retained=True)
    found = house.fine(f"{BASE}/$description", DESCRIPTION, retained=True)
    assert [word.online for word in found.availability] == [True]


def test_a_child_is_lost_with_its_root(house: House) -> None:
    house.fine(
        "homie/5/bridge/$description",
        {
            "homie": "5.0",
            "version": 1,
            "children": ["super-car"],
            "nodes": {"n": {"properties": {"p": {"datatype": "string"}}}},
        },
    )
    announce(house, root="bridge", parent="bridge")
    house.fine("homie/5/bridge/$state", "ready")
    house.fine(f"{BASE}/$state", "ready")
    gone = house.fine("homie/5/bridge/$state", "lost")
    assert {word.device for word in gone.availability} == {"homie:homie/bridge", "homie:homie/super-car"}
    info = house.discovery.registry.device("homie:homie/super-car")
    assert info is not None
    assert info.via == "homie:homie/bridge"


def test_a_property_that_is_no_longer_described_is_removed(house: House) -> None:
    announce(house)
    found = house.fine(
        f"{BASE}/$description", {**DESCRIPTION, "version": 8, "nodes": {"engine": DESCRIPTION["nodes"]["engine"]}}
    )
    assert set(found.removed) == {"Super car horn Press", "Super car horn blow"}
    house.fine(f"{BASE}/$description", b"")
    assert house.keys == set()


def test_an_alert_is_heard(house: House) -> None:
    announce(house)
    event = only(house.fine(f"{BASE}/$alert/battery", "The battery is low"))
    assert (event.device, event.value, event.active) == ("Super car Alert battery", "The battery is low", True)


def test_one_bad_property_costs_only_itself(house: House) -> None:
    nodes = {
        "n": {
            "properties": {"good": {"datatype": "float"}, "bad": {"datatype": "tensor"}, "worse": 3, "e": {"datatype": "enum"}}
        }
    }
    found = house.says(f"{BASE}/$description", {"homie": "5.0", "version": 1, "name": "D", "nodes": nodes})
    assert house.keys == {"D n good"}
    assert len(found.problems) == 3


@pytest.mark.parametrize("body", ["{", "[]", {"homie": "4.0", "nodes": {}}, {"homie": "5.0", "nodes": 3}])
def test_a_malformed_description_is_reported(house: House, body: object) -> None:
    assert house.says(f"{BASE}/$description", body).problems[0].startswith(f"{BASE}/$description: ")


def test_a_value_of_another_type_is_reported(house: House) -> None:
    announce(house)
    found = house.says(f"{BASE}/engine/running", "maybe")
    assert found.events == ()
    assert "expected one of false, true" in found.problems[0]


def test_words_that_an_enum_does_not_have_are_reported_and_an_empty_text_is_a_value(house: House) -> None:
    properties = {
        "speed": {"datatype": "enum", "format": "None,slow,fast", "settable": True},
        "note": {"datatype": "string"},
        "gain": {"datatype": "integer", "format": ":20", "settable": True},
    }
    described = {"homie": "5.0", "version": 3, "name": "Deck", "nodes": {"d": {"name": "", "properties": properties}}}
    house.fine("yard/5/deck/$description", described)
    assert only(house.fine("yard/5/deck/d/speed", "None")).value == "None"
    assert "expected one of" in house.says("yard/5/deck/d/speed", "warp").problems[0]
    assert only(house.fine("yard/5/deck/d/note", b"\0")).value == ""
    assert house.tell("Deck d gain", -300) == ("yard/5/deck/d/gain/set", "-300")
    with pytest.raises(Exception, match="to 20"):
        house.tell("Deck d gain", 21)
