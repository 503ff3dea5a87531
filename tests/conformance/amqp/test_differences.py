"""The list of differences is short, and each difference is one."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.amqp.differences import DIFFERENCES, ENDINGS


def test_each_listed_ending_differs_and_has_its_reason() -> None:
    for name, ending in ENDINGS.items():
        assert ending.embedded != ending.rabbitmq, name
        assert ending.reason


def test_each_listed_difference_is_used_by_a_case() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for name in ENDINGS:
        assert f'ENDINGS["{name}"]' in text
    for case in DIFFERENCES:
        assert f"def {case.partition('[')[0]}(" in text


def test_there_are_fewer_than_ten_differences() -> None:
    assert len(DIFFERENCES) + len(ENDINGS) < 10
