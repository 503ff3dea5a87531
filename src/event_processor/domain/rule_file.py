"""The file in which rules are kept: TOML, one ``[[rule]]`` per rule.

    [[rule]]
    id = "siren"
    trigger = {device = "Front *"}
    modes = ["away", "night"]
    action = {do = "output", output = "siren"}

    [[mode]]
    name = "away"
    exit_delay_s = 60

    [group]
    doors = ["Front *", "Back Door"]

Reading and writing again gives an equal file. What is wrong with one is a ``Problem`` that names the rule and the field, and
says what to write. ``docs/reference/rules.md`` explains everything that can stand here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from event_processor.domain.rule_checks import check_mode, check_rule
from event_processor.domain.rules import ActionOf, ModeSpec, Rule
from event_processor.domain.toml_text import lines_of, place
from pylib.errors import ConfigError

__all__ = ["MOST_BYTES", "MOST_RULES", "Difference", "Problem", "RuleFile", "check", "diff", "export", "load"]

MOST_BYTES: Final = 4_000_000
MOST_RULES: Final = 10_000

Severity: TypeAlias = Literal["error", "warning"]
T = TypeVar("T")
_LISTS: Final = ("trigger", "window", "action")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong (``error``: the file cannot be used) or looks wrong (``warning``)."""

    severity: Severity
    rule: str
    field: str
    message: str

    def __str__(self) -> str:
        where = ": ".join(part for part in (f"rule {self.rule}" if self.rule else "", self.field) if part)
        return f"{self.severity}: {where}: {self.message}" if where else f"{self.severity}: {self.message}"


class RuleFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a file says. ``group`` has patterns of device keys by the group's name."""

    rule: tuple[Rule, ...] = ()
    mode: tuple[ModeSpec, ...] = ()
    group: dict[str, tuple[str, ...]] = {}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that two files do not share, or do not share as it is; ``fields`` are those that differ."""

    rule: str
    what: Literal["added", "removed", "changed", "moved"]
    fields: tuple[str, ...] = ()


def load(text: str, where: str = "rules.toml") -> RuleFile:
    """Read a file. Raises ``ConfigError`` with every error in it, one a line, each with ``where`` in front of it."""
    file, problems = _read(text)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ConfigError("\n".join(f"{where}: {str(problem).removeprefix('error: ')}" for problem in errors))
    return file


def check(
    text: str,
    *,
    devices: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
    modes: Iterable[str] = ("home", "away", "night"),
) -> list[Problem]:
    """Say all that is wrong with a file. Where ``devices`` or ``outputs`` are given, names that are not among them are
    warnings: a device may not have been heard yet, and an output may be an application that is described nowhere."""
    file, problems = _read(text)
    known_modes = {mode.lower() for mode in modes} | {mode.name.lower() for mode in file.mode}
    written = None if devices is None else {device.lower(): device for device in devices}
    for rule in file.rule:
        for severity, field, message in check_rule(
            rule,
            devices=written,
            outputs=None if outputs is None else frozenset(output.lower() for output in outputs),
            modes=known_modes,
            groups=frozenset(name.lower() for name in file.group),
        ):
            if severity == "warning":
                problems.append(Problem(severity=severity, rule=rule.id, field=field, message=message))
    return problems


def _read(text: str) -> tuple[RuleFile, list[Problem]]:
    """Read what can be read, and note the rest."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        return RuleFile(), [_error("", "", f"the file is larger than {MOST_BYTES} bytes")]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return RuleFile(), [_error("", "", f"this is no TOML: {error}")]
    unknown = sorted(document.keys() - {"rule", "mode", "group"})
    problems = [_error("", name, "expected [[rule]], [[mode]] and [group], and nothing else") for name in unknown]
    written = document.get("rule", [])
    if not isinstance(written, list) or not all(isinstance(one, dict) for one in written):
        return RuleFile(), [*problems, _error("", "rule", "write each rule under a line [[rule]], in two brackets")]
    if len(written) > MOST_RULES:
        return RuleFile(), [*problems, _error("", "rule", f"there are {len(written)} rules, and {MOST_RULES} is the limit")]
    rules: dict[str, Rule] = {}
    for number, one in enumerate(written, 1):
        rule = _rule(one, number, problems)
        if rule is not None and rule.id in rules:
            problems.append(_error(rule.id, "id", "two rules have this id: give one of them another"))
        elif rule is not None:
            rules[rule.id] = rule
    modes = _converted(document.get("mode", []), tuple[ModeSpec, ...], "mode", problems) or ()
    for mode in modes:
        problems.extend(_error("", f"mode {mode.name}", message) for message in check_mode(mode))
    groups = _converted(document.get("group", {}), dict[str, tuple[str, ...]], "group", problems) or {}
    return RuleFile(rule=tuple(rules.values()), mode=modes, group=groups), problems


def _rule(written: dict[str, object], number: int, problems: list[Problem]) -> Rule | None:
    name = written.get("id")
    rule_id = name if isinstance(name, str) and name else f"number {number} of the file"
    # One trigger, window or action need not be written as a list of one.
    lists = {field: [written[field]] for field in _LISTS if isinstance(written.get(field), dict)}
    try:
        rule = msgspec.convert({**written, **lists}, Rule)
    except msgspec.ValidationError as error:
        field, message = _place(str(error))
        problems.append(_error(rule_id, field, message))
        return None
    wrong = [(field, text) for severity, field, text in check_rule(rule) if severity == "error"]
    problems.extend(_error(rule_id, field, message) for field, message in wrong)
    return None if wrong else rule


def _converted(value: object, kind: type[T], field: str, problems: list[Problem]) -> T | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        where, message = _place(str(error))
        problems.append(_error("", f"{field}{where}", message))
        return None


def _place(text: str) -> tuple[str, str]:
    """The field of the library's sentence, and the sentence in the words of this format."""
    field, message = place(text, "docs/reference/rules.md")
    if "Invalid value" in message and field.endswith("do"):
        kinds = ", ".join(sorted(str(kind.__struct_config__.tag) for kind in ActionOf.__args__))
        return field, f"{message.removeprefix('Invalid value ')} is no action: there are {kinds}"
    return field, message[:1].lower() + message[1:]


def _error(rule: str, field: str, message: str) -> Problem:
    return Problem(severity="error", rule=rule, field=field, message=message)


def export(file: RuleFile) -> str:
    """Write a file that ``load`` reads as the same. Values that are as they would be anyway are left out."""
    parts = ["[[mode]]\n" + lines_of(msgspec.to_builtins(mode)) for mode in file.mode]
    if file.group:
        parts.append("[group]\n" + lines_of({name: list(patterns) for name, patterns in file.group.items()}))
    parts.extend("[[rule]]\n" + lines_of(msgspec.to_builtins(rule)) for rule in file.rule)
    return "\n".join(parts)


def diff(old: RuleFile, new: RuleFile) -> list[Difference]:
    """Say which rules came, went or changed, and in which fields; moved ones only where the order of the others changed."""
    before, after = ({rule.id: rule for rule in file.rule} for file in (old, new))
    found = [Difference(rule=rule, what="removed") for rule in before if rule not in after]
    for rule, now in after.items():
        was = before.get(rule)
        if was is None:
            found.append(Difference(rule=rule, what="added"))
        elif was != now:
            fields = tuple(name for name in Rule.__struct_fields__ if getattr(was, name) != getattr(now, name))
            found.append(Difference(rule=rule, what="changed", fields=fields))
    shared_before = [rule for rule in before if rule in after]
    shared_after = [rule for rule in after if rule in before]
    found += [Difference(rule=now, what="moved") for was, now in zip(shared_before, shared_after, strict=True) if was != now]
    return found
