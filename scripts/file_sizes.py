"""Report source files that have grown past their one job.

Advice over 300 lines, everywhere. Over 400 in ``src``, the check fails: that is where one stops and cuts.

    python scripts/file_sizes.py            one line of verdict; exit 1 when a file in src is over the limit
    python scripts/file_sizes.py --advice   the files that are over 300 lines; always exit 0
"""

from __future__ import annotations

import sys
from pathlib import Path

ADVICE = 300
LIMIT = 400
ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "scripts", "examples", "benchmarks")


def line_counts() -> dict[Path, int]:
    """The number of lines of each Python file of the project, by its path from the root."""
    return {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def main(arguments: list[str]) -> int:
    """Print what was asked for and return the exit code."""
    counts = line_counts()
    if arguments == ["--advice"]:
        for path, lines in sorted(counts.items(), key=lambda item: -item[1]):
            if lines > ADVICE:
                print(f"  advice  {path} has {lines} lines: has it more than one job?")
        return 0
    if arguments:
        print("usage: python scripts/file_sizes.py [--advice]", file=sys.stderr)
        return 2

    too_long = {path: lines for path, lines in counts.items() if path.parts[0] == "src" and lines > LIMIT}
    for path, lines in too_long.items():
        print(f"{path} has {lines} lines, and {LIMIT} is the limit: cut it where its second job begins")
    in_src = [lines for path, lines in counts.items() if path.parts[0] == "src"]
    print(f"{len(in_src)} files in src, the longest has {max(in_src, default=0)} lines, limit {LIMIT}")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
