"""Each guard lets an event pass or says why not, in a sentence that somebody without a programmer understands."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from event_processor.domain.deciding import take_event
from event_processor.domain.entities import DeviceInfo, Entity
from event_processor.domain.events import Event
from event_processor.domain.outcome import Outcome
from event_processor.domain.turn import Turn
from tests.unit.domain_rules.kit import START, House, sent, verdict

SIREN = """
[[rule]]
id = "siren"
name = "Alarm"
trigger = [{{device = "Front *"{trigger}}}]
action = [{{do = "output", output = "siren"}}]
{guards}
"""


def house(guards: str = "", trigger: str = "", **options: object) -> House:
    return House(SIREN.format(guards=guards, trigger=trigger), **options)  # type: ignore[arg-type]


def test_a_device_that_becomes_active_sets_off_the_output_of_its_rule() -> None:
    outcome = house().hear("Front Door")
    (step,) = outcome.steps
    assert (step.kind, step.address, step.output) == ("control", "event.control.siren", "siren")
    assert step.expires_at == START + 90
    assert verdict(outcome).explanation == "Alarm: Front Door became active. Done: siren was set off."
    assert verdict(outcome).fired


def test_staying_active_is_no_activation() -> None:
    home = house()
    home.hear("Front Door")
    again = home.hear("Front Door")
    assert not again.steps
    assert verdict(again).reason == "not_triggered"
    assert verdict(again).explanation == "Alarm did nothing: Front Door is active, but it was active already."
    home.hear("Front Door", False)
    assert sent(home.hear("Front Door")) == ["siren"]


def test_a_device_that_no_rule_names_meets_no_rule() -> None:
    assert house().hear("Cellar").evaluations == ()


@pytest.mark.parametrize(
    ("on", "reports", "fires"),
    [
        ("activation", [(True, 1), (True, 1), (False, 0), (True, 1)], [1, 0, 0, 1]),
        ("deactivation", [(False, 0), (True, 1), (False, 0), (False, 0)], [1, 0, 1, 0]),
        ("change", [(None, 1), (None, 1), (None, 2), (None, "x")], [1, 0, 1, 1]),
        ("report", [(None, 1), (None, 1), (False, None)], [1, 1, 1]),
        ("level", [(True, 1), (True, 1), (False, 0), (None, 5)], [1, 1, 0, 0]),
        ("activation", [(None, 5)], [0]),
    ],
)
def test_which_reports_count_is_the_triggers_choice(
    on: str, reports: list[tuple[bool | None, object]], fires: list[int]
) -> None:
    home = house(trigger=f', on = "{on}"')
    assert [len(home.hear("Front Door", active, value).steps) for active, value in reports] == fires


def test_names_are_compared_without_regard_to_case_and_all_parts_of_a_trigger_have_to_match() -> None:
    home = house(trigger=', type = "Contact", topic = "zigbee/+/x"')
    assert sent(home.hear("FRONT door", type="contact", topic="zigbee/1/x")) == ["siren"]
    assert home.hear("front 2", type="contact", topic="zigbee/1/y").evaluations == ()
    assert home.hear("front 3", type="motion", topic="zigbee/1/x").evaluations == ()


def test_a_rule_looks_at_a_group_and_at_a_room() -> None:
    text = '[[rule]]\nid = "r"\ntrigger = [{group = "Doors"}, {group = "porch"}]\naction = [{do = "output", output = "siren"}]'
    home = House(text, groups={"doors": ("back *",)})
    registry = home.engine.registry
    registry.put_device(DeviceInfo(id="d", name="d", convention="homie", room="Porch"))
    registry.put_entity(Entity(key="Light 1", device="d", name="x"))
    assert sent(home.hear("Back Door")) == ["siren"]
    assert sent(home.hear("Light 1")) == ["siren"]
    assert not home.hear("Other").evaluations


def test_a_retained_message_sets_the_state_and_fires_nothing_unless_asked() -> None:
    home = house()
    kept = home.hear("Front Door", retained=True)
    assert not kept.steps
    assert verdict(kept).reason == "retained"
    assert home.engine.state.values["Front Door"].active is True
    assert sent(house(trigger=", retained = true").hear("Front Door", retained=True)) == ["siren"]


def test_an_event_of_exactly_the_greatest_age_still_counts() -> None:
    assert house("max_age_s = 10").hear("Front Door", created_at=START - 10).steps
    old = house("max_age_s = 10").hear("Front Door", created_at=START - 10.5)
    assert verdict(old).reason == "too_old"
    assert "10.5 s old, and 10 s is the limit" in verdict(old).explanation
    assert verdict(house("max_age_s = 10").hear("Front Door", created_at=START + 60)).reason == "from_the_future"


def test_a_rule_a_device_or_an_output_that_is_switched_off_says_so_and_comes_back() -> None:
    for about, reason in (("rule:siren", "rule_disabled"), ("device:front door", "disabled")):
        home = house(trigger=', on = "level"')
        home.ask("disable", about)
        assert verdict(home.hear("Front Door")).reason == reason
        home.restart()
        assert not home.hear("Front Door").steps
        home.ask("enable", about)
        assert home.hear("Front Door").steps
    home = house()
    home.ask("disable", "output:siren")
    outcome = home.hear("Front Door")
    assert not outcome.steps
    assert "siren is switched off" in verdict(outcome).explanation


def test_a_disabled_device_does_not_use_up_its_latch() -> None:
    """The original recorded the latch of disabled inputs too, so that enabling one left it silent for a while."""
    home = house("latch = {seconds = 60}", trigger=', on = "level"')
    home.ask("disable", "device:Front Door")
    home.hear("Front Door")
    home.ask("enable", "device:Front Door")
    assert home.hear("Front Door").steps


def test_the_latch_holds_still_and_says_for_how_long() -> None:
    home = house("latch = {seconds = 10}", trigger=', on = "level"')
    assert home.hear("Front Door").steps
    home.now += 9.5
    held = home.hear("Front Door")
    assert verdict(held).explanation.endswith("it fired 9.5 s ago, and holds still for 10 s.")
    assert home.hear("Front Gate").steps, "the latch is for each device"
    home.now += 0.5
    assert home.hear("Front Door").steps


def test_a_latch_may_be_for_the_rule_as_a_whole() -> None:
    home = house('latch = {seconds = 10, per = "rule"}', trigger=', on = "level"')
    assert home.hear("Front Door").steps
    assert not home.hear("Front Gate").steps


@pytest.mark.parametrize(
    "guard", ["latch = {seconds = 0}", "count = {times = 2, within_s = 0}", "count = {times = 0, within_s = 5}"]
)
def test_zero_is_no_guard_and_no_error(guard: str) -> None:
    """In the original a latch of 0 disabled an input after one trigger, and an interval of 0 aborted the other outputs."""
    home = house(guard, trigger=', on = "level"')
    assert [sent(home.hear("Front Door")) for _ in range(3)] == [["siren"]] * 3


def test_it_takes_n_times_within_the_interval() -> None:
    """The original had a rate and never counted it."""
    home = house("count = {times = 3, within_s = 10}", trigger=', on = "level"')
    fired = []
    for pause in (0, 4, 4, 4, 12, 1, 1):
        home.now += pause
        fired.append(len(home.hear("Front Door").steps))
    assert fired == [0, 0, 1, 1, 0, 0, 1]
    assert "2 of 3 times within 10 s" in verdict(home.outcomes[1]).explanation


def test_a_clock_that_is_set_back_does_not_hold_a_latch_or_a_count() -> None:
    home = house("latch = {seconds = 10}", trigger=', on = "level"')
    home.hear("Front Door")
    home.now -= 3600
    assert home.hear("Front Door").steps


def test_a_rule_is_armed_in_its_modes_only() -> None:
    home = house('modes = ["away"]', trigger=', on = "level"')
    assert verdict(home.hear("Front Door")).explanation == (
        "Alarm did nothing: Front Door became active, but it is armed in away only, and the mode is home."
    )
    home.ask("set_mode", "away", True)
    assert home.hear("Front Door").steps


def test_a_window_is_by_the_clock_on_the_wall_of_the_user() -> None:
    """The original converted quiet hours to UTC and then compared them with local ones."""
    zone = ZoneInfo("Africa/Johannesburg")
    home = house('window = [{start = "22:00", end = "06:00"}]', trigger=', on = "level"', zone=zone)
    for hour, opened in ((21, 0), (22, 1), (23, 1), (0, 1), (5, 1), (6, 0), (12, 0)):
        home.now = datetime(2026, 3, 3, hour, 0, tzinfo=zone).timestamp()
        assert len(home.hear("Front Door").steps) == opened, hour
    assert verdict(home.outcomes[-1]).explanation.endswith("but it is Tue 12:00, not 22:00 to 06:00.")


def test_a_window_past_midnight_belongs_to_the_day_on_which_it_starts() -> None:
    home = house('window = [{start = "22:00", end = "06:00", days = ["sat"]}]', trigger=', on = "level"')
    for day, hour, opened in ((7, 5, 0), (7, 23, 1), (8, 5, 1), (8, 23, 0)):  # 2026-03-07 is a Saturday
        home.now = datetime(2026, 3, day, hour, tzinfo=UTC).timestamp()
        assert len(home.hear("Front Door").steps) == opened, (day, hour)


def test_a_condition_that_needs_something_unknown_is_not_true_and_says_what() -> None:
    home = house("""condition = 'device("Lock").active == false'""", trigger=', on = "level"')
    unknown = home.hear("Front Door")
    assert verdict(unknown).reason == "unknown"
    assert 'device("Lock").active is not known' in verdict(unknown).explanation
    home.hear("Lock", False)
    assert home.hear("Front Door").steps
    home.presence("Lock", False)
    assert verdict(home.hear("Front Door")).reason == "unknown"


def test_an_output_rests_for_its_own_interval_whoever_sets_it_off() -> None:
    from event_processor.domain.links import make_output

    home = house(trigger=', on = "level"', outputs=[make_output("siren", min_interval_s=30)])
    assert home.hear("Front Door").steps
    home.now += 20
    resting = home.hear("Front Gate")
    assert not resting.steps
    assert "siren was set off 20.0 s ago, and rests for 30 s" in verdict(resting).explanation
    home.now += 10
    assert home.hear("Front Gate").steps


def test_an_output_that_two_rules_name_is_set_off_once_for_one_event() -> None:
    home = House(
        SIREN.format(guards="", trigger="") + SIREN.format(guards="", trigger="").replace('id = "siren"', 'id = "two"')
    )
    outcome = home.hear("Front Door")
    assert sent(outcome) == ["siren"]
    assert "was set off by Alarm for the same event already" in verdict(outcome, "two").explanation


def test_two_origins_of_one_device_are_one_device() -> None:
    """The original ended when a key was seen from two origins."""
    home = house(trigger=', on = "level"')
    assert home.hear("Front Door", source="mqtt").steps
    assert home.hear("Front Door", source="rabbitmq", topic="event.notify.a.b").steps


def test_what_a_rule_cannot_know_of_fires_nothing() -> None:
    """In the original any state that was on no list, "unavailable" for one, set off the alarm."""
    home = house()
    assert not home.hear("Front Door", None, "unavailable").steps
    assert verdict(home.outcomes[-1]).reason == "no_state"


def test_deciding_is_pure_and_gives_the_same_ids_again() -> None:
    home = house("latch = {seconds = 10}\ncount = {times = 1, within_s = 5}")
    event = Event(device="Front Door", kind="input", active=True, created_at=START, source="mqtt", topic="x")
    engine = home.engine

    def decided(cause: str) -> Outcome:
        turn = Turn(engine.book, engine.state, engine.registry, START, cause)
        take_event(turn, event)
        return turn.outcome()

    first, second = decided("cause"), decided("cause")
    assert first == second == engine.take(event, "cause", START)
    assert first.steps[0].id == second.steps[0].id
    assert not decided("another").steps


def test_a_device_that_reports_another_type_meets_the_rules_of_that_type() -> None:
    home = House(
        '[[rule]]\nid = "m"\ntrigger = {type = "motion", on = "level"}\naction = {do = "output", output = "a"}\n'
        '[[rule]]\nid = "t"\ntrigger = {topic = "x/#", on = "level"}\naction = {do = "output", output = "b"}'
    )
    assert sent(home.hear("D", type="motion", topic="y")) == ["a"]
    assert sent(home.hear("D", type="contact", topic="y")) == []
    assert sent(home.hear("D", type="contact", topic="x/1")) == ["b"]
    assert sent(home.hear("D", type="motion", topic="x/1")) == ["a", "b"]


def test_what_is_switched_off_and_not_known_is_said_to_be_unknown() -> None:
    """It may be to come, so it is done; it may be a misspelling, and then the siren would sound all the same."""
    said = house().ask("disable", "output:sirene")
    assert "siren is switched off." in verdict(house().ask("disable", "output:siren")).explanation
    assert "but no output of that name is known so far: did you mean siren" in verdict(said).explanation
