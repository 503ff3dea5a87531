"""What a stranger's template may do: regular expressions, loops within loops, and an end to all of it."""

from __future__ import annotations

import re

import pytest

from event_processor.discovery.payload import Payload
from event_processor.discovery.templates import MISSING, Templates
from event_processor.domain.regexes import LONGEST_REGEX, compile_regex
from pylib.errors import ConfigError, DecodeError


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
        ("{{ value | regex_search('((a|ab){0,400}){2}c') }}", "a" * 60_000),
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
    assert (compile_regex(pattern).search("x" * 60) is None) == ("y" in pattern)


@pytest.mark.parametrize("pattern", ["(", ")", "a**", "*", "[", "(?<=a)b", r"(a)\1", "a{3,2}", "x" * (LONGEST_REGEX + 1)])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="regular expression"):
        compile_regex(pattern)


def test_a_long_text_and_a_large_pattern_together_are_too_much_for_one_run() -> None:
    with pytest.raises(DecodeError, match="takes too long"):
        read("{{ value | regex_search('(x{0,500}){2}y') }}", "x" * 20_000)


def test_matches_and_their_groups_are_given_as_pythons_own_gives_them() -> None:
    text = "5-may 2024, 17-june"
    assert read(r"{{ value | regex_findall('(\\d+)-([a-z]+)(?: (\\d{4}))?') }}", text) == str(
        re.findall(r"(\d+)-([a-z]+)(?: (\d{4}))?", text)
    )
    swapped = read(r"{{ value | regex_replace('(?P<day>\\d+)-([a-z]+)', '\\2 \\g<day>') }}", text)
    assert swapped == "may 5 2024, june 17"
    with pytest.raises(DecodeError):
        read(r"{{ value | regex_replace('(a)', '\\2') }}", "aa")


def test_a_missing_value_is_missing_in_an_expression_too() -> None:
    assert read("{{ value_json.a | regex_replace('a', 'b') }}") is MISSING
