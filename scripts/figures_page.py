"""The scoreboard as a page: from the table's rows and their results to Markdown. Nothing is read or written here."""

from __future__ import annotations

from typing import Any

HEAD = """\
# Figures

What was promised, how anyone can see whether it holds, and what came out, missed ones included. `make figures` measures
everything again and writes this page; `make figures ONLY='walking skeleton 3'` measures the rows whose names match. The
rows are in `scripts/figures.toml`. A figure holds for the machine it was measured on, named below the table.
"""


def render(rows: list[dict[str, Any]], results: dict[str, dict[str, Any]]) -> str:
    """The whole page. ``results`` holds, by a row's id, its verdict, figures, last line, date, commit and machine."""
    machines: list[dict[str, str]] = []
    lines = [
        "| promise | shown by | figure | promised | met? | measured |",
        "|---|---|---|---|---|---|",
    ]
    tally: dict[str, int] = {}
    for row in rows:
        result = results.get(row["id"])
        verdict = result["verdict"] if result else "not measured"
        tally[verdict] = tally.get(verdict, 0) + 1
        measured = ""
        if result:
            if result["machine"] not in machines:
                machines.append(result["machine"])
            measured = f"{result['date']}, machine {machines.index(result['machine']) + 1}"
            if result["commit"]:
                measured += f", commit {result['commit']}"
        cells = [
            f"**{row['id']}**<br>{row['promise']}",
            f"`{row['command'].replace('{python}', 'python')}`",
            _shown(row, result),
            "<br>".join(_bound(figure) for figure in row.get("figure", [])) or "it passes",
            _verdict(verdict),
            measured,
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(tally.items()))
    page = [HEAD, f"{len(rows)} promises: {summary}.\n", "\n".join(lines) + "\n", "## Machines\n"]
    for number, machine in enumerate(machines, 1):
        page.append(f"{number}. " + "; ".join(f"{name}: {value}" for name, value in machine.items()) + "\n")
    return "\n".join(page)


def _shown(row: dict[str, Any], result: dict[str, Any] | None) -> str:
    if result is None:
        return ""
    if not result["figures"]:
        return str(result["last_line"])
    parts = []
    for figure, got in zip(row.get("figure", []), result["figures"], strict=False):
        text = f"{figure.get('name', '')} {got['value']}{_unit(figure)}".strip()
        parts.append(f"**{text}**" if got["met"] is False else text)
    if result["verdict"] == "failed":
        parts.append(str(result["last_line"]))
    return "<br>".join(parts)


def _bound(figure: dict[str, Any]) -> str:
    words = {"at_most": "at most", "at_least": "at least", "equals": "exactly"}
    bounds = [f"{text} {figure[key]}{_unit(figure)}" for key, text in words.items() if key in figure]
    if "compare" in figure:
        bounds.append(f"({figure['compare']})")
    return " ".join(bounds) or "for comparison"


def _unit(figure: dict[str, Any]) -> str:
    return f" {figure['unit']}" if "unit" in figure else ""


def _verdict(verdict: str) -> str:
    return {"met": "yes", "missed": "**no**", "failed": "**failed**", "measured": ""}.get(verdict, verdict)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
