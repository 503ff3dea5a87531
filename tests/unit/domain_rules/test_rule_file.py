"""The rule file: read, written, checked, compared."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain import rules as r
from event_processor.domain.rule_file import Difference, RuleFile, check, diff, export, load
from pylib.errors import ConfigError

RULE = '[[rule]]\nid = "a"\ntrigger = {device = "Door"}\naction = {do = "output", output = "siren"}\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]\n", "this is no TOML"),
        ("[rule]\nid = 'a'", "in two brackets"),
        ("[[rules]]\nid = 'a'", "rules: expected [[rule]], [[mode]] and [group]"),
        (RULE.replace("device", "devise"), "rule a: trigger[0].devise: there is no such field"),
        (RULE.replace('id = "a"', 'id = "a b"'), "rule a b: id: expected up to 64 letters"),
        (RULE.replace('id = "a"\n', ""), "rule number 1 of the file: id: this has to be there"),
        (RULE.replace('do = "output"', 'do = "sing"'), "is no action: there are command, delay, mode, notify, output"),
        (RULE + "latch = {seconds = 'x'}", "rule a: latch.seconds: expected `float`, got `str`"),
        (RULE + "latch = {seconds = -1}", "rule a: latch.seconds: expected 0 to"),
        (RULE + "for_s = inf", "rule a: for_s: expected 0 to"),
        (RULE + "condition = 'event.value >'", "rule a: condition: `event.value >` ends too early"),
        (RULE + 'window = {start = "25:00"}', 'rule a: window[0].start: expected a time such as "22:00"'),
        (RULE + 'window = {days = ["someday"]}', "rule a: window[0].days: expected mon, tue"),
        (RULE + RULE, "rule a: id: two rules have this id"),
        (RULE.replace('{device = "Door"}', '{device = "D", mode = "away"}'), "mode stands alone"),
        (RULE.replace('{device = "Door"}', '{topic = "a/#/b"}'), "trigger[0].topic: # stands for everything below"),
        (RULE.replace('trigger = {device = "Door"}\n', ""), "nothing sets this rule off"),
        (RULE.replace('action = {do = "output", output = "siren"}\n', ""), "this rule does nothing"),
        (RULE.replace('{do = "output", output = "siren"}', '{do = "command"}'), "write one of the two"),
        (RULE.replace('{do = "output", output = "siren"}', '{do = "command", topic = "a/+"}'), "action[0].topic: expected"),
        (RULE + "run = 'sometimes'", "rule a: run: invalid enum value 'sometimes'"),
        (RULE + '[[mode]]\nname = "x"\nexit_delay_s = -1', "mode x: exit_delay_s: expected 0 to 3600"),
    ],
)
def test_an_error_names_file_rule_and_field_and_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(text, "my.toml")
    assert str(error.value).startswith("my.toml: ")
    assert says in str(error.value)


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        load(RULE + "for_s = -1\nmax_age_s = 0\n" + RULE.replace('"a"', '"b"') + "queue = 0")
    assert len(str(error.value).splitlines()) == 3


def test_names_that_nobody_knows_are_warnings() -> None:
    text = (
        RULE + 'modes = ["party"]\ncondition = \'device("Nobody").active\'\n'
        '[[rule]]\nid = "b"\ntrigger = {device = "Nob*"}\n'
        'action = [{do = "mode", mode = "x"}, {do = "command", entity = "Lamp"}]'
    )
    assert check(RULE) == []
    found = [str(problem) for problem in check(text, devices=["Door"], outputs=["lamp"])]
    assert found == [
        "warning: rule a: condition: no device Nobody has been heard so far: what it says is unknown",
        "warning: rule a: action[0].output: siren is described nowhere: control messages go to event.control.siren",
        "warning: rule a: modes: there is no mode party: there are away, home, night; add it as [[mode]]",
        "warning: rule b: trigger[0].device: no device Nob* has been heard so far",
        "warning: rule b: action[0].mode: there is no mode x: there are away, home, night; add it as [[mode]]",
        "warning: rule b: action[1].entity: no device Lamp is known so far",
    ]
    assert (
        check(text + '\n[[mode]]\nname = "party"', devices=["door", "nobody", "lamp"], outputs=["siren"])[-1].field
        == "action[0].mode"
    )


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_name = _text.filter(lambda text: text.strip() != "")
_seconds = st.floats(0, 1e6)
_triggers = st.one_of(
    st.builds(r.Trigger, device=_name, on=st.sampled_from(["activation", "change", "level"]), retained=st.booleans()),
    st.builds(r.Trigger, signal=_name),
    st.builds(r.Trigger, mode=_name),
)
_output_names = st.from_regex(r"[A-Za-z][A-Za-z0-9 ]{0,8}[a-z]", fullmatch=True)
_actions = st.one_of(
    st.builds(r.SetOff, output=_output_names, params=st.none() | _text),
    st.builds(r.Notify, to=st.tuples(_name), title=_text, text=_text, image=st.booleans() | _name),
    st.builds(r.SetMode, mode=_name, at_once=st.booleans()),
    st.builds(r.Delay, seconds=_seconds),
    st.builds(r.UnlessAcknowledged, within_s=st.floats(0.5, 1e5)),
    st.builds(r.DeviceCommand, entity=_name, what=_text, confirm_within_s=_seconds, retries=st.integers(0, 20)),
)
_rules = st.builds(
    r.Rule,
    id=st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True),
    name=_text,
    enabled=st.booleans(),
    trigger=st.lists(_triggers, min_size=1, max_size=3).map(tuple),
    condition=st.sampled_from(["", "event.value > 1", "mode == \"away\" and not device('x').active"]),
    modes=st.lists(_name, max_size=2).map(tuple),
    entry=st.booleans(),
    window=st.lists(st.builds(r.Window, start=st.sampled_from(["00:00", "23:59"]), days=st.just(("mon",))), max_size=2).map(
        tuple
    ),
    count=st.none() | st.builds(r.Count, times=st.integers(0, 9), within_s=_seconds),
    latch=st.none() | st.builds(r.Latch, seconds=_seconds, per=st.sampled_from(["device", "rule"])),
    for_s=_seconds,
    max_age_s=st.floats(0.01, 1e5),
    run=st.sampled_from(["single", "restart", "queued"]),
    action=st.lists(_actions, min_size=1, max_size=4).map(tuple),
)
_files = st.builds(
    RuleFile,
    rule=st.lists(_rules, max_size=4, unique_by=lambda rule: rule.id).map(tuple),
    mode=st.lists(st.builds(r.ModeSpec, name=_name, exit_delay_s=st.floats(0, 3600)), max_size=2).map(tuple),
    group=st.dictionaries(_name, st.lists(_text, max_size=3).map(tuple), max_size=2),
)


@given(_files)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_as_the_same(file: RuleFile) -> None:
    assert load(export(file)) == file
    assert msgspec.json.decode(msgspec.json.encode(file), type=RuleFile) == file


def test_two_files_are_compared_rule_by_rule() -> None:
    one, two, three = (RULE.replace('"a"', f'"{name}"') for name in "abc")
    old, new = load(one + two), load(two.replace("siren", "bell") + three)
    assert diff(old, new) == [
        Difference(rule="a", what="removed"),
        Difference(rule="b", what="changed", fields=("action",)),
        Difference(rule="c", what="added"),
    ]
    assert [found.what for found in diff(load(one + two), load(two + one))] == ["moved", "moved"]
    assert diff(old, old) == []


def test_no_file_breaks_the_reader() -> None:
    for text in (
        "rule = 5",
        "rule = [5]",
        "[[rule]]\nid = 5",
        "group = 5",
        "mode = 'x'",
        "[[rule]]\ntrigger = 5\nid = 'a'",
        "[" * 5000,
    ):
        with pytest.raises(ConfigError):
            load(text)


def test_a_misspelt_device_is_told_what_it_may_have_been_meant_to_be() -> None:
    text = RULE.replace('"Door"', '"Dor"') + "condition = 'device(\"Fron Door\").active'"
    found = [problem.message for problem in check(text, devices=["Door", "Front Door"])]
    assert "no device Fron Door has been heard so far: did you mean Front Door?" in found
    action = (
        '\n[[rule]]\nid = "b"\ntrigger = {device = "Frnt Door"}\naction = {do = "command", entity = "Hal Lamp", what = "on"}'
    )
    named = [problem.message for problem in check(RULE + action, devices=["Door", "Front Door", "Hall Lamp"])]
    assert "no device Frnt Door has been heard so far: did you mean Front Door?" in named
    assert "no device Hal Lamp is known so far: did you mean Hall Lamp?" in named
