"""Links as rules decide as links did; explanations answer; a replay decides as it was live."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.actions import Command
from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.explain import explain
from event_processor.domain.link_rules import outputs_of_policy, rules_of_policy
from event_processor.domain.links import compile_links, make_output
from event_processor.domain.policy import MeterLimits, Policy
from event_processor.domain.replay import replay
from event_processor.domain.rule_checks import check_rule
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.notify.notes import read_step
from tests.unit.domain_rules.kit import START, House, rules_of, sent, verdict
from tests.unit.first_decision import decide

LAMP = make_output("lamp", topic="cmnd/lamp/POWER", payload="ON {value}", qos=2, retain=True)
POLICY = Policy(
    links=compile_links(
        {"Front Door": "siren, lamp", "* meter": "lamp", "Shed.?oor": "off", "hall": "mqtt:cmnd/x {value}"},
        {"motion": "Siren"},
        [LAMP, make_output("off", enabled=False)],
    ),
    meters={
        "water meter": MeterLimits(low=-0.5, high=20),
        "gas meter": MeterLimits(high=3, of_minute=True),
        "any meter": MeterLimits(every_reading=True),
        "no meter": MeterLimits(),
    },
    disabled=frozenset({"cellar door"}),
)


COMPILED = compile_rules(rules_of_policy(POLICY))


def engine_of(policy: Policy) -> Engine:
    return Engine(
        Rulebook(
            COMPILED,
            outputs=outputs_of_policy(policy),
            disabled=policy.disabled,
            control_expiry_s=policy.control_expiry_s,
        )
    )


def test_the_rules_that_links_become_are_rules_that_a_file_could_hold() -> None:
    rules = rules_of_policy(POLICY)
    assert [found for rule in rules for found in check_rule(rule)] == []
    assert len({rule.id for rule in rules}) == len(rules)


_events = st.builds(
    Event,
    device=st.sampled_from(
        [
            "Front Door",
            "FRONT door",
            "water meter",
            "Gas Meter",
            "any meter",
            "no meter",
            "Shed.door",
            "Shedxdoor",
            "hall",
            "cellar door",
        ]
    ),
    kind=st.sampled_from(["input", "heartbeat", "output"]),
    type=st.sampled_from(["contact", "Motion", ""]),
    active=st.sampled_from([True, False, None]),
    value=st.sampled_from([None, 0, -1, 21.5, "on"]),
    minute=st.sampled_from([None, 2, 4]),
    retained=st.booleans(),
    created_at=st.sampled_from([START, START - 121, START + 500]),
    source=st.just("mqtt"),
    topic=st.just("t"),
)


@given(st.lists(_events, max_size=8))
@settings(max_examples=80, deadline=None)
def test_links_and_meters_as_rules_send_what_they_always_sent(events: list[Event]) -> None:
    engine = engine_of(POLICY)
    for number, event in enumerate(events):
        if "meter" in event.device.lower() and event.kind == "input":
            event = msgspec.structs.replace(event, kind="meter", active=None)
        wanted = [one.action for one in decide(event, {}, START, POLICY) if one.action is not None]
        steps = engine.take(event, f"e{number}", START).steps
        assert sorted(step.output for step in steps) == sorted(action.output for action in wanted)
        for step in steps:
            action = next(one for one in wanted if one.output == step.output)
            if isinstance(action, Command):
                assert (step.address, step.body, step.qos, step.retain) == (
                    action.topic, action.payload, action.qos, action.retain
                )  # fmt: skip
            else:
                assert step.address == action.routing_key


def test_what_a_rule_marks_as_urgent_does_not_wait_for_the_end_of_the_quiet_time() -> None:
    rule = '[[rule]]\nid = "smoke"\ntrigger = {device = "Attic"}\naction = [{do = "notify", urgent = true}, {do = "notify"}]'
    assert [read_step(step).urgent for step in House(rule).hear("Attic").steps] == [True, False]


def test_an_output_that_cannot_be_set_off_does_not_stop_the_others() -> None:
    """In the original an unknown type aborted what was left of a message."""
    house = House(
        '[[rule]]\nid = "r"\ntrigger = {device = "D"}\n'
        'action = [{do = "output", output = "no/such type!"}, {do = "command", entity = "nobody"},\n'
        '          {do = "output", output = "siren"}]'
    )
    outcome = house.hear("D")
    assert sent(outcome) == ["siren"]
    assert "no/such type! is no output" in verdict(outcome).explanation


def test_what_is_said_to_be_set_off_was_sent_and_the_event_stays_as_it_was() -> None:
    """The original logged outputs as triggered that it sent nothing to, and took the picture out of the shared event."""
    house = House(
        '[[rule]]\nid = "r"\ntrigger = {device = "D"}\n'
        'action = [{do = "output", output = "tts"}, {do = "notify", image = true}]'
    )
    outcome = house.hear("D", detail="a person", label="Camera")
    assert outcome.event is not None
    assert (outcome.event.detail, outcome.event.label) == ("a person", "Camera")
    assert [check.guard for check in verdict(outcome).checks if check.passed][-2:] == ["output tts", "notify"]
    assert [step.kind for step in outcome.steps] == ["control", "notify"]
    assert outcome.steps[0].body["active_input"]["event_detail"] == "a person"  # type: ignore[index]


SIREN = """
[[rule]]
id = "alarm"
name = "Alarm"
trigger = {device = "Front *", on = "level"}
modes = ["away"]
latch = {seconds = 60}
action = {do = "output", output = "siren"}
"""


def test_why_did_the_siren_not_sound() -> None:
    house = House(SIREN)
    book = house.engine.book

    def ask(about: str = "siren", since: float = 0) -> str:
        stored = [one for outcome in house.outcomes for one in outcome.evaluations]
        return explain(about, since, stored, book).summary

    assert ask("bell") == "No rule is called bell or sets off bell."
    assert ask() == "Nothing happened that concerns siren: no event since then set off a look at Alarm."
    house.hear("Front Door")
    assert ask() == (
        "It was not. It came closest here: Alarm did nothing: Front Door became active, but it is armed in away only, "
        "and the mode is home."
    )
    house.ask("set_mode", "away", True)
    house.now += 5
    house.hear("Front Door")
    assert ask() == "It was, once: Alarm: Front Door is active. Done: siren was set off."
    assert ask("alarm").startswith("It was, once: ")
    house.now += 5
    house.hear("Front Door")
    assert "holds still for 60 s" in ask(since=house.now - 1)
    house.ask("disable", "output:siren")
    house.now += 100
    house.hear("Front Door")
    assert "It was not." in ask(since=house.now - 1)
    assert "siren is switched off" in ask(since=house.now - 1)


TIMED = SIREN.replace('modes = ["away"]\n', "") + (
    '[[rule]]\nid = "open"\ntrigger = {device = "Fridge"}\nfor_s = 10\n'
    'action = [{do = "notify"}, {do = "delay", seconds = 7}, {do = "notify"}]\n'
)


def live(count: int = 200) -> tuple[House, list[tuple[str, float, Event | Availability]]]:
    house, said = House(TIMED), []
    for number in range(count):
        device = ("Front Door", "Fridge", "Other")[number % 3]
        outcome = house.hear(device, number % 4 != 0)
        assert outcome.event is not None
        said.append((outcome.cause, house.now, outcome.event))
        house.wait((number % 5) * 2.0)
    house.wait(60)
    return house, said  # type: ignore[return-value]


def fresh(text: str) -> Engine:
    return Engine(Rulebook(compile_rules(rules_of(text))))


def test_a_replay_with_the_same_rules_decides_as_it_was_live() -> None:
    house, said = live()
    again = House(TIMED)
    steps = [(step.id, step.at) for step in house.steps]
    for cause, at, event in said:
        again.wait(at - again.now)
        again._kept(again.engine.take(event, cause, at))
    again.wait(60)
    assert [(step.id, step.at) for step in again.steps] == steps
    report = replay(said, fresh(TIMED), fresh(TIMED), until=house.now)
    assert (report.events, report.differing) == (200, ())
    assert report.fired_before == report.fired_after
    fired = sum(one.fired for outcome in house.outcomes for one in outcome.evaluations)
    assert sum(report.fired_after.values()) == fired


def test_a_replay_with_changed_rules_tells_what_differs() -> None:
    house, said = live()
    report = replay(said, fresh(TIMED), fresh(TIMED.replace("seconds = 60", "seconds = 1").replace("for_s = 10", "for_s = 3")))
    assert {one.rule for one in report.differing} == {"alarm", "open"}
    first = next(one for one in report.differing if one.rule == "alarm")
    assert first.before is not None
    assert first.after is not None
    assert (first.before.reason, first.after.reason) == ("latch", "triggered")
    assert first.after.steps == ("control event.control.siren",)
    alone = replay(said, None, fresh(TIMED), until=house.now)
    assert alone.differing
    assert all(one.after is not None and one.after.fired for one in alone.differing)


@pytest.mark.parametrize("repeats", [1, 3])
def test_timers_that_ring_a_little_late_decide_as_of_their_own_time(repeats: int) -> None:
    house = House(TIMED)
    house.hear("Fridge")
    for _ in range(repeats):
        house.now = START + 10.25
        house.engine.due(house.now)
    assert house.engine.next_due() == START + 17
