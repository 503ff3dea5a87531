"""Shell completion and the page of commands are what the parsers say."""

from __future__ import annotations

import subprocess

import pytest

from pylib.tools.cli import main, parser
from pylib.tools.completion import SHELLS, levels, script
from scripts.commands import PAGE, render


def test_the_page_of_commands_is_what_the_parsers_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "write it anew: python -m scripts.commands"


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    program = (
        script("bash", parser()) + '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pylib; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True, timeout=10)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_subcommands_options_and_choices() -> None:
    assert {"wiring", "doctor", "tap", "dead-letters"} <= set(completed("pylib", ""))
    assert completed("pylib", "wir") == ["wiring"]
    assert completed("pylib", "dead-letters", "l") == ["list"]
    assert completed("pylib", "wiring", "--form") == ["--format"]
    assert completed("pylib", "wiring", "--format", "") == ["text", "dot", "mermaid", "json"]
    assert completed("pylib", "dead-letters", "list", "--lim") == ["--limit"]
    assert {"mqtt", "amqp", "pipe"} <= set(completed("pylib", "tap", ""))
    assert "/etc/passwd" in completed("pylib", "wiring", "--config", "/etc/passw")
    assert completed("pylib", "wiring", "--app", "") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_in_every_shells_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for level in levels(parser()):
        for name in (name for option in level.options for name in option.names if name.startswith("--")):
            assert name in text or f"-l {name[2:]}" in text, f"{' '.join(level.path)} {name}"
