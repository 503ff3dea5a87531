"""``pylib completion``: what a shell needs to complete the command line, made from the parsers themselves.

bash, zsh and fish get static tables: completing starts no Python and asks nobody.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Final

import msgspec

__all__ = ["SHELLS", "Level", "add_to", "levels", "script"]

SHELLS: Final = ("bash", "zsh", "fish")
_DESCRIPTION = (
    "Prints a script that completes the commands, options and choices of pylib. bash: source <(pylib completion bash) in "
    "~/.bashrc; zsh: pylib completion zsh > a file _pylib in a folder of $fpath; fish: pylib completion fish > "
    "~/.config/fish/completions/pylib.fish"
)
# The words by which the parsers call a value that is a file.
_FILES: Final = frozenset(("PATH", "FILE", "DIR"))


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """An option or an argument: its names, what it may be, and whether that is a file."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    takes_value: bool
    files: bool
    help: str


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """A command or subcommand: what may follow it."""

    path: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    options: tuple[Choice, ...]
    arguments: tuple[Choice, ...]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("completion", help="complete pylib's command line in your shell", description=_DESCRIPTION)
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from pylib.tools.cli import parser  # the whole, of which this is a part

    print(script(options.shell, parser()))
    return 0


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for one of ``SHELLS``."""
    found = list(levels(parser))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](found)


def levels(parser: argparse.ArgumentParser, path: tuple[str, ...] = ("pylib",)) -> Iterator[Level]:
    """The command and everything below it, in the order in which the parsers have them."""
    commands: list[tuple[str, str]] = []
    options: list[Choice] = []
    arguments: list[Choice] = []
    below: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            words = {each.dest: each.help or "" for each in action._choices_actions}
            commands = [(name, words.get(name, "")) for name in below]
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        choice = Choice(
            names=tuple(action.option_strings),
            words=tuple(map(str, action.choices or ())),
            takes_value=action.nargs != 0,
            files=metavar in _FILES,
            help=(action.help or "") if action.help != argparse.SUPPRESS else "",
        )
        (options if action.option_strings else arguments).append(choice)
    yield Level(path=path, commands=tuple(commands), options=tuple(options), arguments=tuple(arguments))
    for name, inner in below.items():
        yield from levels(inner, (*path, name))


def _bash(found: list[Level]) -> str:
    values, words = _cases(found, 'COMPREPLY=($(compgen -f -- "$cur")); return', "words={}")
    return f"""# bash completion for pylib
_pylib() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} path=pylib word words=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
            {_paths(found)}) path="$path $word" ;;
        esac
    done
    case "$path:$prev" in
{values}
        *) case "$path" in
{words}
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _pylib pylib"""


def _zsh(found: list[Level]) -> str:
    values, words = _cases(found, "_files; return", "words_={}")
    return f"""#compdef pylib
_pylib() {{
    local prev=${{words[CURRENT-1]}} at=pylib word words_=""
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$at $word" in
            {_paths(found)}) at="$at $word" ;;
        esac
    done
    case "$at:$prev" in
{values}
        *) case "$at" in
{words}
        esac ;;
    esac
    compadd -- ${{=words_}}
    [[ -n $compstate[nmatches] && $compstate[nmatches] -gt 0 ]] || _files
}}
if [[ $funcstack[1] == _pylib ]]; then _pylib "$@"; else compdef _pylib pylib; fi"""


def _cases(found: list[Level], files: str, assign: str) -> tuple[str, str]:
    """The branches of a ``case`` for the values of options, and for what may follow each command."""
    values: list[str] = []
    follow: list[str] = []
    for level in found:
        path = " ".join(level.path)
        for option in level.options:
            pattern = "|".join(f'"{path}:{name}"' for name in option.names)
            if option.words:
                values.append(f"        {pattern}) {assign.format(_quoted(' '.join(option.words)))} ;;")
            elif option.files:
                values.append(f"        {pattern}) {files} ;;")
            elif option.takes_value:
                values.append(f"        {pattern}) return ;;")
        offered = [name for name, _ in level.commands]
        offered += [word for argument in level.arguments for word in argument.words]
        offered += [name for option in level.options for name in option.names]
        follow.append(f'            "{path}") {assign.format(_quoted(" ".join(offered)))} ;;')
    return "\n".join(values), "\n".join(follow)


def _paths(found: list[Level]) -> str:
    return "|".join(f'"{" ".join(level.path)}"' for level in found if len(level.path) > 1)


def _fish(found: list[Level]) -> str:
    lines = ["# fish completion for pylib", "complete -c pylib -f"]
    for level in found:
        here = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in level.path[1:])
        below = " ".join(name for name, _ in level.commands)
        alone = f"not __fish_seen_subcommand_from {below}" if below else ""
        condition = "; and ".join(filter(None, (here, alone)))
        when = f" -n {_quoted(condition)}" if condition else ""
        for name, words in level.commands:
            lines.append(f"complete -c pylib{when} -a {name} -d {_quoted(_first(words))}")
        for argument in level.arguments:
            if argument.words:
                lines.append(f"complete -c pylib{when} -a {_quoted(' '.join(argument.words))}")
            elif argument.files:
                lines.append(f"complete -c pylib{when} -F")
        for option in level.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = f" -x -a {_quoted(' '.join(option.words))}" if option.words else " -r" if option.takes_value else ""
            value += " -F" if option.files else ""
            lines.append(f"complete -c pylib{when} {names}{value} -d {_quoted(_first(option.help))}")
    return "\n".join(lines)


def _first(text: str) -> str:
    return re.split(r"[;(\n]", text.replace("%%", "%"))[0].strip()


def _quoted(text: str) -> str:
    """In single quotes. Names and choices have no quotes in them; the words of a help, which only fish gets, may."""
    return "'" + text.replace("\\", "").replace("'", "\\'") + "'"
