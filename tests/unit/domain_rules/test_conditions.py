"""The expression language: what it can say, what it refuses, and what it does with what is not known."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.condition_nodes import ATTRIBUTES
from event_processor.domain.conditions import MOST_CHARACTERS, compile_condition
from event_processor.domain.fields import Scalar
from pylib.errors import ConfigError
from tests.unit.domain_rules.kit import House, verdict


class Facts:
    """Whatever a test says that is known."""

    def __init__(self, known: dict[str, Scalar]) -> None:
        self.known = known

    def event(self, name: str) -> Scalar:
        return self.known.get(f"event.{name}")

    def device(self, key: str, name: str) -> Scalar:
        return self.known.get(f"{key}.{name}")

    def group(self, key: str, name: str) -> Scalar:
        return self.known.get(f"{key}.{name}")

    def now(self, name: str) -> Scalar:
        return self.known.get(f"now.{name}")

    def mode(self) -> str:
        return "away"


def judge(text: str, **known: Scalar) -> bool | None:
    facts = {name.replace("__", "."): value for name, value in known.items()}
    return compile_condition(text).judge(Facts(facts)).holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("event.value > 20", True),
        ("event.value + 1 == 22.5 and 7 // 2 == 3 and 7 % 2 == 1 and -event.value < 0", True),
        ("event.value > 20 and event.value < 21", False),
        ('mode in ["away", "night"]', True),
        ('mode not in {"away", "night"}', False),
        ('event.label == "Hall" or event.value > 100', True),
        ('event.label.as_lower == "hall" and event.label.length == 4', True),
        ("event.active ? event.value > 20 : event.value > 100", True),
        ('matches(event.label, "^H.*l$")', True),
        ("abs(event.value - 20) < 2 and max(event.value, 30, 2) == 30 and min(1, 2) == 1", True),
        ("now.hour >= 22 or now.hour < 6", True),
        ("event.active == true", True),
        ('event.value == "21.5"', False),
        ('event.value != "21.5"', True),
        ("event.active == 1", False),
    ],
)
def test_what_can_be_said(text: str, holds: bool) -> None:
    known: dict[str, Any] = {"event__value": 21.5, "event__label": "Hall", "event__active": True, "now__hour": 23}
    assert judge(text, **known) is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("event.value > 20", None),
        ("event.value == 20", None),
        ("event.value != 20", None),
        ("not (event.value > 20)", None),
        ("event.active", None),
        ("not event.active", None),
        ('device("a").active or device("b").active', True),
        ('device("a").active and device("c").active', False),
        ('device("a").active and device("b").active', None),
        ('device("a").active or device("c").active', None),
        ("(event.value ?? 0) < 5", True),
        ("event.value in [1, 2]", None),
        ('matches(event.label, "x")', None),
        ("event.value / 0 > 1", None),
        ("event.known", None),
        ("event.active ? true : true", None),
    ],
)
def test_what_is_unknown_is_not_true_and_its_opposite_neither(text: str, holds: bool | None) -> None:
    assert judge(text, b__active=True, c__active=False) is holds


@pytest.mark.parametrize("value", [True, "text", None, 1e308])
@pytest.mark.parametrize(
    "text", ["event.value > 20", "event.value * event.value * 10 > 1", "-event.value < 3", "abs(event.value) > 1"]
)
def test_a_value_of_another_kind_is_unknown_and_never_an_error(text: str, value: Scalar) -> None:
    assert judge(text, event__value=value) in (None, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('event.label =~ "(a+)+$"', r"=~ at character 13: write matches\(text, pattern\)"),
        ('"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!" =~~ "(a+)+$"', "=~~ at character"),
        ('event.label !~ "x"', "write not matches"),
        ("2 ** 99999999 > 1", r"\*\* at character 3: there are no powers"),
        ("1 << 4000000 > 1", "<< at character 3"),
        ("[x for x in [1, 2]]", "for at character 4: there are no loops"),
        ("$range(10000000).length > 1", r"\$ at character 1"),
        ("event.valu > 1", r"\.valu at character 7 does not exist: did you mean \.value"),
        ("foo.bar > 1", "foo at character 1 is not known: there are event, device, group, now and mode"),
        ("event.value +", "ends too early"),
        ("", "ends too early"),
        ("event.value > > 1", "character 15: '>' was not expected here"),
        ("event.value", "is not a question"),
        ('device("x")', "cannot stand alone"),
        ("event == event", "cannot stand alone"),
        ("device(event.device).active", "needs a name in quotes"),
        ('event.label > 1 and "a" == 2', "different kinds"),
        ('matches(event.label, "(")', "none of RE2"),
        ("event.value == null", "write .known to ask"),
        ("event.label[0] == 'a'", "an element"),
        ("event.value & 1 > 0", "bits"),
        ('"a" in event.label', "in needs a list"),
        ("not " * 150 + "event.active and " * 60 + "true", "at most"),
        ("x" * (MOST_CHARACTERS + 1), "at most 1000 characters"),
        ("1 / 0 > 1", "cannot be computed"),
        ("inf > 1 and event.value > inf", "finite"),
        ('d"2020-01-01" < d"2021-01-01" and event.label == d"2020-01-01"', "."),
    ],
)
def test_what_is_refused_says_where_and_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        compile_condition(text)


def test_a_pattern_that_would_take_a_backtracking_engine_for_ever_takes_no_time() -> None:
    compiled = compile_condition('matches(event.label, "(a+)+$")')
    begun = time.perf_counter()
    assert compiled.judge(Facts({"event.label": "a" * 100_000 + "!"})).holds is False
    assert time.perf_counter() - begun < 5


def test_the_longest_conditions_compile_and_answer_quickly() -> None:
    begun = time.perf_counter()
    for text in (
        "-" * 190 + "1 < 5",
        "not " * 190 + "event.active",
        "(" * 90 + "event.active" + ")" * 90,
        "event.value" + "*9" * 90 + "> 1",
    ):
        compile_condition(text).judge(Facts({"event.active": True, "event.value": 2**62}))
    assert time.perf_counter() - begun < 10


def test_every_attribute_that_is_offered_can_be_read() -> None:
    house = House('[[rule]]\nid = "r"\ntrigger = {device = "*", on = "report"}\naction = {do = "output", output = "x"}')
    house.hear("Door", value=5, label="x", detail="y", minute=3)
    for thing, names in ATTRIBUTES.items():
        for name, kind in names.items():
            read = f'{thing}("Door").{name}' if thing in ("device", "group") else f"{thing}.{name}"
            text = {
                "b": f"{read} or true",
                "n": f"{read} >= 0 or true",
                "t": f'{read} == "" or true',
                "u": f"{read} == 0 or true",
            }[kind]
            assert judge_in(house, text), text


def judge_in(house: House, text: str) -> bool:
    other = House(
        f'[[rule]]\nid = "r"\ncondition = \'{text}\'\ntrigger = {{device = "*", on = "report"}}\n'
        'action = {do = "output", output = "x"}',
        groups={"door": ("door",)},
    )
    other.hear("Door", value=5, label="x", detail="y", minute=3)
    return verdict(other.hear("Door", value=5, label="x", detail="y", minute=3)).fired


@given(st.text(alphabet="event.valudc(\"')&|!=~<>*/+- [],{}?:0123456789truefalsnotandormode\n#\\$", max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_the_compiler_or_the_answer(text: str) -> None:
    try:
        compiled = compile_condition(text)
    except ConfigError:
        return
    assert compiled.judge(Facts({})).holds in (True, False, None)


def test_the_answer_for_people_says_what_was_read() -> None:
    verdict = compile_condition('event.value > 20 and device("Window").active').judge(Facts({"event.value": 25}))
    assert verdict.why("it") == 'unknown: device("Window").active is not known, so `it` is not true'
    verdict = compile_condition("event.value > 20").judge(Facts({"event.value": 18.5}))
    assert verdict.why("event.value > 20") == "`event.value > 20` is not true: event.value is 18.5"
