"""A picture happens rather than lasts, and a rule says whose picture goes with what it tells."""

from __future__ import annotations

import pytest

from event_processor.domain.entities import DeviceInfo, Entity
from event_processor.domain.rule_checks import check_rule
from tests.unit.domain_rules.kit import House, rules_of

NAME = "2026/11/24/" + "0" * 64 + ".jpg"
TELLS = """
[[rule]]
id = "tells"
trigger = [{{device = "*", retained = {retained}}}]
action = {{do = "notify", to = ["phone"], text = "{{device}}", image = {image}}}
"""


def house(image: str = "true", *, retained: str = "false") -> House:
    made = House(TELLS.format(image=image, retained=retained))
    for device, parts in (("front", ("bell", "picture")), ("back", ("door",)), ("yard", ("picture",))):
        made.engine.registry.put_device(DeviceInfo(id=device, name=device, convention="homeassistant"))
        for part in parts:
            made.engine.registry.put_entity(Entity(key=f"{device} {part}", device=device, name=part, type=part))
    return made


def asked(made: House) -> list[tuple[object, object]]:
    return [(body["image"], body.get("camera")) for step in made.steps if isinstance(body := step.body, dict)]


def test_each_picture_is_an_activation() -> None:
    made = house()
    for _ in range(3):
        made.hear("front picture", True, NAME, type="picture")
        made.now += 10
    assert len(made.steps) == 3
    assert made.outcomes[0].evaluations[0].explanation.startswith("tells: front picture has sent a picture.")
    assert made.engine.state.values["front picture"].value == NAME


def test_a_picture_that_the_broker_kept_sets_the_value_and_fires_nothing_unless_a_rule_asks_for_it() -> None:
    made = house()
    made.hear("front picture", True, NAME, type="picture", retained=True)
    assert made.steps == []
    assert made.engine.state.values["front picture"].value == NAME
    made = house(retained="true")
    made.hear("front picture", True, NAME, type="picture", retained=True)
    assert len(made.steps) == 1


@pytest.mark.parametrize(
    ("image", "device", "camera"),
    [
        ("true", "front picture", None),
        ("true", "front bell", "front picture"),
        ("true", "back door", None),
        ("true", "nobody knows it", None),
        ('"yard picture"', "back door", "yard picture"),
        ('"Yard Picture"', "back door", "yard picture"),
        ('"yard picture"', "front picture", "yard picture"),
        ('"no such camera"', "back door", "no such camera"),
    ],
)
def test_the_picture_is_the_event_s_own_or_its_device_s_or_that_of_the_camera_that_is_named(
    image: str, device: str, camera: str | None
) -> None:
    made = house(image)
    made.hear(device, True, type="picture" if device.endswith("picture") else "")
    assert asked(made) == [(True, camera)]


@pytest.mark.parametrize("image", ["false", '""'])
def test_without_being_asked_for_there_is_none(image: str) -> None:
    made = house(image)
    made.hear("front bell", True)
    assert asked(made) == [(False, None)]


def test_a_camera_that_nobody_knows_is_a_warning() -> None:
    (rule,) = rules_of(TELLS.format(image='"Yard picture"', retained="false"))
    assert [(found[0], found[1]) for found in check_rule(rule, devices={"front picture": "Front Picture"})] == [
        ("warning", "action[0].image")
    ]
    assert list(check_rule(rule, devices={"yard picture": "Yard Picture"})) == []
