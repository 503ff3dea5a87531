"""Value templates: what devices write works as in Home Assistant, and what a stranger writes has an end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.discovery.payload import MOST_PAYLOAD, Payload
from event_processor.discovery.templates import LONGEST_TEMPLATE, MISSING, Templates
from pylib.errors import DecodeError

NOW = 1_700_000_000.0


def read(template: str, body: bytes | str = b"{}") -> object:
    body = body.encode() if isinstance(body, str) else body
    return Templates().extractor(template).of(Payload("t", body, retained=False, now=NOW))


@pytest.mark.parametrize(
    ("template", "body", "expected"),
    [
        ("", "21.5", "21.5"),
        ("{{ value }}", "21.5", "21.5"),
        ("{{ value_json.temperature }}", '{"temperature": 21.5}', 21.5),
        ("{{value_json['ENERGY']['Power']}}", '{"ENERGY": {"Power": 3}}', 3),
        ('{{ value_json["a"][1].b }}', '{"a": [0, {"b": true}]}', True),
        ("{{ value_json.items }}", '{"items": 4}', 4),
        ("{{ value_json.t | float * 1.8 + 32 }}", '{"t": "20"}', "68.0"),
        ("{{ value_json.t | round(1) }}", '{"t": 20.16}', "20.2"),
        ("{{ (value_json.t | float / 10) | round(0, 'floor') }}", '{"t": 199}', "19"),
        ("{{ value_json.t | int(0) }}", '{"t": "x"}', "0"),
        ("{{ value_json.t | int(base=16) }}", '{"t": "ff"}', "255"),
        ("{{ value | int + 1 }}", "41", "42"),
        ("{{ 'ON' if value_json.state == 'open' else 'OFF' }}", '{"state": "open"}', "ON"),
        ("{{ iif(value_json.a, 'yes', 'no') }}", '{"a": false}', "no"),
        ("{{ value_json.a | iif('yes', 'no', 'none') }}", '{"a": null}', "none"),
        ("{{ value_json.list | join(',') }}", '{"list": [1, 2]}', "1,2"),
        ("{{ value_json.list | map('float') | sum }}", '{"list": ["1", "2"]}', "3.0"),
        ("{{ (value | from_json).a }}", '{"a": 7}', "7"),
        ("{{ value_json.a | bool }}", '{"a": "on"}', "True"),
        ("{{ value_json.a is defined }}", '{"b": 1}', "False"),
        ("{{ value_json.a | default('none') }}", "{}", "none"),
        ("{{ value_json.ts | timestamp_utc }}", '{"ts": 0}', "1970-01-01T00:00:00+00:00"),
        ("{{ value_json.ts | timestamp_custom('%H:%M', false) }}", '{"ts": 3600}', "01:00"),
        ("{{ as_timestamp(value_json.ts) | int }}", '{"ts": "1970-01-01T00:01:00+00:00"}', "60"),
        ("{{ (as_timestamp(now()) - 1700000000) | int }}", "{}", "0"),
        ("{{ '#%02x%02x%02x' | format(255, 0, 16) }}", "{}", "#ff0010"),
        ("{{ value.split(',')[1] | upper }}", "a,b", "B"),
        ("{{ value | replace('a', 'b') }}", "aa", "bb"),
        ("{% for x in value_json %}{{ x }};{% endfor %}", "[1, 2]", "1;2;"),
        ("{% set n = namespace(t=0) %}{% for x in value_json %}{% set n.t = n.t + x %}{% endfor %}{{ n.t }}", "[1, 2]", "3"),
        ("{{ value_json.a ~ '-' ~ value_json.b }}", '{"a": 1, "b": 2}', "1-2"),
        ("{{ min(value_json.a, 10) }} {{ [1, 5] | max }} {{ is_number('x') }}", '{"a": 30}', "10 5 False"),
        ("{{ value_json.a is list }} {{ 3 in value_json.a }}", '{"a": [3]}', "True True"),
        ("  {{ value_json.a }}  ", '{"a": "x"}', "x"),
    ],
)
def test_what_devices_write(template: str, body: str, expected: object) -> None:
    assert read(template, body) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ value_json.a }}",
        "{{ value_json.a.b.c }}",
        "{{ value_json.a | float }}",
        "{{ value_json['x'][0] }}",
        "{{ value_json.a.b | round(1) }}",
    ],
)
def test_what_the_message_does_not_have_is_no_error(template: str) -> None:
    assert read(template, '{"z": 1}') is MISSING


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 100000000 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '%0999999999d' % 3 }}",
        "{{ '%*d' | format(999999999, 3) }}",
        "{{ 9 ** 99999999 }}",
        "{{ (9 ** 60) ** 60 }}",
        "{{ range(100000000) | list }}",
        "{% for a in range(900) %}{% for b in range(900) %}{% for c in range(900) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(900) recursive %}{{ loop(range(900)) }}{% endfor %}",
        "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
        "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
        "{% set a = 'a,b' %}" + "{% set a = a.replace('a', a) %}" * 30 + "{{ a }}",
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% include 'x' %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ value_json.__class__ }}{{ self.__init__.__globals__ }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ value | map('replace', 'a', 'b') | list }}",
        "{{ now().strftime('%1000000000Y') }}",
        "{{ 1 +",
        "{{ value | nosuchfilter }}",
        "no braces",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 'x' }}" + " " * LONGEST_TEMPLATE,
    ],
)
def test_what_has_no_end_or_gets_out_is_refused(template: str) -> None:
    with pytest.raises(DecodeError):
        read(template, "aaaa")


def test_what_the_sandbox_does_not_have_is_undefined() -> None:
    assert read("{{ lipsum(n=100000) }}") is MISSING
    assert read("{{ states('sensor.x') }}") is MISSING


def test_the_same_text_is_compiled_once() -> None:
    templates = Templates()
    assert templates.extractor("{{ value_json.a | float }}") is templates.extractor("{{ value_json.a | float }}")
    assert templates.extractor("{{ value_json.a }}") is templates.extractor("{{value_json['a']}}")


def test_a_payload_that_is_no_json_is_said_to_be_none() -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        read("{{ value_json.a }}", "xx")
    with pytest.raises(DecodeError, match="not JSON"):
        read("{{ value_json.a | float }}", "xx")
    with pytest.raises(DecodeError, match="not JSON"):
        read("{{ value_json.a }}", b"[" * 100_000)


def test_a_payload_that_is_too_long_is_not_read() -> None:
    with pytest.raises(DecodeError, match="is the most that is read"):
        read("", b"x" * (MOST_PAYLOAD + 1))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.binary(max_size=60))
def test_a_template_of_any_text_raises_nothing_else(text: str, body: bytes) -> None:
    try:
        read("{{" + text + "}}", body)
        read(text, body)
    except DecodeError:
        pass


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "value_json",
                "value",
                ".a",
                "[0]",
                "|float",
                "|int",
                "|round(1)",
                "|join",
                "|list",
                "+",
                "*",
                "~",
                "'x'",
                "3",
                "(",
                ")",
                "|map('int')",
                "|sum",
                "|tojson",
                "|from_json",
                "if",
                "else",
                "|first",
                "%",
                "**",
                "|replace('a',",
                "]",
            ]
        ),
        max_size=12,
    ),
    st.sampled_from([b"{}", b"[1,2]", b'{"a": [1, "b", null]}', b"12", b"null", b'"text"', b"xx"]),
)
def test_a_template_of_likely_parts_raises_nothing_else(parts: list[str], body: bytes) -> None:
    try:
        read("{{ " + " ".join(parts) + " }}", body)
    except DecodeError:
        pass
