"""A section whose name is nearly one of the hub's is told, and one of somebody else's is left alone."""

from __future__ import annotations

from event_processor.settings.spelling import misspelt


def test_a_misspelt_section_is_told_which_one_it_may_have_been_meant_to_be() -> None:
    assert list(misspelt(["outptu:siren", "Mqtt", "link", "shedule:evening", "output"])) == [
        "nothing reads the section [outptu:siren]: did you mean [output:siren]?",
        "nothing reads the section [Mqtt]: did you mean [mqtt]?",
        "nothing reads the section [link]: did you mean [links]?",
        "nothing reads the section [shedule:evening]: did you mean [schedule:evening]?",
        "nothing reads the section [output]: did you mean [output:NAME]?",
    ]


def test_sections_of_the_hub_and_of_other_applications_are_left_alone() -> None:
    own = ["rabbitmq", "mqtt", "hub", "web", "links", "type_links", "output:siren", "meter:Water", "notify:default"]
    assert not list(misspelt([*own, "mapping:doors", "schedule:evening", "app", "logging", "siren", "garden", "sms"]))
