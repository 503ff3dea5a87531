"""docs/reference/limits.md says what the code does, and knows every number in it."""

from __future__ import annotations

import tomllib

import pytest

from scripts.limits import PAGE, TABLE, render, show, unknown, value_of


def test_the_page_of_limits_is_what_the_code_says() -> None:
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == render(table), "write it anew: python -m scripts.limits"


def test_no_number_in_the_code_is_unknown_to_the_page() -> None:
    assert unknown(tomllib.loads(TABLE.read_text(encoding="utf-8"))) == [], "give it a row in scripts/limits.toml"


def test_a_number_that_the_table_leaves_out_is_found() -> None:
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    for section in table["section"]:
        section["rows"] = [row for row in section["rows"] if "RetryPolicy.tries" not in row[0] and "STOP_BUDGET" not in row[0]]
    assert {"pylib.runtime.runtime:STOP_BUDGET", "pylib.brokers.retrying:RetryPolicy.tries"} <= set(unknown(table))


def test_a_name_that_the_code_does_not_have_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"pylib\.data:MOST"):
        value_of("pylib.data:MOST")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1024**3, "bytes", "1 GiB"),
        (65_535, "bytes", "65,535 bytes"),
        (604_800_000, "ms", "7 days"),
        (0.1, "s", "0.1 s"),
        (0.4, "share", "40%"),
        (None, "s", "none"),
        ("block", "", "`block`"),
        (60.0, "s", "60 s"),
    ],
)
def test_a_value_is_shown_as_people_say_it(value: object, unit: str, expected: str) -> None:
    assert show(value, unit) == expected
