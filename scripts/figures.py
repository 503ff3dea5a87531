"""Measure what was promised and write the scoreboard, ``docs/figures.md``.

    python -m scripts.figures                       every row of scripts/figures.toml
    python -m scripts.figures --only 'skeleton 3'   rows whose id matches the expression; the others stay
    python -m scripts.figures --list                which rows there are
    python -m scripts.figures --render              write the page anew without measuring

What was measured is kept in ``docs/figures.json``, each row with its own date and machine. The exit code is 0 even
when a promise was missed: the page says so. It is 1 when a command failed, and 2 when the table itself is wrong.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from scripts.figures_machine import commit, describe_machine
from scripts.figures_page import render

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "scripts" / "figures.toml"
STORE = ROOT / "docs" / "figures.json"
PAGE = ROOT / "docs" / "figures.md"

ROW_KEYS = {"id", "promise", "command", "timeout_s", "figure"}
FIGURE_KEYS = {"name", "pattern", "unit", "at_most", "at_least", "equals", "compare"}


class TableError(Exception):
    """scripts/figures.toml is not as its heading describes."""


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of the table, each one checked. Raises TableError, which names the row and what is wrong with it."""
    try:
        rows: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("row", [])
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{path.name}: {error}") from error
    seen = set()
    for number, row in enumerate(rows, 1):
        name = f"{path.name}: row {row.get('id', number)!r}"
        if missing := {"id", "promise", "command"} - row.keys():
            raise TableError(f"{name} lacks {', '.join(sorted(missing))}")
        if unknown := row.keys() - ROW_KEYS:
            raise TableError(f"{name} has unknown keys: {', '.join(sorted(unknown))}")
        if row["id"] in seen:
            raise TableError(f"{name} is there twice")
        seen.add(row["id"])
        for figure in row.get("figure", []):
            if "pattern" not in figure or (unknown := figure.keys() - FIGURE_KEYS):
                raise TableError(f"{name}: a figure needs a pattern, and may have {', '.join(sorted(FIGURE_KEYS))}")
            try:
                groups = re.compile(figure["pattern"]).groups
            except re.error as error:
                raise TableError(f"{name}: the pattern {figure['pattern']!r} is wrong: {error}") from error
            if groups != 1:
                raise TableError(f"{name}: the pattern {figure['pattern']!r} needs exactly one group")
    return rows


def within(value: float, figure: dict[str, Any]) -> bool | None:
    """Whether a figure keeps its bound; None when it has none."""
    verdicts = []
    if "at_most" in figure:
        verdicts.append(value <= figure["at_most"])
    if "at_least" in figure:
        verdicts.append(value >= figure["at_least"])
    if "equals" in figure:
        verdicts.append(value == figure["equals"])
    return all(verdicts) if verdicts else None


def run(command: list[str], environment: dict[str, str], timeout_s: float) -> tuple[str, int]:
    """What the command printed, and its exit code. Raises subprocess.TimeoutExpired, OSError.

    However this ends, no process of the command's group is left: first it is asked to clean up, so that private brokers
    are stopped by those who started them, and after ten seconds it is killed.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
        return output, process.returncode


def measure(row: dict[str, Any]) -> dict[str, Any]:
    """Run a row's command and return what it showed: its verdict, its figures, its last line."""
    timeout_s = row.get("timeout_s", 600)
    # The environment's own programs come first, so that a row may name lint-imports or event-processor.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"}
    command = [sys.executable if word == "{python}" else word for word in shlex.split(row["command"])]
    try:
        output, code = run(command, environment, timeout_s)
    except subprocess.TimeoutExpired:
        return {"verdict": "failed", "figures": [], "last_line": f"took longer than {timeout_s} s and was ended"}
    except OSError as error:
        return {"verdict": "failed", "figures": [], "last_line": str(error)}

    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last_line = lines[-1].strip("= ") if lines else "(it printed nothing)"
    figures: list[dict[str, Any]] = []
    for figure in row.get("figure", []):
        matches = re.findall(figure["pattern"], output)
        if not matches:
            return {"verdict": "failed", "figures": [], "last_line": f"exit code {code}, and no figure: {last_line}"}
        try:
            value = float(matches[-1])
        except ValueError:
            return {"verdict": "failed", "figures": [], "last_line": f"{matches[-1]!r} is not a number"}
        figures.append({"value": matches[-1], "met": within(value, figure)})
    verdicts = [figure["met"] for figure in figures]
    if False in verdicts:
        verdict = "missed"
    elif code:
        verdict = "failed"
    elif figures and all(met is None for met in verdicts):
        verdict = "measured"
    else:
        verdict = "met"
    return {"verdict": verdict, "figures": figures, "last_line": last_line}


def load_store() -> dict[str, dict[str, Any]]:
    """What earlier runs measured, by the row's id."""
    if not STORE.exists():
        return {}
    stored: dict[str, dict[str, Any]] = json.loads(STORE.read_text(encoding="utf-8"))
    return stored


def write(rows: list[dict[str, Any]], results: dict[str, dict[str, Any]]) -> None:
    """Keep the results and write the page. A result whose row has left the table leaves with it."""
    kept = {row["id"]: results[row["id"]] for row in rows if row["id"] in results}
    STORE.parent.mkdir(exist_ok=True)
    STORE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(render(rows, kept), encoding="utf-8")


def main() -> int:
    """Do what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="", help="measure only the rows whose id matches")
    parser.add_argument("--list", action="store_true", help="say which rows there are and stop")
    parser.add_argument("--render", action="store_true", help="write the page from what was measured before")
    options = parser.parse_args()
    try:
        rows = read_table(TABLE)
        chosen = [row for row in rows if re.search(options.only, row["id"])]
    except (TableError, re.error) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    if not chosen:
        print(f"figures: no row matches {options.only!r}: --list shows them", file=sys.stderr)
        return 2
    if options.list:
        for row in chosen:
            print(f"{row['id']:24} {row['promise']}")
        return 0

    results = load_store()
    failed = 0
    if not options.render:
        machine = describe_machine()
        for row in chosen:
            print(f"  {row['id']:24} ", end="", flush=True)
            result = measure(row)
            result |= {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "commit": commit(ROOT),
                "machine": machine,
            }
            results[row["id"]] = result
            failed += result["verdict"] == "failed"
            values = ", ".join(str(figure["value"]) for figure in result["figures"])
            print(f"{result['verdict']:9} {values or result['last_line']}", flush=True)
            # Kept after each row: an interrupted run loses the row it was in, not those before it.
            write(rows, results)
    write(rows, results)
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
