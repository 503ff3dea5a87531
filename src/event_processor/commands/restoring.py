"""``event-processor restore``: a store out of a backup, checked before it takes the place of what is there."""

from __future__ import annotations

import argparse

from event_processor.commands.opening import house, store
from event_processor.commands.output import clock, print_json, progress
from event_processor.store.errors import StoreInUse
from event_processor.store.restore import restore
from pylib.errors import ConfigError, PylibError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Restore, and say where what was there before is kept."""
    home = house()
    if not options.source.is_file():
        raise ConfigError(f"There is no file {options.source}.")
    try:
        with progress() as tell:
            done = restore(options.source, store(home), tell, replace=options.replace)
    except StoreInUse:
        raise PylibError("A hub is running on this store. Stop it, then restore.") from None
    except ConfigError as error:
        if "may be replaced" in str(error):
            raise ConfigError(f"{error} Add --replace for that.") from None
        raise
    if options.json:
        print_json({"rows": done.rows, "kept": done.kept, "manifest": done.manifest})
        return 0
    print(f"Restored {done.rows:,} rows of {clock(done.manifest.created_at, home.zone)}.")
    if done.kept:
        print(f"What was there before is kept as {done.kept}. Delete it when you no longer need it.")
    return 0
