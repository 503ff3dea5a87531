"""Home Assistant's components in less usual forms: other words, templates that share names, JSON or plain text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.discovery.conftest import House, only, values

PORCH = {"ids": ["porch-7"], "name": "Porch"}


def announce(house: House, component: str, **config: Any) -> None:
    house.fine(f"homeassistant/{component}/porch/x/config", {"name": "X", "uniq_id": "px", "dev": PORCH, **config})


def test_a_light_without_a_topic_of_its_own_for_brightness_is_switched_on_by_it(house: House) -> None:
    config = {"cmd_t": "p/set", "bri_cmd_t": "p/set", "bri_scl": 99, "on_cmd_type": "brightness", "pl_off": 0}
    announce(house, "light", **config)
    assert house.tell("Porch X", "on") == ("p/set", "99")
    assert house.tell("Porch X", "off") == ("p/set", "0")
    announce(house, "light", **config, bri_cmd_tpl="DIM {{ value }}")
    assert house.tell("Porch X", "on") == ("p/set", "DIM 99")
    announce(house, "light", **{**config, "bri_cmd_t": "p/level"})
    assert house.tell("Porch X", "on") == ("p/set", "ON")


def test_a_template_for_a_colour_names_its_parts(house: House) -> None:
    announce(
        house,
        "light",
        cmd_t="p/set",
        rgb_cmd_t="p/rgb",
        rgb_cmd_tpl="{{ '%02X%02X%02X' | format(red, green, blue) }}",
        hs_cmd_t="p/hs",
        hs_cmd_tpl='{"h": {{ hue }}, "s": {{ sat }}}',
        xy_cmd_t="p/xy",
    )
    assert house.tell("Porch X rgb color", "255,16,0") == ("p/rgb", "FF1000")
    assert house.tell("Porch X hs color", "12.5,80") == ("p/hs", '{"h": 12.5, "s": 80.0}')
    assert house.tell("Porch X xy color", "0.3,0.4") == ("p/xy", "0.3,0.4")


def test_a_light_of_the_template_schema_takes_brightness_colour_temperature_and_effects(house: House) -> None:
    announce(
        house,
        "light",
        schema="template",
        stat_t="p",
        cmd_t="p/set",
        stat_tpl="{{ value.split('/')[0] }}",
        bri_tpl="{{ value.split('/')[1] }}",
        fx_list=["rain"],
        min_mirs=150,
        max_mirs=400,
        cmd_on_tpl="{{ state }}"
        "{% if brightness is defined %} b{{ (brightness / 2.55) | round }}{% endif %}"
        "{% if color_temp is defined %} c{{ color_temp }}{% endif %}"
        "{% if effect is defined %} e{{ effect }}{% endif %}",
        cmd_off_tpl="off",
    )
    assert house.tell("Porch X", "on") == ("p/set", "on")
    assert house.tell("Porch X brightness", 255) == ("p/set", "on b100")
    assert house.tell("Porch X color temperature", 200) == ("p/set", "on c200")
    assert house.tell("Porch X effect", "rain") == ("p/set", "on erain")
    assert values(house.fine("p", "on/128")) == {"Porch X": ("on", True), "Porch X brightness": (128, None)}
    assert house.entity("Porch X color temperature").unit == "mired"


def test_a_colour_temperature_in_kelvin_says_so(house: House) -> None:
    modes = ["color_temp"]
    announce(
        house, "light", schema="json", cmd_t="p/set", sup_clrm=modes, color_temp_kelvin=True, min_kelvin=2200, max_kelvin=6000
    )
    entity = house.entity("Porch X color temperature")
    assert (entity.unit, entity.command and entity.command.limits) == ("K", (2200, 6000, 1))


def test_one_template_stands_for_those_that_are_left_out(house: House) -> None:
    announce(house, "light", cmd_t="p/set", stat_t="p", val_tpl="{{ value_json.power }}")
    assert values(house.fine("p", {"power": "ON"})) == {"Porch X": ("on", True)}
    topics = {"mode_stat_t": "p/m", "temp_stat_t": "p/t", "temp_stat_tpl": "{{ value_json.degrees }}"}
    announce(house, "climate", mode_cmd_t="p/m/set", val_tpl="{{ value_json.v }}", **topics)
    assert only(house.fine("p/m", {"v": "heat"})).value == "heat"
    assert only(house.fine("p/t", {"degrees": 20})).value == 20


def test_what_a_climate_does_is_active_unless_it_is_off_or_idle(house: House) -> None:
    announce(house, "climate", mode_stat_t="p/m", act_t="p/a")
    said = [only(house.fine("p/a", word)).active for word in ("heating", "idle", "off", "drying")]
    assert said == [True, False, False, True]


@pytest.mark.parametrize(
    ("body", "state", "position"),
    [
        ({"state": "opening", "position": 12}, "opening", 12),
        ({"position": 0}, "closed", 0),
        ("70", "open", 70),
        ("closing", "closing", None),
    ],
)
def test_a_valve_tells_state_and_position_in_one_message(house: House, body: object, state: str, position: int | None) -> None:
    announce(house, "valve", cmd_t="p/set", stat_t="p", pos=True, cmd_tpl='{"to": {{ position }}}')
    told = values(house.fine("p", body))
    assert told["Porch X"][0] == state
    assert told.get("Porch X position", (None, None))[0] == position
    assert house.tell("Porch X", "open") == ("p/set", '{"to": 100}')
    with pytest.raises(Exception, match="open, close"):
        house.tell("Porch X", "stop")  # no word for it was announced


def test_a_valve_without_positions_may_tell_its_state_in_an_object(house: House) -> None:
    announce(house, "valve", cmd_t="p/set", stat_t="p", pl_stop="HALT")
    assert only(house.fine("p", {"state": "closed"})).active is False
    assert house.tell("Porch X", "stop") == ("p/set", "HALT")


def test_a_covers_templates_know_its_ends(house: House) -> None:
    announce(
        house,
        "cover",
        pos_t="p",
        set_pos_t="p/set",
        pos_open=0,
        pos_clsd=50,
        pos_tpl="{{ position_closed - value | int }}",
        set_pos_tpl="to {{ position }}",
        tilt_cmd_t="p/tilt",
        tilt_cmd_tpl="by {{ tilt_position }}",
    )
    assert only_of(house, "p", "10", "Porch X position") == 40
    assert house.tell("Porch X position", 20) == ("p/set", "to 20")
    assert house.tell("Porch X tilt", 30) == ("p/tilt", "by 30")
    assert house.tell("Porch X", "close") == ("p/set", "to 50")


def only_of(house: House, topic: str, body: object, key: str) -> object:
    return values(house.fine(topic, body))[key][0]


def test_a_lock_that_is_opened_says_so(house: House) -> None:
    announce(house, "lock", cmd_t="p/set", stat_t="p", stat_jam="STUCK")
    said = [values(house.fine("p", word))["Porch X"] for word in ("OPENING", "OPEN", "STUCK", "LOCKED")]
    assert said == [("opening", True), ("open", True), ("jammed", True), ("locked", False)]


def test_a_siren_has_a_template_for_each_word(house: House) -> None:
    announce(house, "siren", cmd_t="p/set", cmd_tpl="go {{ value }}", cmd_off_tpl="quiet {{ state }}")
    assert (house.tell("Porch X", "on")[1], house.tell("Porch X", "off")[1]) == ("go ON", "quiet OFF")


def test_a_word_that_resets_means_that_the_value_is_unknown(house: House) -> None:
    announce(house, "number", cmd_t="p/set", stat_t="p", pl_rst="forget", unit_of_meas="W")
    assert only(house.fine("p", "12")).value == 12
    assert only(house.fine("p", "forget")).value is None


def test_an_event_entity_hears_messages_without_an_event(house: House) -> None:
    announce(house, "event", stat_t="p", evt_typ=["knock"], val_tpl="{{ {} if value == 'idle' else {'event_type': value} }}")
    assert house.fine("p", "idle").events == ()
    announce(house, "event", stat_t="p", evt_typ=["knock"])
    assert house.fine("p", {}).events == ()
    assert only(house.fine("p", {"event_type": "knock", "strength": 3})).value == "knock"


@pytest.mark.parametrize(
    ("config", "body", "expected"),
    [
        (
            {"val_tpl": '{"installed_version": "{{ value_json.fw.now }}", "latest_version": "{{ value_json.fw.new }}"}'},
            {},
            None,
        ),
        (
            {"val_tpl": '{"installed_version": "{{ value_json.fw.now }}", "latest_version": "{{ value_json.fw.new }}"}'},
            {"fw": {"now": 3, "new": 4}},
            "on",
        ),
        ({"val_tpl": "{{ value_json['update']['now'] }}", "l_ver_tpl": "{{ value_json['update']['new'] }}"}, {"a": 1}, None),
        (
            {"val_tpl": "{{ value_json['update'].now | int }}", "l_ver_tpl": "{{ value_json['update'].new }}"},
            {"update": {"now": 4, "new": "4"}},
            "off",
        ),
        ({}, {"installed_version": "1", "latest_version": "1"}, "off"),
        ({}, "1", None),
    ],
)
def test_an_update_knows_both_versions_or_says_nothing(house: House, config: Any, body: object, expected: str | None) -> None:
    announce(house, "update", stat_t="p", **config)
    found = house.says("p", body)
    assert [event.value for event in found.events] == ([] if expected is None else [expected])
    if body != {}:
        assert found.problems == ()


def test_the_two_versions_of_an_update_may_come_on_two_topics(house: House) -> None:
    config = {"stat_t": "p/now", "val_tpl": "{{ value_json.v }}", "l_ver_t": "p/new"}
    announce(house, "update", **config)
    assert house.fine("p/now", {"v": "1.4"}).events == ()
    assert values(house.fine("p/new", "1.5")) == {"Porch X": ("on", True)}
    announce(house, "update", **config)  # as at each start of its program: what was said still counts
    assert values(house.fine("p/now", {"v": "1.5"})) == {"Porch X": ("off", False)}


def test_what_is_true_of_a_sensor_without_a_unit_stays_true(house: House) -> None:
    announce(house, "sensor", stat_t="p", val_tpl="{{ value_json.wet }}")
    assert only(house.fine("p", {"wet": True})).value is True


def test_a_word_that_was_not_announced_is_not_told_by_a_template_either(house: House) -> None:
    announce(house, "switch", cmd_t="p/set", cmd_tpl='{"do": "{{ value }}"}')
    assert house.tell("Porch X", "on") == ("p/set", '{"do": "ON"}')
    with pytest.raises(Exception, match="expected one of on, off"):
        house.tell("Porch X", "explode")


def test_the_quality_of_service_may_be_written_as_text(house: House) -> None:
    announce(house, "switch", cmd_t="p/set", qos="2", ret="FALSE")
    assert house.discovery.command("Porch X", "on", 1.0)[2:] == (2, False)


def test_an_entity_names_its_device_in_whole_words_only(house: House) -> None:
    dev = {"ids": ["i"], "name": "Air"}
    for name in ("Airflow", "Air pressure", "Air"):
        house.fine(f"homeassistant/sensor/i/{name[3:]}x/config", {"name": name, "uniq_id": name, "stat_t": "i", "dev": dev})
    assert house.keys == {"Air Airflow", "Air pressure", "Air"}


@pytest.mark.parametrize(
    ("component", "config", "words"),
    [
        ("sensor", {"stat_t": "p", "exp_aft": "inf"}, "expire_after: expected a number"),
        ("number", {"cmd_t": "p", "min": 9, "max": 3}, "above max"),
        ("light", {"cmd_t": "p", "schema": "fancy"}, "schema: expected"),
    ],
)
def test_what_cannot_be_meant_is_reported(house: House, component: str, config: dict[str, object], words: str) -> None:
    found = house.says(f"homeassistant/{component}/p/config", {"uniq_id": "p", "dev": PORCH, **config})
    assert (found.entities, len(found.problems)) == ((), 1)
    assert words in found.problems[0]


def test_a_device_with_too_many_components_says_so(house: House) -> None:
    parts = {f"c{index}": {"p": "sensor", "uniq_id": f"u{index}", "stat_t": f"p/{index}"} for index in range(300)}
    found = house.says("homeassistant/device/p/config", {"dev": PORCH, "cmps": parts})
    assert (len(found.entities), len(found.problems)) == (256, 1)
    assert "300 components" in found.problems[0]


def test_a_topic_is_read_for_a_thousand_entities_at_most(house: House) -> None:
    told = 0
    for index in range(1100):
        config = {"name": "N", "uniq_id": f"u{index}", "stat_t": "all", "dev": {"ids": [f"d{index // 100}"], "name": "D"}}
        found = house.says(f"homeassistant/sensor/n/o{index}/config", config)
        told += len(found.problems)
    assert told == 100
    assert len(house.fine("all", "1").events) == 1000
    house.fine("homeassistant/sensor/n/o0/config")
    assert house.says("homeassistant/sensor/n/o1099/config", {**config, "name": "M"}).problems == ()
