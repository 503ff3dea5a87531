"""Write docs/reference/limits.md: every limit and default of the library, its value read from the code.

python -m scripts.limits            write the page
python -m scripts.limits --check    exit code 1 if the page is not what the code says, or the code has a number
                                    that ``scripts/limits.toml`` does not know
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "scripts" / "limits.toml"
PAGE = ROOT / "docs" / "reference" / "limits.md"
SOURCE = ROOT / "src" / "pylib"

HEAD = """# Limits and defaults

Every number by which the library decides something, with where it is in the code and how to have another. Written by
`python -m scripts.limits` from the code itself; a test fails when a number is added or changed and this page is not.
"""


def render(table: dict[str, Any]) -> str:
    """The page. Raises LookupError for a name in the table that the code does not have."""
    parts = [HEAD]
    for section in table["section"]:
        parts.append(f"## {section['title']}\n\n{section.get('text', '').strip()}".rstrip() + "\n")
        parts.append("| what | value | to change it | in the code |\n|---|---|---|---|")
        for row in section["rows"]:
            name, unit, what, how = row
            parts.append(f"| {what} | {show(value_of(name), unit)} | {how or 'not to be changed'} | `{name}` |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def value_of(name: str) -> object:
    """``module:CONSTANT``, ``module:Class.field`` or ``module:call(parameter)``. Raises LookupError."""
    module_name, _, rest = name.partition(":")
    module = importlib.import_module(module_name)
    owner, _, parameter = rest.partition("(")
    if parameter:
        target = getattr_path(module, owner, name)
        return default_of(inspect.signature(target).parameters.get(parameter.rstrip(")")), name)
    head, _, field = owner.rpartition(".")
    if not head:
        return getattr_path(module, owner, name)
    return fields_of(getattr_path(module, head, name))[field]


def getattr_path(target: object, path: str, name: str) -> Any:
    for part in path.split("."):
        if not hasattr(target, part):
            raise LookupError(f"scripts/limits.toml names {name}, which the code does not have")
        target = getattr(target, part)
    return target


def default_of(parameter: inspect.Parameter | None, name: str) -> object:
    if parameter is None or parameter.default is parameter.empty:
        raise LookupError(f"scripts/limits.toml names {name}, which has no such default")
    return parameter.default


def fields_of(owner: type) -> dict[str, object]:
    """The fields of a value that have a default."""
    if issubclass(owner, msgspec.Struct):
        found = {field.name: field.default for field in msgspec.structs.fields(owner)}
        return {name: value for name, value in found.items() if value is not msgspec.NODEFAULT}
    if not dataclasses.is_dataclass(owner):
        raise LookupError(f"{owner.__name__} is neither a dataclass nor a msgspec struct")
    return {field.name: field.default for field in dataclasses.fields(owner) if field.default is not dataclasses.MISSING}


def show(value: object, unit: str) -> str:
    """A value for people: 1,073,741,824 bytes are 1 GiB."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower()
    if unit == "ms" and value >= 1000:
        value, unit = value / 1000, "s"
    if unit == "bytes":
        for size, word in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
            if value >= size and value % size == 0:
                return f"{value // size} {word}"
    if unit == "s":
        for size, word in ((86_400, "days"), (3600, "h"), (60, "min")):
            if value >= 2 * size and value % size == 0:
                return f"{value / size:g} {word}"
    if unit == "share":
        return f"{value:.0%}"
    number = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"{number} {unit}".strip()


def constants() -> Iterator[str]:
    """Every module-level number in capitals, as ``module:NAME``."""
    for path in sorted(SOURCE.rglob("*.py")):
        if "testing" in path.parts:
            continue
        module = ".".join(("pylib", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            target = (
                node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
            )
            if isinstance(target, ast.Name) and target.id.isupper() and _is_number(getattr(node, "value", None)):
                yield f"{module}:{target.id}"


def _is_number(node: ast.expr | None) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def unknown(table: dict[str, Any]) -> list[str]:
    """Numbers in the code that the table neither lists nor says to be no limit."""
    known = {row[0] for section in table["section"] for row in section["rows"]} | set(table["not_limits"])
    found = list(constants())
    for name in table["values"]:
        module_name, _, owner = name.partition(":")
        fields = fields_of(getattr_path(importlib.import_module(module_name), owner, name))
        found += [f"{name}.{field}" for field, value in fields.items() if type(value) in (int, float)]
    return [name for name in found if name not in known]


def main(arguments: list[str]) -> int:
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    try:
        page, strange = render(table), unknown(table)
    except LookupError as error:
        print(error)
        return 1
    for name in strange:
        print(
            f"{name} is a number that scripts/limits.toml does not know: give it a row, or say in not_limits that it is none"
        )
    if "--check" in arguments:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page
        if stale:
            print("docs/reference/limits.md is not what the code says: python -m scripts.limits")
        return 1 if stale or strange else 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
