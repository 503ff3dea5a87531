"""``event-processor rules export``: the rules in their plain form."""

from __future__ import annotations

import argparse
import sys

import msgspec

from event_processor.commands.opening import house, rules_of, settings_if_any
from event_processor.commands.output import print_json
from event_processor.domain.rule_file import RuleFile, export
from event_processor.settings import place_of_rules
from pylib.config import app_config
from pylib.errors import ConfigError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Write them."""
    place = place_of_rules(house(), app_config)
    file = rules_of(place) if place.exists() or house().rules else RuleFile()
    if options.all:
        settings = settings_if_any()
        file = msgspec.structs.replace(file, rule=(*(settings.links if settings is not None else ()), *file.rule))
    if options.json:
        print_json(file)
        return 0
    text = export(file)
    if options.file is None:
        sys.stdout.write(text)
        return 0
    try:
        with options.file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{options.file} exists already. Name another file, or move that one away.") from None
    except OSError as error:
        raise ConfigError(f"{options.file} cannot be written ({error.strerror}).") from None
    print(f"{options.file}: {len(file.rule)} rules.")
    return 0
