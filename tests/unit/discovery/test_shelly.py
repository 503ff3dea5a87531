"""Shelly, second generation (JSON-RPC) and first; payloads as the API documentation shows them."""

from __future__ import annotations

import json

import pytest

from tests.unit.discovery.conftest import House, only, values

ID = "shellyplus1pm-a8032abe54dc"


def notify(method: str, **params: object) -> dict[str, object]:
    return {"src": ID, "dst": f"{ID}/events", "method": method, "params": {"ts": 1631186545.04, **params}}


FULL = {
    "id": 0,
    "source": "init",
    "output": False,
    "apower": 0.0,
    "voltage": 225.9,
    "current": 0.0,
    "aenergy": {"total": 11.679, "by_minute": [0.0, 0.0, 0.0], "minute_ts": 1654511972},
    "temperature": {"tC": 53.3, "tF": 127.9},
}


def test_a_switch_is_learned_from_its_status(house: House) -> None:
    found = house.fine(f"{ID}/events/rpc", notify("NotifyFullStatus", **{"switch:0": FULL, "cloud": {"connected": False}}))
    assert values(found)[f"{ID} Switch 0"] == ("off", False)
    assert values(found)[f"{ID} Switch 0 power"] == (0.0, None)
    energy = house.entity(f"{ID} Switch 0 energy")
    assert (energy.role, energy.unit, energy.type) == ("meter", "Wh", "energy")
    info = found.devices[0]
    assert (info.convention, info.manufacturer, info.model) == ("shelly", "Shelly", "shellyplus1pm")
    assert "mac:a8032abe54dc" in info.aliases


def test_a_change_tells_only_what_changed(house: House) -> None:
    house.fine(f"{ID}/events/rpc", notify("NotifyFullStatus", **{"switch:0": FULL}))
    found = house.fine(
        f"{ID}/events/rpc", notify("NotifyStatus", **{"switch:0": {"id": 0, "output": True, "source": "button"}})
    )
    assert values(found) == {f"{ID} Switch 0": ("on", True)}
    assert found.entities == ()


def test_the_status_topic_tells_the_same(house: House) -> None:
    found = house.fine(f"{ID}/status/switch:0", FULL)
    assert values(found)[f"{ID} Switch 0"] == ("off", False)


def test_it_is_told_by_rpc(house: House) -> None:
    house.fine(f"{ID}/status/switch:0", FULL)
    topic, payload = house.tell(f"{ID} Switch 0", "on")
    assert topic == f"{ID}/rpc"
    request = json.loads(payload)
    assert (request["method"], request["params"]) == ("Switch.Set", {"id": 0, "on": True})
    house.fine(f"{ID}/status/cover:0", {"id": 0, "state": "closed", "current_pos": 0})
    assert values(house.fine(f"{ID}/status/cover:0", {"state": "opening", "current_pos": 10})) == {
        f"{ID} Cover 0": ("opening", True),
        f"{ID} Cover 0 position": (10, None),
    }
    assert json.loads(house.tell(f"{ID} Cover 0", "close")[1])["method"] == "Cover.Close"
    assert json.loads(house.tell(f"{ID} Cover 0 position", 40)[1])["params"] == {"id": 0, "pos": 40}


def test_a_button_tells_events(house: House) -> None:
    event = {"component": "input:0", "id": 0, "event": "single_push", "ts": 1657092213.25}
    found = house.fine(f"{ID}/events/rpc", notify("NotifyEvent", events=[event]))
    assert (only(found).device, only(found).value, only(found).active) == (f"{ID} Input 0 button", "single_push", True)
    again = house.fine(f"{ID}/events/rpc", notify("NotifyEvent", events=[{**event, "event": "long_push"}]))
    assert only(again).value == "long_push"


def test_its_last_will_counts_also_where_it_came_first(house: House) -> None:
    assert house.fine(f"{ID}/online", "true", retained=True).availability == ()
    found = house.fine(f"{ID}/events/rpc", notify("NotifyStatus", **{"switch:0": {"id": 0, "output": True}}))
    assert [(word.device, word.online) for word in found.availability] == [(ID, True)]
    assert [word.online for word in house.fine(f"{ID}/online", "false").availability] == [False]


def test_sensors_of_many_kinds(house: House) -> None:
    found = house.fine(
        "shellyhtg3-84fce63ad204/events/rpc",
        {
            "src": "shellyhtg3-84fce63ad204",
            "method": "NotifyFullStatus",
            "params": {
                "ts": 1.0,
                "temperature:0": {"id": 0, "tC": 21.3, "tF": 70.3},
                "humidity:0": {"id": 0, "rh": 56.9},
                "devicepower:0": {"id": 0, "battery": {"V": 6.24, "percent": 100}, "external": {"present": False}},
                "flood:0": {"id": 0, "alarm": True, "mute": False},
                "input:0": {"id": 0, "state": None},
                "em:0": {"id": 0, "a_act_power": 120.5, "total_act_power": 300.1},
                "wifi": {"rssi": -60},
            },
        },
    )
    name = "shellyhtg3-84fce63ad204"
    said = values(found)
    assert said[f"{name} Temperature 0"] == (21.3, None)
    assert said[f"{name} Humidity 0"] == (56.9, None)
    assert said[f"{name} Devicepower 0 battery"] == (100, None)
    assert said[f"{name} Flood 0"] == ("on", True)
    assert said[f"{name} Em 0 total power"] == (300.1, None)
    assert f"{name} Wifi signal" not in said  # diagnostic: there, and not listened to unless asked for
    house.discovery.enable(f"{name} Wifi signal")
    again = house.fine(f"{name}/status/wifi", {"rssi": -61})
    assert values(again) == {f"{name} Wifi signal": (-61, None)}


@pytest.mark.parametrize(
    "body", ["{", "[]", {"method": "Hello"}, {"method": "NotifyStatus", "params": 3}, {"method": "NotifyEvent", "params": {}}]
)
def test_a_malformed_notification_is_reported(house: House, body: object) -> None:
    found = house.says(f"{ID}/events/rpc", body)
    assert found.events == ()
    assert found.problems[0].startswith(f"{ID}/events/rpc: ")


def test_others_that_use_such_topics_are_left_alone(house: House) -> None:
    assert house.fine("living-room/online", "true").entities == ()
    assert house.fine("living-room/status/switch:0", {"output": True}).entities == ()


def test_the_first_generation(house: House) -> None:
    base = "shellies/shelly1pm-B1E6B5"
    house.fine(f"{base}/online", "true", retained=True)
    assert values(house.fine(f"{base}/relay/0", "on")) == {"shelly1pm-B1E6B5 Relay 0": ("on", True)}
    assert house.tell("shelly1pm-B1E6B5 Relay 0", "off") == (f"{base}/relay/0/command", "off")
    assert only(house.fine(f"{base}/relay/0/power", "35.2")).value == 35.2
    energy = only(house.fine(f"{base}/relay/0/energy", "600"))
    assert (energy.value, energy.kind) == (10, "meter")
    assert only(house.fine(f"{base}/input_event/0", {"event": "L", "event_cnt": 3})).value == "L"
    assert only(house.fine("shellies/shellydw2-12/sensor/state", "open")).active is True
    assert only(house.fine("shellies/shellyflood-12/sensor/flood", "true")).active is True
    assert [word.online for word in house.fine(f"{base}/online", "false").availability] == [False]
    told = {"id": "shelly1pm-B1E6B5", "model": "SHSW-PM", "mac": "A4CF12B1E6B5", "ip": "10.0.0.3", "fw_ver": "20230913"}
    assert house.fine(f"{base}/announce", told).devices[0].model == "SHSW-PM"
    assert house.fine(f"{base}/relay/0/command", "on").events == ()
