"""Run the benchmarks, one after the other, and show what they print.

    python scripts/bench.py           all: every benchmarks/*.py that does not begin with an underscore
    python scripts/bench.py outbound  those with "outbound" in their name

Each runs in a process of its own, so that none sees another's threads or caches. Exit 1 when one of them failed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(patterns: list[str]) -> int:
    """Run what matches one of ``patterns`` (all when there is none) and return the exit code."""
    programs = [
        path
        for path in sorted((ROOT / "benchmarks").glob("*.py"))
        if not path.name.startswith("_") and (not patterns or any(pattern in path.stem for pattern in patterns))
    ]
    if not programs:
        print(f"no benchmark {'matches ' + ' or '.join(patterns) if patterns else 'is there yet'}: see benchmarks/")
        return 1
    failed = []
    for program in programs:
        print(f"--- {program.relative_to(ROOT)}", flush=True)
        if subprocess.run([sys.executable, str(program)], cwd=ROOT, check=False).returncode:
            failed.append(program.stem)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
