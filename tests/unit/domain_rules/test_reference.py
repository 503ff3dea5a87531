"""What docs/reference/rules.md shows is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from event_processor.domain.condition_nodes import ATTRIBUTES
from event_processor.domain.conditions import compile_condition
from event_processor.domain.rule_file import check, export, load
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.domain.rules import ActionOf, Rule

PAGE = (Path(__file__).parents[3] / "docs/reference/rules.md").read_text(encoding="utf-8")
FILES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
CONDITIONS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()


@pytest.mark.parametrize("text", FILES)
def test_each_file_of_the_page_is_one(text: str) -> None:
    file = load(text)
    assert check(text) == []
    assert load(export(file)) == file
    Rulebook(compile_rules(file.rule), groups=file.group)


@pytest.mark.parametrize("text", CONDITIONS)
def test_each_condition_of_the_page_is_one(text: str) -> None:
    compile_condition(text)


def test_the_page_names_every_field_action_and_attribute() -> None:
    assert len(FILES) > 8
    assert len(CONDITIONS) > 5
    for field in Rule.__struct_fields__:
        assert f"`{field}`" in PAGE, field
    for action in ActionOf.__args__:
        assert f'do = "{action.__struct_config__.tag}"' in PAGE or f"`{action.__struct_config__.tag}`" in PAGE
    for thing, names in ATTRIBUTES.items():
        (row,) = re.findall(rf"^\| `{thing}.*$", PAGE, re.MULTILINE)
        assert [name for name in names if f"`{name}`" not in row] == []


def test_all_files_of_the_page_make_one_file() -> None:
    rules = [rule for text in FILES for rule in load(text).rule]
    assert len({rule.id for rule in rules}) == len(rules)
