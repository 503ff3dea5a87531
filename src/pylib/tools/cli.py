"""The command ``pylib``: its options and exit codes. What a subcommand does stands in its own module.

Exit codes: 0 done; 1 not done, and a line on standard error says why and what to do; 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pylib.errors import PylibError
from pylib.tools import asyncapi, brokers, completion, dead_letters, record, replay, send, tap, top, wiring
from pylib.tools.doctor import command as doctor

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """The whole command line, for ``main``, for shell completion and for the reference."""
    whole = argparse.ArgumentParser(prog="pylib", description="Tools for applications built on pylib.")
    whole.add_argument("--version", action="version", version=f"pylib {_version()}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (wiring, top, doctor, tap, send, record, replay, dead_letters, asyncapi, brokers, completion):
        command.add_to(commands)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``pylib``; returns the exit code. Wrong arguments raise SystemExit(2), as argparse does."""
    options = parser().parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except PylibError as error:
        print(f"pylib: {dead_letters.visible(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader, such as `head`, has enough. Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        # What goes on until then is done; anything else was broken off.
        return 0 if getattr(options, "endless", False) else 1
    return code


def _version() -> str:
    import pylib

    return pylib.__version__


if __name__ == "__main__":
    sys.exit(main())
