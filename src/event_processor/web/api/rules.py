"""Rules, for the API: the file as text, each rule by itself, checking, and trying other rules on what happened."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from event_processor.domain import rule_file
from event_processor.domain.outcome import Change
from event_processor.domain.registry import Registry
from event_processor.domain.replay import Report
from event_processor.domain.rule_file import RuleFile
from event_processor.domain.rules import ModeSpec, Rule
from event_processor.store import history
from event_processor.store.replaying import replay_from
from event_processor.web.api.fields import Done, Time, done
from event_processor.web.api.router import Call, Empty, Operation
from event_processor.web.context import HubContext
from event_processor.web.problems import ProblemError, Wrong
from event_processor.web.rulefile import RuleText
from pylib.errors import ConfigError

__all__ = ["OPERATIONS", "try_rules"]

MOST_TRIED: Final = 20_000
"""Events on which rules are tried at a time."""

WARM_UP_S: Final = 3600.0
"""Seconds before the time on which rules are tried that are heard first: what was so then may matter."""

MOST_TEXT: Final = 1_000_000
Text = Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]
Version = Annotated[str, msgspec.Meta(max_length=64)]
RuleId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,200}$")]


class RuleOut(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, whether it is switched on, and whether it stands in the file (or among the links of ``app.conf``)."""

    rule: Rule
    on: bool
    editable: bool


class RulesOut(msgspec.Struct, frozen=True):
    """All rules that the hub goes by, in their order."""

    items: tuple[RuleOut, ...]
    modes: tuple[ModeSpec, ...]
    version: str


class FileIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. ``version`` is the one that was read before; without it whatever is there is replaced."""

    text: Text
    version: Version | None = None


class TextIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Text


class Checked(msgspec.Struct, frozen=True):
    """``ok``: the hub could go by it. There may be warnings all the same."""

    ok: bool
    problems: tuple[Wrong, ...]


class TryIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules to try instead of those that are in force, on what happened between two moments."""

    text: Text
    since: Time
    until: Time | None = None


class ById(msgspec.Struct, frozen=True):
    id: RuleId


async def rules(call: Call[Empty, None]) -> RulesOut:
    return await _rules(call.context)


async def _rules(context: HubContext) -> RulesOut:
    text = await context.read(context.rules.read)
    try:
        own = {rule.id for rule in rule_file.load(text.text).rule}
    except ConfigError:
        own = set()
    book = context.rules.book
    items = tuple(
        RuleOut(
            rule=compiled.rule,
            on=compiled.rule.enabled and context.mirror.enabled("rule", compiled.rule.id),
            editable=compiled.rule.id in own,
        )
        for compiled in book.rules.values()
    )
    return RulesOut(items, tuple(book.modes.values()), text.version)


async def file(call: Call[Empty, None]) -> RuleText:
    return await call.context.read(call.context.rules.read)


async def put_file(call: Call[Empty, FileIn]) -> RuleText:
    call.record("rules.save", call.context.rules.path.name)
    await call.context.reload(call.body.text, known=call.body.version)
    return await call.context.read(call.context.rules.read)


async def check(call: Call[Empty, TextIn]) -> Checked:
    context = call.context
    known = {*context.mirror.entities(), *context.mirror.values()}
    problems = await context.read(context.rules.check, call.body.text, known, context.rules.book.outputs)
    wrong = tuple(
        Wrong(": ".join(part for part in (each.rule, each.field) if part), each.message, each.severity) for each in problems
    )
    return Checked(not any(each.severity == "error" for each in wrong), wrong)


async def try_(call: Call[Empty, TryIn]) -> Report:
    body = call.body
    return await call.context.read(try_rules, call.context, body.text, body.since, body.until)


async def rule(call: Call[ById, None]) -> RuleOut:
    return await _rule(call.context, call.params.id)


async def _rule(context: HubContext, ident: str) -> RuleOut:
    found = next((each for each in (await _rules(context)).items if each.rule.id == ident), None)
    if found is None:
        raise ProblemError(404, "There is no such rule.")
    return found


async def put_rule(call: Call[ById, Rule]) -> RuleOut:
    if call.body.id != call.params.id:
        raise ProblemError(422, "The rule's id and that of the address are not the same.")
    context = call.context
    now, version = await context.read(context.rules.parsed)
    if call.params.id not in {each.id for each in now.rule} and call.params.id in context.rules.book.rules:
        raise ProblemError(409, "This rule is a link in app.conf, and is changed there.")
    others = [call.body if each.id == call.params.id else each for each in now.rule]
    if call.body not in others:
        others.append(call.body)
    await _save(context, now, version, tuple(others))
    return await _rule(context, call.params.id)


async def delete_rule(call: Call[ById, None]) -> None:
    context = call.context
    now, version = await context.read(context.rules.parsed)
    left = tuple(each for each in now.rule if each.id != call.params.id)
    if len(left) == len(now.rule):
        raise ProblemError(404, "There is no such rule in the file.")
    await _save(context, now, version, left)


async def run(call: Call[ById, None]) -> Done:
    if call.params.id not in call.context.rules.book.rules:
        raise ProblemError(404, "There is no such rule.")
    return done(await call.ask("run", call.params.id))


async def _save(context: HubContext, now: RuleFile, version: str, new: tuple[Rule, ...]) -> None:
    text = rule_file.export(RuleFile(rule=new, mode=now.mode, group=now.group))
    await context.reload(text, known=version)


def try_rules(context: HubContext, text: str, since: float, until: float | None) -> Report:
    """Decide once more on what happened, with other rules. Takes seconds; for ``HubContext.read``.

    What the hub knew at ``since`` comes from what is stored and has not changed, from what people had asked for, and from what
    was said in the hour before.

    :raises ProblemError: 422 where the text cannot be used, or too much has happened since.
    """
    reader, rules = context.reader, context.rules
    until = context.now() if until is None else until
    events = history.count(reader, since - WARM_UP_S, until)
    if events > MOST_TRIED:
        raise ProblemError(
            422, f"{events} things happened in that time, and {MOST_TRIED} are the limit: choose a shorter one."
        )
    try:
        new = rules.compile(rule_file.load(text))
        old = rules.compile(rules.parsed()[0])
    except ConfigError as error:
        raise ProblemError(422, "The rules have errors.", errors=(Wrong("", str(error)),)) from None
    encode = msgspec.json.encode
    registry = Registry()
    registry.restore(Change("device", key, encode(device)) for key, device in context.mirror.devices().items())
    registry.restore(Change("entity", key, encode(entity)) for key, entity in context.mirror.entities().items())
    return replay_from(reader, old, new, registry, since, until, WARM_UP_S)


OPERATIONS: Final = (
    Operation(name="rules", method="GET", path="/rules", role="viewer", handler=rules, answer=RulesOut, tag="rules",
              summary="All rules that the hub goes by"),
    Operation(name="rules.file", method="GET", path="/rules-file", role="viewer", handler=file, answer=RuleText, tag="rules",
              summary="The file of rules as text, with its version"),
    Operation(name="rules.save", method="PUT", path="/rules-file", role="admin", handler=put_file, body=FileIn,
              answer=RuleText, tag="rules", summary="Replace the file of rules, and go by it"),
    Operation(name="rules.check", method="POST", path="/rules-file/check", role="viewer", handler=check, body=TextIn,
              answer=Checked, reads=True, tag="rules", summary="Say everything that is wrong with a text"),
    Operation(name="rules.try", method="POST", path="/rules-file/try", role="operator", handler=try_, body=TryIn,
              answer=Report, reads=True, tag="rules", summary="Which decisions of the past would differ with other rules"),
    Operation(name="rule", method="GET", path="/rules/{id}", role="viewer", handler=rule, params=ById, answer=RuleOut,
              tag="rules", summary="One rule"),
    Operation(name="rule.save", method="PUT", path="/rules/{id}", role="admin", handler=put_rule, params=ById, body=Rule,
              answer=RuleOut, tag="rules",
              summary="Add or replace a rule; the file is written anew, and comments in it are lost"),
    Operation(name="rule.delete", method="DELETE", path="/rules/{id}", role="admin", handler=delete_rule, params=ById,
              tag="rules", summary="Delete a rule; the file is written anew, and comments in it are lost"),
    Operation(name="rule.run", method="POST", path="/rules/{id}/run", role="operator", handler=run, params=ById, answer=Done,
              tag="rules", summary="Do what a rule does, as if it had fired"),
)  # fmt: skip
