"""The commands of the page that says how to find out what is wrong are commands of ``pylib``, with options that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pylib.tools.cli import parser

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "find-out-what-is-wrong.md"


def test_every_command_of_the_page_can_be_typed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("pylib ")]
    lines += [each for each in re.findall(r"`(pylib [^`|]*)[`|]", text) if "--help" not in each]
    assert len(lines) >= 12
    for line in lines:
        parser().parse_args(shlex.split(line)[1:])
