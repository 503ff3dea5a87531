"""Runs one command of the command line, and says in a line what stood in its way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from event_processor.commands.arguments import make_parser

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Run a command. 0: done; 1: not done, and standard error says why. Wrong words raise ``SystemExit(2)``."""
    options = make_parser().parse_args(words)
    if options.config is not None:
        os.environ["APP_CONFIG"] = options.config
    os.environ.setdefault("APP_NAME", "event-processor")
    from pylib.errors import PylibError
    from pylib.observe.logging import configure_logging

    configure_logging("WARNING")
    run: Callable[[object], int] = import_module(f"event_processor.commands.{options.module}").run
    try:
        code = run(options)
        sys.stdout.flush()
    except PylibError as error:
        print(f"event-processor: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader, such as `head`, has enough. Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("event-processor: broken off", file=sys.stderr)
        return 1
    return code
