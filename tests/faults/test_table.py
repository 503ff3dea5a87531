"""The table of faults in the documentation: complete, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = ROW.findall((ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8"))


def test_there_is_a_row_for_each_of_the_37_faults() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 38))


@pytest.mark.parametrize(("number", "fault", "promise", "shown"), ROWS)
def test_a_row_names_tests_that_exist_or_says_why_there_is_none(number: str, fault: str, promise: str, shown: str) -> None:
    named = TEST.findall(shown)
    if not named:
        assert shown == "-"
        assert "Not shown:" in promise, f"row {number} ({fault}) has neither a test nor a reason"
    assert len(named) == len(shown.split(", ")) or shown == "-", "something in the cell is no test"
    for path, name in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(def {name}\(|{name} = )", text, re.MULTILINE), f"{path} has no {name}"
