"""Durations, delays, modes, confirmations, acknowledgements: all that waits, and survives a kill while it waits."""

from __future__ import annotations

import pytest

from event_processor.domain.links import make_output
from event_processor.domain.rules import ModeSpec
from event_processor.domain.state import HubState
from tests.unit.domain_rules.kit import START, House, sent, verdict

OPEN = """
[[rule]]
id = "open"
name = "Left open"
trigger = {device = "Fridge"}
for_s = 60
action = [{do = "notify", to = ["phone"], text = "{device} is open since a minute, it is {time}"}]
"""


def test_what_lasts_long_enough_fires_once_at_its_time() -> None:
    house = House(OPEN)
    waiting = house.hear("Fridge")
    assert verdict(waiting).reason == "waiting"
    assert house.engine.next_due() == START + 60
    assert house.wait(59) == []
    (fired,) = house.wait(1)
    assert sent(fired) == ["phone"]
    assert fired.steps[0].body["text"] == "Fridge is open since a minute, it is 22:14"  # type: ignore[index]
    house.hear("Fridge")
    assert house.wait(3600) == []
    house.hear("Fridge", False)
    house.hear("Fridge")
    assert sent(house.wait(60)) == ["phone"]


@pytest.mark.parametrize("end", ["closes", "silent", "unknown"])
def test_a_duration_ends_when_it_is_no_longer_true_or_no_longer_known(end: str) -> None:
    house = House(OPEN)
    house.hear("Fridge")
    house.wait(30)
    if end == "closes":
        outcome = house.hear("Fridge", False)
    elif end == "silent":
        outcome = house.presence("Fridge", False)
    else:
        outcome = house.hear("Fridge", None)
    assert verdict(outcome).reason == "ended"
    assert "waits no longer, after 30.0 s of 60 s" in verdict(outcome).explanation
    assert house.wait(600) == []
    assert house.engine.next_due() is None


def test_reports_in_between_do_not_start_a_duration_anew() -> None:
    house = House(OPEN)
    for _ in range(6):
        house.hear("Fridge")
        assert not house.wait(9)
    assert sent(house.wait(6)) == ["phone"]


def test_a_duration_with_a_condition_on_another_device_ends_with_that_one() -> None:
    house = House(
        """
        [[rule]]
        id = "heat"
        trigger = [{device = "Window"}]
        condition = 'device("Heater").active'
        for_s = 60
        action = [{do = "output", output = "bell"}]
        """
    )
    house.hear("Heater")
    house.hear("Window")
    house.wait(30)
    off = house.hear("Heater", False)
    assert verdict(off, "heat").reason == "ended"
    assert house.wait(100) == []
    house.hear("Heater")
    assert house.wait(100) == [], "the window has to say again that it is open"


def test_a_duration_survives_a_kill_and_a_late_start_decides_at_once() -> None:
    house = House(OPEN)
    house.hear("Fridge")
    house.wait(20)
    assert house.restart(down=10) == []
    assert house.engine.next_due() == START + 60
    assert sent(house.wait(30)) == ["phone"]
    house = House(OPEN)
    house.hear("Fridge")
    assert sent(house.restart(down=7200)) == ["phone"]
    assert house.steps[0].expires_at > house.now


def test_mode_and_window_are_asked_when_the_time_is_up() -> None:
    house = House(OPEN.replace("for_s", 'modes = ["away"]\nfor_s'))
    house.hear("Fridge")
    house.wait(30)
    house.ask("set_mode", "away", True)
    assert sent(house.wait(30)) == ["phone"]
    house.ask("set_mode", "home")
    house.hear("Fridge", False)
    house.hear("Fridge")
    (outcome,) = house.wait(60)
    assert verdict(outcome).reason == "mode"


RUN = """
[[rule]]
id = "stairs"
name = "Stairs"
trigger = [{{device = "Stairs *", on = "level"}}]
run = "{run}"
queue = 2
action = [{{do = "command", topic = "light/set", payload = "ON"}}, {{do = "delay", seconds = 10}},
          {{do = "command", topic = "light/set", payload = "OFF"}}]
"""


def _stairs(run: str) -> tuple[House, list[tuple[float, object]]]:
    house = House(RUN.format(run=run))
    house.hear("Stairs 1")
    house.wait(4)
    house.hear("Stairs 2")
    house.wait(100)
    return house, [(step.at - START, step.body) for step in house.steps]


def test_a_single_run_refuses_another_while_it_runs() -> None:
    house, steps = _stairs("single")
    assert steps == [(0, "ON"), (10, "OFF")]
    assert any(one.reason == "busy" for outcome in house.outcomes for one in outcome.evaluations)


def test_a_restarted_run_starts_over() -> None:
    assert _stairs("restart")[1] == [(0, "ON"), (4, "ON"), (14, "OFF")]


def test_a_queued_run_waits_for_the_one_before_it() -> None:
    assert _stairs("queued")[1] == [(0, "ON"), (10, "OFF"), (10, "ON"), (20, "OFF")]


def test_a_queue_is_bounded() -> None:
    house = House(RUN.format(run="queued"))
    reasons = [verdict(house.hear(f"Stairs {number}")).reason for number in range(5)]
    assert reasons == ["triggered", "queued", "queued", "busy", "busy"]


@pytest.mark.parametrize("run", ["single", "restart", "queued"])
def test_a_run_goes_on_after_a_kill_with_the_same_ids(run: str) -> None:
    undisturbed = House(RUN.format(run=run))
    killed = House(RUN.format(run=run))
    for house in (undisturbed, killed):
        for number in range(3):
            house.hear(f"Stairs {number}")
            house.wait(3)
            if house is killed:
                house.restart()
        house.wait(60)
    assert [step.id for step in killed.steps] == [step.id for step in undisturbed.steps]
    assert len({step.id for step in killed.steps}) == len(killed.steps)


ALARM = """
[[rule]]
id = "alarm"
name = "Alarm"
trigger = [{device = "Door"}]
modes = ["away"]
entry = true
action = [{do = "output", output = "siren"}]
"""


def test_going_away_leaves_time_to_go_and_coming_home_time_to_disarm() -> None:
    house = House(ALARM)
    assert "will be away in 60 s" in verdict(house.ask("set_mode", "away")).explanation
    assert not house.hear("Door").steps, "on the way out"
    house.hear("Door", False)
    house.wait(60)
    assert house.mode == "away"
    entered = house.hear("Door")
    assert not entered.steps
    assert "there are 30 s to disarm" in verdict(entered).explanation
    assert sent(house.wait(30)) == ["siren"]


def test_who_disarms_in_time_hears_no_siren_and_reads_why() -> None:
    house = House(ALARM)
    house.ask("set_mode", "away", True)
    house.hear("Door")
    house.wait(20)
    disarmed = house.ask("set_mode", "home")
    assert [one.reason for one in disarmed.evaluations if one.rule] == ["disarmed"]
    assert house.wait(300) == []


def test_going_away_can_be_called_off() -> None:
    house = House(ALARM)
    house.ask("set_mode", "away")
    assert "called off" in verdict(house.ask("set_mode", "home")).explanation
    assert house.wait(300) == []
    assert house.mode == "home"


def test_an_own_mode_and_a_rule_that_waits_for_it() -> None:
    text = """
    [[rule]]
    id = "party"
    trigger = [{mode = "party"}]
    action = [{do = "output", output = "lamp"}]
    [[rule]]
    id = "start"
    trigger = [{signal = "button"}]
    action = [{do = "mode", mode = "party"}]
    """
    house = House(text, modes=[ModeSpec(name="home"), ModeSpec(name="party")])
    assert sent(house.happen("signal", "button")) == ["lamp"]
    assert house.mode == "party"
    assert "there is no mode disco" in verdict(house.ask("set_mode", "disco")).explanation


def test_rules_that_set_each_other_off_come_to_an_end() -> None:
    text = """
    [[rule]]
    id = "a"
    trigger = [{mode = "home"}]
    action = [{do = "mode", mode = "night"}]
    [[rule]]
    id = "b"
    trigger = [{mode = "night"}]
    action = [{do = "mode", mode = "home"}]
    """
    house = House(text)
    outcome = house.ask("set_mode", "night")
    assert outcome.evaluations[-1].reason == "chain"


ESCALATE = """
[[rule]]
id = "leak"
name = "Leak"
trigger = [{device = "Leak"}]
action = [{do = "notify", to = ["phone"]}, {do = "unless_acknowledged", within_s = 60},
          {do = "notify", to = ["neighbour"]}, {do = "unless_acknowledged", within_s = 60}, {do = "output", output = "siren"}]
"""


def test_what_nobody_acknowledges_escalates_by_itself() -> None:
    """In the original an escalation needed further triggers, and could span two incidents."""
    house = House(ESCALATE)
    assert sent(house.hear("Leak")) == ["phone"]
    assert sent(house.wait(60)) == ["neighbour"]
    assert sent(house.wait(60)) == ["siren"]
    assert house.engine.next_due() is None


def test_an_acknowledgement_ends_the_escalation_and_the_next_incident_starts_anew() -> None:
    house = House(ESCALATE)
    house.hear("Leak")
    house.wait(30)
    outcome = house.ask("acknowledge", "leak")
    assert "Anna has acknowledged" in verdict(outcome, "leak").explanation
    assert house.wait(600) == []
    house.hear("Leak", False)
    assert sent(house.hear("Leak")) == ["phone"]
    assert sent(house.wait(60)) == ["neighbour"]
    assert "nothing waits" in verdict(House(ESCALATE).ask("acknowledge")).explanation


LAMP = """
[[rule]]
id = "dusk"
trigger = [{signal = "dusk"}]
action = [{do = "command", entity = "Lamp", what = "on", confirm_within_s = 5, retries = 2}]
[[rule]]
id = "broken"
trigger = [{unconfirmed = "lamp"}]
action = [{do = "notify", to = ["phone"], text = "{device} does not answer"}]
"""


def test_a_command_is_confirmed_by_what_the_device_reports() -> None:
    house = House(LAMP)
    house.switch("Lamp")
    (step,) = house.happen("signal", "dusk").steps
    assert (step.kind, step.address, step.body) == ("command", "Lamp/set", "ON")
    house.wait(2)
    house.hear("Lamp", False, "OFF")
    assert house.engine.next_due() == START + 5, "that was no confirmation"
    confirmed = house.hear("Lamp", True, "ON")
    assert [one.reason for one in confirmed.evaluations] == ["confirmed"]
    assert house.wait(60) == []


def test_a_device_that_does_not_answer_is_told_again_and_then_reported() -> None:
    house = House(LAMP)
    house.switch("Lamp")
    house.happen("signal", "dusk")
    house.wait(3)
    house.restart()
    house.wait(60)
    assert [(step.kind, step.at - START) for step in house.steps] == [
        ("command", 0), ("command", 5), ("command", 10), ("notify", 15)
    ]  # fmt: skip
    assert len({step.id for step in house.steps}) == 4
    assert house.steps[-1].body["text"] == "Lamp does not answer"  # type: ignore[index]


def test_a_device_that_never_reports_is_not_waited_for() -> None:
    house = House(LAMP)
    house.switch("Lamp", reports=False)
    outcome = house.happen("signal", "dusk")
    assert "does not report back" in verdict(outcome).explanation
    assert house.engine.next_due() is None


def test_a_command_to_nobody_says_so() -> None:
    assert "there is no device Lamp" in verdict(House(LAMP).happen("signal", "dusk")).explanation
    asked = House(LAMP).ask("command", "Lamp", "on")
    assert not asked.evaluations[0].fired


def test_a_person_can_switch_a_device() -> None:
    house = House(LAMP)
    house.switch("Lamp")
    assert [step.body for step in house.ask("command", "lamp", True).steps] == ["ON"]
    assert not house.ask("command", "lamp", "purple").steps


def test_in_maintenance_all_is_decided_and_nothing_leaves() -> None:
    house = House(ALARM.replace("entry = true\n", "").replace('modes = ["away"]\n', "") + LAMP, outputs=[make_output("siren")])
    house.switch("Lamp")
    house.ask("maintenance", value=True)
    outcome = house.hear("Door")
    assert verdict(outcome).fired
    assert verdict(outcome).reason == "maintenance"
    assert "siren was left alone: maintenance mode is on" in verdict(outcome).explanation
    house.happen("signal", "dusk")
    house.wait(60)
    house.restart()
    assert house.steps == []
    house.ask("maintenance", value=False)
    assert sent(house.happen("signal", "dusk")) == ["Lamp"]


def test_the_panic_button_sets_off_the_rules_that_wait_for_it() -> None:
    """In the original it was silently ignored."""
    house = House('[[rule]]\nid = "p"\ntrigger = [{signal = "panic"}]\naction = [{do = "output", output = "siren"}]')
    assert sent(house.ask("signal", "panic")) == ["siren"]
    assert "nobody knows what that is" in verdict(house.ask("sing")).explanation


def test_a_device_that_goes_silent_and_comes_back_fires_its_rules_once_each() -> None:
    text = """
    [[rule]]
    id = "gone"
    trigger = [{offline = "*"}]
    action = [{do = "notify", to = ["phone"]}]
    [[rule]]
    id = "back"
    trigger = [{online = "Door*"}]
    action = [{do = "notify", to = ["phone"]}]
    """
    house = House(text)
    assert not house.presence("Door", False).evaluations, "told the first time, it is no news"
    assert sent(house.presence("Door", True)) == ["phone"]
    house.hear("Door")
    assert sent(house.presence("Door", False)) == ["phone"]
    assert not house.presence("Door", False).evaluations
    house.restart()
    assert not house.presence("Door", False).evaluations
    assert sent(house.presence("Door", True)) == ["phone"]


def test_a_device_may_be_silent_for_a_while_before_anybody_is_told() -> None:
    text = '[[rule]]\nid = "gone"\ntrigger = [{offline = "*"}]\nfor_s = 600\naction = [{do = "notify", to = ["phone"]}]'
    house = House(text)
    house.hear("Door")
    house.presence("Door", False)
    house.wait(300)
    assert verdict(house.presence("Door", True)).reason == "ended"
    assert house.wait(3000) == []
    house.presence("Door", False)
    assert sent(house.wait(600)) == ["phone"]


def test_rules_that_are_gone_leave_nothing_behind_and_the_others_go_on() -> None:
    from event_processor.domain.rulebook import Rulebook, compile_rules

    house = House(ESCALATE + OPEN)
    house.hear("Leak")
    house.hear("Fridge")
    kept = [rule for rule in house.rules if rule.id == "open"]
    outcome = house.engine.reload(Rulebook(compile_rules(kept)), house.now, "reload")
    assert [one.reason for one in outcome.evaluations] == ["rule_removed"]
    assert sent(house.wait(600)) == ["phone"]
    assert not [key for key in house.engine.state.memos if ":leak:" in key]


def test_the_state_is_rebuilt_exactly_from_the_changes_and_from_the_rows() -> None:
    house = House(ESCALATE + ALARM + LAMP + OPEN)
    house.switch("Lamp")
    house.ask("set_mode", "away")
    for device in ("Leak", "Fridge", "Door"):
        house.hear(device, value=21.25)
    house.happen("signal", "dusk")
    house.ask("disable", "output:siren")
    house.presence("Door", False)
    house.wait(70)
    replica = HubState()
    for outcome in house.outcomes:
        replica.apply(outcome.changes)
    rows = sorted(house.engine.state.rows())
    assert rows
    assert sorted(replica.rows()) == rows
    assert sorted(HubState.restore(rows).rows()) == rows
    assert HubState.restore(rows).held == house.engine.state.held


def test_ids_are_never_given_twice_in_one_decision() -> None:
    text = """
    [[rule]]
    id = "a"
    trigger = [{mode = "*"}]
    action = [{do = "notify"}, {do = "mode", mode = "night"}, {do = "mode", mode = "home"}]
    """
    outcome = House(text).ask("set_mode", "night")
    assert len(outcome.steps) > 2
    assert len({step.id for step in outcome.steps}) == len(outcome.steps)


def test_the_devices_of_a_group_are_switched_together() -> None:
    house = House(ALARM.replace('modes = ["away"]\nentry = true\n', ""), groups={"doors": ("door", "gate")})
    house.hear("Door", False)
    assert "Door is switched off" in verdict(house.ask("disable", "group:Doors")).explanation
    assert verdict(house.hear("Door")).reason == "disabled"
    house.ask("enable", "group:doors")
    house.hear("Door", False)
    assert sent(house.hear("Door")) == ["siren"]


def test_an_entity_that_is_taken_back_leaves_nothing_behind() -> None:
    from event_processor.domain.outcome import Change

    house = House(OPEN)
    house.switch("Fridge")
    house.hear("Fridge")
    outcome = house.engine.learn([Change("entity", "Fridge", None)], "gone", house.now)
    assert verdict(outcome).reason == "ended"
    assert not list(house.engine.state.rows())
    assert house.engine.next_due() is None


def test_there_is_an_end_to_how_many_devices_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from event_processor.domain import deciding

    monkeypatch.setattr(deciding, "MOST_KNOWN", 2)
    house = House(ALARM)
    for number in range(3):
        outcome = house.hear(f"Door {number}")
    assert verdict(outcome).reason == "too_many_devices"
    assert len(house.engine.state.values) == 2


def test_what_is_switched_may_be_named_by_a_pattern() -> None:
    house = House(ALARM.replace('modes = ["away"]\nentry = true\n', ""))
    house.hear("Door", False)
    house.hear("Window", False)
    assert "Door, Window are switched off" in verdict(house.ask("disable", "device:*o*")).explanation
    assert verdict(house.hear("Door")).reason == "disabled"
    house.ask("disable", "rule:al*")
    assert verdict(house.hear("Door", False)).reason == "rule_disabled"
    assert "there is no rule x" in verdict(house.ask("disable", "rule:x")).explanation


def test_a_device_that_moves_to_another_room_is_in_that_rooms_rules_at_once() -> None:
    import msgspec

    from event_processor.domain.entities import Entity
    from event_processor.domain.outcome import Change

    house = House('[[rule]]\nid = "r"\ntrigger = {group = "hall", on = "level"}\naction = {do = "output", output = "siren"}')
    house.switch("Lamp")
    assert not house.hear("Lamp").evaluations
    moved = Entity(key="Lamp", device="d-Lamp", name="Lamp", room="Hall")
    house.engine.learn([Change("entity", "Lamp", msgspec.json.encode(moved))], "moved", house.now)
    assert house.hear("Lamp").steps


def test_a_start_with_other_rules_and_modes_forgets_what_is_no_longer_there() -> None:
    from event_processor.domain.rulebook import Rulebook, compile_rules

    house = House(ESCALATE + OPEN, modes=[ModeSpec(name="home"), ModeSpec(name="party")])
    house.ask("set_mode", "party")
    house.hear("Leak")
    house.restart()
    book = Rulebook(compile_rules([rule for rule in house.rules if rule.id == "open"]))
    outcome = house.engine.reload(book, house.now, "start")
    assert [one.reason for one in outcome.evaluations] == ["rule_removed"]
    assert house.mode == "home"
    assert house.engine.next_due() is None


def test_a_device_that_is_so_already_is_told_and_not_waited_for() -> None:
    house = House(LAMP)
    house.switch("Lamp")
    house.hear("Lamp", True, "ON")
    outcome = house.happen("signal", "dusk")
    assert sent(outcome) == ["Lamp"]
    assert "Lamp is so already" in verdict(outcome).explanation
    assert house.engine.next_due() is None


def test_a_wait_that_has_ended_is_not_looked_at_again() -> None:
    house = House(OPEN)
    house.hear("Fridge")
    assert house.engine.state.held == {"open": {"Fridge": None}}
    house.hear("Fridge", False)
    assert house.engine.state.held == {}


def test_a_group_of_the_registry_comes_and_goes() -> None:
    from event_processor.domain.outcome import Change

    house = House('[[rule]]\nid = "r"\ntrigger = {group = "mine", on = "level"}\naction = {do = "output", output = "siren"}')
    house.switch("Lamp")
    house.engine.learn([Change("setting", "group:mine", b'["Lamp"]')], "there", house.now)
    assert house.hear("Lamp").steps
    house.engine.learn([Change("setting", "group:mine", None)], "gone", house.now)
    assert not house.hear("Lamp").evaluations
