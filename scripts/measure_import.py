"""Measure what importing a module costs, in fresh interpreters.

    python scripts/measure_import.py pylib --never pika paho sentry_sdk

Prints the median time that the import adds, in milliseconds, and which of the modules after ``--never`` it loaded.
Exit 1 when the import fails; a module that should not have been loaded is counted and named, for the caller to judge.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

# Timed inside the child: the interpreter's own start varies more than a cheap import costs.
CHILD = """
import sys, time
start = time.perf_counter()
import {module}
print((time.perf_counter() - start) * 1000, *[name for name in {never!r} if name in sys.modules])
"""


def main() -> int:
    """Run the measurement and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", help="the module to import")
    parser.add_argument("--never", nargs="*", default=[], help="modules that it should not load")
    parser.add_argument("--rounds", type=int, default=15, help="how many fresh interpreters (default: 15)")
    options = parser.parse_args()
    if not all(part.isidentifier() for part in options.module.split(".")):
        parser.error(f"{options.module!r} is not the name of a module")

    command = [sys.executable, "-c", CHILD.format(module=options.module, never=options.never)]
    taken: list[float] = []
    loaded: set[str] = set()
    for _ in range(options.rounds + 1):
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            print(child.stderr.strip().splitlines()[-1])
            return 1
        milliseconds, *unwanted = child.stdout.split()
        taken.append(float(milliseconds))
        loaded.update(unwanted)
    # The first one may have had to compile.
    print(f"import {options.module}: median {statistics.median(taken[1:]):.1f} ms, highest {max(taken[1:]):.1f} ms")
    print(f"unwanted {len(loaded)}{': ' + ', '.join(sorted(loaded)) if loaded else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
