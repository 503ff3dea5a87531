"""Home Assistant sees the hub as a device, and what is gone there is gone in Home Assistant too."""

from __future__ import annotations

import json

from event_processor.discovery.announce import (
    HubDevice,
    HubRule,
    HubView,
    announcement,
    announcement_topic,
    command_filters,
    components,
    is_birth,
    last_will,
    read_command,
    slug_of,
    states,
)
from event_processor.discovery.discovery import Discovery
from tests.unit.discovery.conftest import House, values

VIEW = HubView(
    id="home",
    version="1.2",
    modes=("home", "away", "night"),
    mode="home",
    rules=(HubRule("Night light", True), HubRule("Siren on door", False)),
    devices=(HubDevice("0x1", "Hall sensor", True), HubDevice("0x2", "Garden", None)),
    buttons=("Panic",),
)


def test_the_announcement_is_one_that_the_hub_itself_understands() -> None:
    """What is published is read by the reader of Home Assistant's form, as another instance would."""
    house = House(Discovery())
    message = announcement(VIEW)
    assert message.retain
    house.fine(message.topic, message.payload)
    assert {"Event hub Mode", "Event hub Maintenance", "Event hub Night light", "Event hub Panic"} <= house.keys
    for state in states(VIEW):
        house.fine(state.topic, state.payload)
    found = house.fine("event-processor/home/mode/state", "away")
    assert values(found) == {"Event hub Mode": ("away", None)}
    assert house.tell("Event hub Mode", "night") == ("event-processor/home/mode/set", "night")
    slug = slug_of("Siren on door")
    assert values(house.fine(f"event-processor/home/rule/{slug}/state", "ON")) == {"Event hub Siren on door": ("on", True)}
    assert [word.online for word in house.fine(last_will(VIEW).topic, last_will(VIEW).payload).availability] == [False]


def test_what_is_gone_is_told_once_and_cleared() -> None:
    house = House(Discovery())
    house.fine(announcement(VIEW).topic, announcement(VIEW).payload)
    after = HubView(id="home", version="1.2", modes=VIEW.modes, mode="away", rules=VIEW.rules[:1])
    left = components(after)
    gone = {id: str(entry["p"]) for id, entry in components(VIEW).items() if id not in left}
    assert set(gone.values()) == {"switch", "binary_sensor", "button"}
    told = json.loads(announcement(after, gone).payload)["cmps"]
    assert all(told[id] == {"p": platform} for id, platform in gone.items())
    found = house.fine(announcement(after, gone).topic, announcement(after, gone).payload)
    assert "Event hub Siren on door" in found.removed
    cleared = [message for message in states(after, VIEW) if message.payload == ""]
    assert {message.topic.split("/")[2] for message in cleared} == {"rule", "device"}


def test_only_what_is_different_is_published_again() -> None:
    after = HubView(id="home", version="1.2", modes=VIEW.modes, mode="away", rules=VIEW.rules, devices=VIEW.devices)
    assert [(message.topic, message.payload) for message in states(after, VIEW)] == [
        ("event-processor/home/mode/state", "away")
    ]
    assert len(states(VIEW)) == 7


def test_what_is_asked_for_in_home_assistant() -> None:
    def ask(topic: str, body: bytes, *, retained: bool = False) -> tuple[str, str, str] | None:
        return read_command(VIEW, topic, body, retained=retained)

    rule = slug_of("Night light")
    assert ask("event-processor/home/mode/set", b"away") == ("mode", "", "away")
    assert ask(f"event-processor/home/rule/{rule}/set", b"OFF") == ("rule", rule, "OFF")
    assert ask("event-processor/home/maintenance/set", b"ON") == ("maintenance", "", "ON")
    assert ask(f"event-processor/home/button/{slug_of('Panic')}/set", b"PRESS") == ("button", slug_of("Panic"), "PRESS")
    assert ask("event-processor/home/mode/set", b"away", retained=True) is None
    for topic, body in (
        ("event-processor/home/mode/set", b"party"),
        ("event-processor/home/rule/nobody/set", b"ON"),
        (f"event-processor/home/rule/{rule}/set", b"\xff"),
        ("event-processor/other/mode/set", b"away"),
        ("event-processor/home/mode/state", b"away"),
    ):
        assert ask(topic, body) is None


def test_its_birth_is_recognised() -> None:
    assert is_birth(VIEW, "homeassistant/status", b"online")
    assert not is_birth(VIEW, "homeassistant/status", b"offline")
    assert "homeassistant/status" in command_filters(VIEW)


def test_names_that_a_topic_cannot_hold_do_not_collide() -> None:
    slugs = {slug_of(name) for name in ("Café", "Cafe", "cafe", "caf", "a/b", "a b", "A b", "+", "#", "日本", "日")}
    assert len(slugs) == 11
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") and slug for slug in slugs)
    assert announcement_topic(HubView(id="My house")).count("/") == 3
