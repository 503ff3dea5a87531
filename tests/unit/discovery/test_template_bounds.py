"""What a stranger's template may do: regular expressions, loops within loops, and an end to all of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.discovery.patterns import LONGEST_PATTERN, Pattern
from event_processor.discovery.payload import Payload
from event_processor.discovery.templates import MISSING, Templates
from pylib.errors import DecodeError


def read(template: str, body: str = "{}") -> object:
    return Templates().extractor(template).of(Payload("t", body.encode(), retained=False, now=1_700_000_000.0))


BUTTONS = """
{% set forms = [{"form": "^(?P<key>k[0-9]+)_(?P<what>(?:push|keep)(?:_end)?)$", "names": ["key", "what"]},
                {"form": "^(?P<what>turn)_(?P<way>left|right)$", "names": ["what", "way"]}] %}
{% set said = value_json.did | default("") %}
{% set found = namespace(pairs=[("what", said)]) %}
{% for form in forms %}
  {% set parts = said | regex_findall(form.form) %}
  {% if parts[0] is undefined %}{% continue %}{% endif %}
  {% for name, part in zip(form.names, parts[0]) %}
    {% set found.pairs = found.pairs | rejectattr(0, "eq", name) | list + [(name, part)] %}
  {% endfor %}
{% endfor %}
{{ dict.from_keys(found.pairs | reject("eq", ("what", ""))) | to_json }}
"""


@pytest.mark.parametrize(
    ("did", "expected"),
    [("k2_push_end", '{"key": "k2", "what": "push_end"}'), ("turn_left", '{"what": "turn", "way": "left"}'), ("", "{}")],
)
def test_a_template_takes_the_action_of_a_remote_apart(did: str, expected: str) -> None:
    """In the shape in which bridges announce event entities."""
    assert read(BUTTONS, f'{{"did": "{did}"}}') == expected


@pytest.mark.parametrize(
    ("template", "body", "expected"),
    [
        ("{{ value | regex_replace('^([0-9.]+) *(k?W)$', '\\\\2:\\\\1') }}", "2.5 kW", "kW:2.5"),
        ("{{ value | regex_replace('(?P<a>x)y', '<\\\\g<a>>') }}", "xyxy", "<x><x>"),
        ("{{ value | regex_findall_index('[0-9]+', 1) | int + 1 }}", "a1 b22", "23"),
        ("{{ value is search('fail', ignorecase=true) }} {{ value is match('FAIL') }}", "no FAIL", "True False"),
        ("{{ value | regex_search('o$') }}", "no", "True"),
        ("{{ '{:>6.1f}'.format(value | float) }}|", "2.55", "2.5|"),
        ("{{ as_datetime(value).strftime('%d.%m.') }}", "2024-03-05T00:00:00+00:00", "05.03."),
        ("{{ value.zfill(5) }}", "42", "00042"),
        ("{{ value if value_json is undefined else value_json.a }}", "plain", "plain"),
        ("{{ value_json.rows | map(attribute='n') | join('+') }}", '{"rows": [{"n": 1}, {"n": 2}]}', "1+2"),
        ("{{ value_json.n | clamp(0, 10) }} {{ (value_json | combine({'m': 2})).m }}", '{"n": 12}', "10.0 2"),
        ("{{ today_at('00:00') <= now() }}", "{}", "True"),
    ],
)
def test_more_of_what_devices_write(template: str, body: str, expected: str) -> None:
    assert read(template, body) == expected


LONG = "[" + "1," * 60_000 + "1]"


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ("{% for a in range(900) %}{% for b in range(900) %}{% endfor %}{% endfor %}", "{}"),
        ("{% for a in range(900) recursive %}{{ loop(range(900)) }}{% endfor %}", "{}"),
        ("{% for a in range(900) %}" + "{% set x = 3 in value_json %}" * 200 + "{% endfor %}", LONG),
        ("{% for a in range(900) %}" + "{% set x = value_json == value_json[1:] %}" * 100 + "{% endfor %}", LONG),
        ("{% for a in range(900) %}" + "{% set x = value_json | sort %}" * 100 + "{% endfor %}", LONG),
        ("{% for a in range(900) %}" + "{% set x = value.upper() %}" * 100 + "{% endfor %}", "a" * 60_000),
        ("{% for a in range(900) %}" + "{% set x = value | regex_search('(a|a)*b') %}" * 100 + "{% endfor %}", "a" * 60_000),
        ("{{ value | regex_search('(a|a)*b') }}", "a" * 200_000),
        ("{{ value | regex_search('(?=a)b') }}", "a"),
        ("{{ value | regex_search('(a)\\\\1') }}", "aa"),
        ("{{ value | regex_search('(((a{1000}){1000}){1000})') }}", "a"),
        ("{% set x = value_json %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}", "[1]"),
        ("{% set x = value_json %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x | tojson }}", "[1]"),
        ("{% set x = 1 %}" + "{% set x = dict(a=x, b=x) %}" * 60 + "{{ x | length }}{{ x }}", "[1]"),
        ("{% set x = 1 %}" + "{% set x = namespace(a=x, b=x) %}" * 60 + "{{ x }}", "[1]"),
        ("{{ '{:>99999999}'.format(3) }}", "{}"),
        ("{{ '{:{w}}'.format(3, w=99999999) }}", "{}"),
        ("{{ '{:>99999999}'.format_map({}) }}", "{}"),
        ("{{ value.zfill(99999999) }}", "1"),
    ],
)  # fmt: skip
def test_nothing_of_it_goes_on_for_ever(template: str, body: str) -> None:
    with pytest.raises(DecodeError):
        read(template, body)


def test_a_template_that_ran_out_of_rounds_has_them_again_the_next_time() -> None:
    extractor = Templates().extractor("{% for a in value_json %}{% for b in value_json %}{% endfor %}{% endfor %}{{ 1 }}")
    short, long = ("[" + "1," * many + "1]" for many in (3, 300))
    payloads = [Payload("t", body.encode(), retained=False, now=1.0) for body in (short, long, short)]
    assert extractor.of(payloads[0]) == "1"
    with pytest.raises(DecodeError):
        extractor.of(payloads[1])
    assert extractor.of(payloads[2]) == "1"


@pytest.mark.parametrize("pattern", [r"(x+x+)+y", r"(x?){30}x{30}", r"(.*)*y", r"(x|x)*y", r"((x*)*)*y"])
def test_a_pattern_that_keeps_others_busy_for_years_has_an_end(pattern: str) -> None:
    """In ``re`` the time of these doubles with each character."""
    assert (next(Pattern(pattern).find("x" * 60), None) is None) == ("y" in pattern)


@pytest.mark.parametrize("pattern", ["(", ")", "a**", "*", "[", "(?<=a)b", "a{3,2}", "(?P<1>a)", "x" * (LONGEST_PATTERN + 1)])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(DecodeError):
        Pattern(pattern)


_PARTS = [
    "a",
    "b",
    "(",
    ")",
    "|",
    "*",
    "+",
    "?",
    "[ab]",
    "[^a]",
    ".",
    "(?:",
    "{1,2}",
    "{2}",
    "^",
    "$",
    "\\b",
    "\\w",
    "*?",
    "(?P<n>",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_PARTS), max_size=9).map("".join), st.text("ab ", max_size=8))
def test_what_is_found_is_what_pythons_own_would_find(pattern: str, text: str) -> None:
    try:
        theirs, ours = re.compile(pattern), Pattern(pattern)
    except (re.error, DecodeError):
        return
    found, expected = next(ours.find(text), None), theirs.search(text)
    assert (None if found is None else found[:2]) == (None if expected is None else expected.span())


def test_groups_are_those_of_pythons_own() -> None:
    pattern, text = r"(?P<day>\d+)-(?P<month>[a-z]+)(?: (\d{4}))?", "5-may 2024, 17-june"
    spans = [(match.span(), tuple(match.span(group) for group in (1, 2, 3))) for match in re.finditer(pattern, text)]
    assert [((found.start, found.end), found.groups) for found in Pattern(pattern).find(text)] == spans
    assert Pattern(pattern).groups == ["day", "month", ""]


def test_a_missing_value_is_missing_in_an_expression_too() -> None:
    assert read("{{ value_json.a | regex_replace('a', 'b') }}") is MISSING
