"""The rules: how they link what is heard to what is done, their text with an editor, and a try on what has happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from event_processor.domain import rule_file
from event_processor.domain.rules import Delay, DeviceCommand, Notify, Rule, SetMode, SetOff, Trigger
from event_processor.web.api.rules import try_rules
from event_processor.web.auth import context_of, require
from event_processor.web.auth.current import record, unrecorded
from event_processor.web.context import HubContext
from event_processor.web.pages.drawing import Arrow, Box, draw
from event_processor.web.pages.render import fragment, page, said
from event_processor.web.problems import ProblemError

__all__ = ["rule", "rule_check", "rule_list", "rule_save", "rule_text", "rule_try"]

MOST_DRAWN: Final = 60
"""Rules in the drawing; the list below it has them all."""
TRY_DAYS: Final = (1, 7, 30)

_EXAMPLE: Final = """\
# One [[rule]] for each rule. A rule has a trigger, may have guards (modes, window, condition ...), and says what to do.

[[rule]]
id = "welcome"
name = "Light when the front door opens"
trigger = {device = "Front Door"}
action = {do = "command", entity = "Hall Light", what = "on"}
"""


@require("viewer")
async def rule_list(request: Request) -> Response:
    """All rules: as a drawing, and as a list with what each did last."""
    context = context_of(request)
    rules = [each.rule for each in context.rules.book.rules.values()]
    recent = await context.read(context.reader.evaluations, limit=300)
    last: dict[str, object] = {}
    for each in recent.rows:
        last.setdefault(each.evaluation.rule, each.evaluation)
    shown = [
        {"id": each.id, "title": each.title, "enabled": each.enabled and context.mirror.enabled("rule", each.id),
         "own": _own(each), "what": _sentence(each), "last": last.get(each.id)}
        for each in rules
    ]  # fmt: skip
    return page(
        request,
        "rules.html",
        at="rules",
        rules=shown,
        drawing=_drawing(rules[:MOST_DRAWN]),
        more=max(0, len(rules) - MOST_DRAWN),
    )


@require("viewer")
async def rule(request: Request) -> Response:
    """One rule and its latest evaluations."""
    context = context_of(request)
    compiled = context.rules.book.rules.get(request.path_params["rule"])
    if compiled is None:
        raise ProblemError(404, "There is no such rule. It may have been taken out of the file of rules.")
    found = compiled.rule
    only = {"fired": True, "not": False}.get(request.query_params.get("show", ""))
    looked = await context.read(context.reader.evaluations, rule=found.id, fired=only, limit=40)
    return page(
        request,
        "rule.html",
        at="rules",
        rule=found,
        own=_own(found),
        enabled=found.enabled and context.mirror.enabled("rule", found.id),
        what=_sentence(found),
        text=rule_file.export(rule_file.RuleFile(rule=(found,))),
        drawing=_drawing([found]),
        show=request.query_params.get("show", ""),
        evaluations=[(each.evaluation, each.evaluation.device or found.title) for each in looked.rows],
    )


@require("operator")
async def rule_text(request: Request) -> Response:
    """The editor."""
    context = context_of(request)
    now = await context.read(context.rules.read)
    problems = await context.read(_check, context, now.text) if now.text.strip() else []
    return page(
        request,
        "rules_text.html",
        at="rules",
        text=now.text or _EXAMPLE,
        fresh=not now.text,
        version=now.version,
        found=problems,
        path=context.rules.path.name,
        days=TRY_DAYS,
    )


@require("operator")
async def rule_check(request: Request) -> Response:
    """What is wrong with a text, while somebody writes it."""
    unrecorded(request)
    context, text = context_of(request), await _text(request)
    return fragment(request, "rules_problems.html", {"found": await context.read(_check, context, text)})


@require("admin")
async def rule_save(request: Request) -> Response:
    """Save a text, and go by it from now on."""
    context = context_of(request)
    form = await request.form(max_fields=10, max_part_size=rule_file.MOST_BYTES)
    text = str(form.get("text", "")).replace("\r\n", "\n")
    record(request, "rules.save", context.rules.path.name)
    try:
        await context.reload(text, known=str(form.get("version", "")) or None)
    except ProblemError as error:
        if error.status != 422:
            raise
        unrecorded(request)
        response = fragment(request, "rules_problems.html", {"found": await context.read(_check, context, text)})
        response.headers.update(said(request, "Nothing was saved: the rules have errors.", bad=True).headers)
        del response.headers["hx-reswap"]
        return response
    now = await context.read(context.rules.read)
    return said(request, "Saved. The hub goes by these rules now.", then={"saved": {"version": now.version}})


@require("operator")
async def rule_try(request: Request) -> Response:
    """Decide once more on what has happened, with a text that is not saved: what would be different? Nothing is sent."""
    unrecorded(request)
    context = context_of(request)
    form = await request.form(max_fields=10, max_part_size=rule_file.MOST_BYTES)
    text = str(form.get("text", "")).replace("\r\n", "\n")
    days = next((each for each in TRY_DAYS if str(each) == form.get("days")), TRY_DAYS[0])
    try:
        report = await context.read(try_rules, context, text, context.now() - days * 86_400.0, None)
    except ProblemError as error:
        if error.status != 422:
            raise
        return fragment(request, "rules_try.html", {"report": None, "wrong": error.problem.detail})
    return fragment(request, "rules_try.html", {"report": report, "wrong": ""})


def _check(context: HubContext, text: str) -> list[rule_file.Problem]:
    known = {*context.mirror.entities(), *context.mirror.values()}
    return context.rules.check(text, known, (output.name for output in context.rules.book.outputs.values()))


async def _text(request: Request) -> str:
    form = await request.form(max_fields=10, max_part_size=rule_file.MOST_BYTES)
    return str(form.get("text", "")).replace("\r\n", "\n")


def _own(found: Rule) -> bool:
    """Whether it is from the file of rules; the others are made of ``app.conf``."""
    return not found.name.startswith(("[links]", "[type_links]", "[meter:"))


def _drawing(rules: Iterable[Rule]) -> Markup:
    """What is heard, the rules, and what is done, from left to right."""
    boxes: dict[str, Box] = {}
    arrows: dict[tuple[str, str], Arrow] = {}
    column: dict[str, int] = {}

    def put(box: Box, place: int) -> str:
        boxes.setdefault(box.id, box)
        column.setdefault(box.id, place)
        return box.id

    for each in rules:
        middle = put(
            Box(f"rule {each.id}", (each.title, _guards(each)), "" if each.enabled else "off", f"/rules/{quote(each.id)}"), 1
        )
        for trigger in each.trigger:
            name, kind = _heard(trigger)
            start = put(Box(f"in {kind} {name}", (name, kind), "broker"), 0)
            arrows[start, middle] = Arrow(start, middle)
        for action in each.action:
            done = _done(action)
            if done is not None:
                end = put(Box(f"out {done[0]}", done, "broker"), 2)
                arrows[middle, end] = Arrow(middle, end)
    return draw(
        list(boxes.values()), list(arrows.values()), column, "What is heard, the rules, and what is done", "links-drawing"
    )


def _heard(trigger: Trigger) -> tuple[str, str]:
    for name in ("mode", "schedule", "offline", "online", "signal", "unconfirmed"):
        if subject := getattr(trigger, name):
            return str(subject), {"offline": "goes silent", "online": "comes back", "signal": "button"}.get(name, name)
    for name in ("device", "group", "type", "topic"):
        if subject := getattr(trigger, name):
            return str(subject), f"{name}, {trigger.on}"
    return "anything", trigger.on


def _done(action: object) -> tuple[str, str] | None:
    if isinstance(action, SetOff):
        return action.output, "output"
    if isinstance(action, DeviceCommand):
        return action.entity or action.topic, "command"
    if isinstance(action, Notify):
        return ", ".join(action.to), "message"
    return (action.mode, "mode") if isinstance(action, SetMode) else None


def _guards(found: Rule) -> str:
    parts = [
        f"in {'/'.join(found.modes)}" if found.modes else "",
        "at times" if found.window else "",
        "with a condition" if found.condition else "",
        f"for {found.for_s:g} s" if found.for_s else "",
        f"{found.count.times}x" if found.count else "",
    ]
    return " ".join(part for part in parts if part) or "always"


def _sentence(found: Rule) -> str:
    """The rule in words, shortly."""
    heard = " or ".join(dict.fromkeys(f"{name} ({kind})" for name, kind in map(_heard, found.trigger))) or "nothing"
    parts: list[str] = []
    for action in found.action:
        if isinstance(action, Delay):
            parts.append(f"wait {action.seconds:g} s")
        elif (done := _done(action)) is not None:
            what = f" {action.what}" if isinstance(action, DeviceCommand) and action.entity else ""
            parts.append(f"{done[1]} {done[0]}{what}")
    guards = _guards(found)
    return f"{heard}{'' if guards == 'always' else f', {guards}'} → {', then '.join(parts) or 'nothing'}"
