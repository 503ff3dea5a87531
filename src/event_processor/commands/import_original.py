"""``event-processor import-original``: what the first hub left, as rules, settings and history of this one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from event_processor.app import DATABASE
from event_processor.commands.output import print_json
from event_processor.store.import_original import convert, store_history
from event_processor.store.original import read_original
from pylib.errors import ConfigError

__all__ = ["run"]

_RULES: Final = "rules.toml"
_SETTINGS: Final = "imported.conf"


def run(options: argparse.Namespace) -> int:
    """Write ``rules.toml``, ``imported.conf`` and ``hub.db`` into a folder, and say what was not carried over."""
    if options.database is None and options.app_conf is None:
        raise ConfigError("Name the first hub's files: --database, --app-conf, or both.")
    folder: Path = options.into
    for name in (_RULES, _SETTINGS, DATABASE):
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} exists already. Name another folder with --into, or move that file away.")
    original = read_original(options.database, options.app_conf)
    found = convert(original)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / _RULES, found.rules_toml)
        _write(folder / _SETTINGS, found.app_conf)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}).") from None
    events = store_history(original, folder / DATABASE)
    if options.json:
        print_json({"into": str(folder), "rules": len(found.rules.rule), "events": events, "notes": found.notes})
        return 0
    print(f"{folder / _RULES}: {len(found.rules.rule)} rules. Look at them with `event-processor rules check`.")
    print(f"{folder / _SETTINGS}: sections to copy into app.conf. It may hold passwords, so it is for you alone.")
    print(f"{folder / DATABASE}: {events} events of its history. Put it where the hub's store is, before its first start.")
    for note in found.notes:
        print(f"  {note}")
    return 0


def _write(path: Path, text: str) -> None:
    """A new file, for its owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
