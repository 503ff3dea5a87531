"""``event-processor schedules check``: all that is wrong with a file of schedules, by itself and beside those of app.conf."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from event_processor.commands.opening import house, read_file, settings_if_any
from event_processor.commands.output import print_json, visible
from event_processor.domain.schedule_file import Problem, check, compile_schedules, load
from event_processor.settings import HubSettings, place_of_schedules
from pylib.config import app_config
from pylib.errors import ConfigError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Check it. 1 where the hub would not take it."""
    settings = settings_if_any()
    path: Path = options.file or place_of_schedules(house(), app_config)
    text = read_file(path)
    problems: list[Problem] | list[str] = check(text)
    if not problems and settings is not None:
        problems = _beside(settings, text, path)
    count = 0 if problems else len(load(text).schedule)
    if options.json:
        print_json({"file": str(path), "ok": not problems, "schedules": count, "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(visible(f"{path}: {problem}"))
    errors = f"{len(problems) or 'no'} error{'' if len(problems) == 1 else 's'}"
    print(f"{path}: {errors}." if problems else f"{path}: {count} schedules, {errors}.")
    return 1 if problems else 0


def _beside(settings: HubSettings, text: str, path: Path) -> list[str]:
    """What keeps the file from being used with these settings."""
    try:
        compile_schedules(settings.schedules, load(text), settings.house.place, time.time(), str(path))
    except ConfigError as error:
        return [f"error: {line.removeprefix(f'{path}: ')}" for line in str(error).splitlines()]
    return []
