"""Write the table of docs/reference/api.md: every operation of the API, read from the code.

python -m scripts.api_reference            write the page
python -m scripts.api_reference --check    exit code 1 if the page is not what the code says
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from event_processor.web.api import OPERATIONS
from event_processor.web.api.router import PREFIX, Operation

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "api.md"
BEGIN, END = "<!-- operations -->\n", "<!-- end of operations -->\n"


def table(operations: Sequence[Operation]) -> str:
    """The operations by their tag, as Markdown."""
    parts = []
    for tag in dict.fromkeys(operation.tag for operation in operations):
        rows = [
            f"| `{each.method} {PREFIX}{re.sub(r':[a-z]+}', '}', each.path)}` | {each.role} | {each.summary} |"
            for each in operations
            if each.tag == tag
        ]
        head = f"### {tag.capitalize()}\n\n| operation | role | what it does |\n|---|---|---|\n"
        parts.append(head + "\n".join(rows) + "\n")
    return "\n".join(parts)


def render(page: str) -> str:
    """The page with its table as the code has it now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(OPERATIONS)}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in arguments:
        return 0 if render(page) == page else 1
    PAGE.write_text(render(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
