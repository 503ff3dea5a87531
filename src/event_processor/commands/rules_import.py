"""``event-processor rules import``: a file of rules takes the place of the hub's, and a running hub goes on with it."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from event_processor.commands.opening import ask_hubs, house, read_file, rules_of, settings_if_any
from event_processor.commands.output import print_json, visible
from event_processor.commands.rules_check import problems_of
from event_processor.domain.rule_file import Difference, RuleFile, diff
from event_processor.settings import place_of_rules
from event_processor.settings.writing import write_whole
from pylib.config import app_config
from pylib.errors import ConfigError, PylibError

__all__ = ["put_in_place", "run"]


def run(options: argparse.Namespace) -> int:
    """Check it, put it in place, have it used. 1, and nothing is changed, where it has errors."""
    text = read_file(options.file)
    problems = problems_of(text, options.file, settings_if_any())
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ConfigError("\n".join(visible(f"{options.file}: {problem}") for problem in errors) + "\nNothing was changed.")
    place = place_of_rules(house(), app_config).resolve()
    new = rules_of(options.file)
    try:
        differences = diff(rules_of(place) if place.exists() else RuleFile(), new)
    except ConfigError:
        differences = []  # what is there cannot be read: it is replaced, and kept
    kept = None if options.dry_run else put_in_place(text, place)
    used, why = [], ""
    if not options.dry_run:
        try:
            used = ask_hubs({"ask": "reload"})
        except PylibError as error:
            why = str(error)
    if options.json:
        print_json(
            {
                "file": str(place), "kept": kept and str(kept), "rules": len(new.rule), "differences": differences,
                "warnings": problems, "hubs": len(used), "problem": why,
            }
        )  # fmt: skip
        return 1 if why else 0
    for problem in problems:
        print(visible(str(problem)))
    for difference in differences:
        print(visible(_said(difference)))
    if options.dry_run:
        print(f"{place} would have {len(new.rule)} rules. Nothing was changed.")
        return 0
    print(f"{place} has {len(new.rule)} rules now." + (f" The file before is kept as {kept}." if kept else ""))
    if why:
        raise PylibError(f"The file is in place, but the running hub does not use it. {why}")
    print("The running hub goes on with them." if used else "No hub is running: they count from its next start.")
    return 0


def put_in_place(text: str, place: Path) -> Path | None:
    """Replace a file as a whole or not at all; what was there is kept beside it, and its name returned."""
    kept = None
    try:
        if place.exists():
            kept = _free(place.with_name(f"{place.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"))
            shutil.copy2(place, kept)
        write_whole(place, text)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written ({error.strerror}). It is as it was.") from None
    return kept


def _free(wanted: Path) -> Path:
    number, path = 2, wanted
    while path.exists():
        path, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return path


def _said(difference: Difference) -> str:
    fields = f" ({', '.join(difference.fields)})" if difference.fields else ""
    return f"{difference.what}: {difference.rule}{fields}"
