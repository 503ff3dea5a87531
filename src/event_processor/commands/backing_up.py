"""``event-processor backup``: everything the store knows, of one moment, in one file, while the hub goes on working."""

from __future__ import annotations

import argparse

from event_processor.commands.opening import existing_store, house
from event_processor.commands.output import print_json, progress
from event_processor.store.backup import backup

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Write the backup, and say what is in it."""
    with progress() as tell:
        manifest = backup(existing_store(house()), options.target, tell)
    rows = sum(part.rows for part in manifest.tables)
    if options.json:
        print_json({"target": str(options.target), "rows": rows, "manifest": manifest})
    else:
        print(f"{options.target}: {rows:,} rows of {len(manifest.tables)} tables, {options.target.stat().st_size:,} bytes.")
    return 0
