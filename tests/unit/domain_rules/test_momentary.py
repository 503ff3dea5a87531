"""What happens and does not last, such as a button that is pressed, sets a rule off each time."""

from __future__ import annotations

import json

from event_processor.discovery.discovery import Discovery
from tests.unit.domain_rules.kit import House

BELL = """
[[rule]]
id = "bell"
trigger = {device = "door bell"}
action = {do = "notify", to = ["phone"], text = "{device}"}
"""


def test_each_press_of_a_button_is_an_activation() -> None:
    made = House(BELL)
    for _ in range(3):
        made.hear("door bell", True, "single", momentary=True)
        made.now += 10
    assert len(made.steps) == 3
    assert made.outcomes[0].evaluations[0].explanation.startswith("bell: door bell says single.")


def test_a_door_that_says_once_more_that_it_is_open_is_none() -> None:
    made = House(BELL)
    for _ in range(3):
        made.hear("door bell", True, "open")
    assert len(made.steps) == 1


def test_a_press_that_the_broker_kept_is_none() -> None:
    made = House(BELL)
    made.hear("door bell", True, "single", momentary=True, retained=True)
    assert made.steps == []


def test_triggers_and_events_are_read_as_what_happens_and_sensors_as_what_lasts() -> None:
    discovery = Discovery()

    def hear(topic: str, body: object) -> list[bool]:
        payload = body if isinstance(body, str) else json.dumps(body)
        return [event.momentary for event in discovery.read(topic, payload.encode(), retained=False, now=1.0).events]

    device = {"identifiers": ["b7"], "name": "Bell"}
    trigger = {"automation_type": "trigger", "type": "press", "subtype": "left", "topic": "b7/action", "payload": "left"}
    event = {"unique_id": "b7_ring", "name": "ring", "state_topic": "b7/ring", "event_types": ["ring", "hold"]}
    sensor = {"unique_id": "b7_lid", "name": "lid", "state_topic": "b7/lid"}
    hear("homeassistant/device_automation/b7/left/config", trigger | {"device": device})
    hear("homeassistant/event/b7/ring/config", event | {"device": device})
    hear("homeassistant/binary_sensor/b7/lid/config", sensor | {"device": device})
    assert hear("b7/action", "left") == [True]
    assert hear("b7/ring", {"event_type": "ring"}) == [True]
    assert hear("b7/lid", "ON") == [False]
