"""Write docs/reference/commands.md: every command of ``pylib``, its options, and what ``pylib doctor`` may find.

python -m scripts.commands            write the page
python -m scripts.commands --check    exit code 1 if the page is not what the parsers say
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from pylib.tools.cli import parser
from pylib.tools.doctor.findings import CODES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "commands.md"

HEAD = """# The command `pylib`

What a person does with a running application, its brokers and its messages. Written by `python -m scripts.commands` from
the parsers; a test fails when a command or an option is added or changed and this page is not. Where to begin when something
does not work is in [find out what is wrong](../how-to/find-out-what-is-wrong.md).

Exit codes: 0, done. 1, not done, and one line on standard error says why and what to do. 2, the command line is wrong. Where
there is `--json`, standard output is JSON and nothing else.

Which application is meant follows from `--state-dir`, else from the settings file (`--config`, `APP_CONFIG`, `./app.conf`)
and its name (`--app`, `APP_NAME`, `[app] name`). A running one is asked by a socket in its state folder that only its own user
can open; `[app] control = no` switches that off.
"""
CODES_HEAD = """## What `pylib doctor` finds

A code never changes its meaning. An error will not work, a warning will not under some circumstances, a note is good to know.

| code | what it stands for |
|---|---|"""


def render() -> str:
    """The page."""
    parts = [HEAD, *(_section(each) for each in _commands(parser())), CODES_HEAD]
    parts += [f"| `{code}` | {words} |" for code, words in CODES.items()]
    return "\n".join(parts) + "\n"


def _commands(whole: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Each command, and before it those that it is part of."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from _commands(inner)


def _section(command: argparse.ArgumentParser) -> str:
    depth = "##" if command.prog.count(" ") == 1 else "###"
    rows = [
        _row(action)
        for action in command._actions
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]
    table = ["| argument | what it does |", "|---|---|", *rows] if rows else []
    text = [f"{depth} {command.prog}\n"]
    if command.description:
        text.append(command.description.replace("%%", "%") + "\n")
    return "\n".join([*text, *table]) + "\n"


def _row(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    value = metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper())
    names = ", ".join(action.option_strings)
    shown = value if not names else names if action.nargs == 0 else f"{names} {value}"
    words = (action.help or "").replace("%%", "%").replace("|", "\\|")
    return f"| `{shown}` | {words or 'one of ' + ', '.join(map(str, action.choices or ()))} |"


def main() -> int:
    page = render()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
