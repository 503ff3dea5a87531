"""``event-processor rules check``: all that is wrong, or looks wrong, with a file of rules."""

from __future__ import annotations

import argparse
from pathlib import Path

from event_processor.app import rulebook
from event_processor.commands.list_devices import state_of
from event_processor.commands.opening import house, read_file, reader, rules_of, settings_if_any
from event_processor.commands.output import print_json, visible
from event_processor.domain.rule_file import Problem, check
from event_processor.settings import HubSettings, place_of_rules
from pylib.config import app_config
from pylib.errors import ConfigError, PylibError

__all__ = ["problems_of", "run"]


def run(options: argparse.Namespace) -> int:
    """Check it. 1 where the hub would not take it."""
    settings = settings_if_any()
    path: Path = options.file or place_of_rules(house(), app_config)
    problems = problems_of(read_file(path), path, settings)
    errors = sum(problem.severity == "error" for problem in problems)
    rules = 0 if errors else len(rules_of(path).rule)
    if options.json:
        print_json({"file": str(path), "ok": not errors, "rules": rules, "problems": problems})
        return 1 if errors else 0
    for problem in problems:
        print(visible(f"{path}: {problem}"))
    warnings = len(problems) - errors
    counted = "" if errors else f"{rules} rule{'' if rules == 1 else 's'}, "
    print(f"{path}: {counted}{_count(errors, 'error')}, {_count(warnings, 'warning')}.")
    return 1 if errors else 0


def problems_of(text: str, path: Path, settings: HubSettings | None) -> list[Problem]:
    """What is wrong with a text, on its own and together with the settings and the devices that are known."""
    outputs = None if settings is None or not settings.outputs else [output.name for output in settings.outputs]
    problems = check(text, devices=None if settings is None else _devices(settings), outputs=outputs)
    if settings is not None and not any(problem.severity == "error" for problem in problems):
        try:
            rulebook(settings, rules_of(path))
        except ConfigError as error:
            problems.append(Problem(severity="error", rule="", field="", message=str(error)))
    return problems


def _devices(settings: HubSettings) -> list[str] | None:
    """The devices that the hub has heard of so far; None where it has heard of none, or its store cannot be read."""
    try:
        opened = reader(settings.house)
    except ConfigError:
        return None
    try:
        state, registry = state_of(opened)
    except PylibError:
        return None
    finally:
        opened.close()
    return sorted({*state.values, *registry.entities}) or None


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
