"""Each guard lets an event pass or says why not."""

from __future__ import annotations

import pytest

from event_processor.domain.links import make_output
from tests.unit.domain_rules.kit import START, House, sent, verdict

SIREN = """
[[rule]]
id = "siren"
name = "Alarm"
trigger = [{device = "Front *"}]
action = [{do = "output", output = "siren"}]
"""


def test_a_device_that_becomes_active_sets_off_the_output_of_its_rule() -> None:
    house = House(SIREN)
    outcome = house.hear("Front Door")
    (step,) = outcome.steps
    assert (step.kind, step.address, step.output) == ("control", "event.control.siren", "siren")
    assert verdict(outcome).explanation == "Alarm: Front Door became active. Done: siren was set off."
    assert verdict(outcome).fired


def test_staying_active_is_no_activation() -> None:
    house = House(SIREN)
    house.hear("Front Door")
    again = house.hear("Front Door")
    assert not again.steps
    assert verdict(again).reason == "not_triggered"
    assert verdict(again).explanation == "Alarm did nothing: Front Door is active, but it was active already."
    house.hear("Front Door", False)
    assert sent(house.hear("Front Door")) == ["siren"]


def test_a_device_that_no_rule_names_meets_no_rule() -> None:
    assert House(SIREN).hear("Cellar").evaluations == ()
