"""Why did the siren not sound? The answer, from the evaluations that were stored."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from event_processor.domain.outcome import Evaluation
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.rules import DeviceCommand, Notify, SetOff

__all__ = ["Answer", "explain", "rules_about"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``summary`` in a sentence, and the evaluations behind it, the newest first. ``did`` says whether it was set off."""

    did: bool
    summary: str
    evaluations: tuple[Evaluation, ...]


def explain(about: str, since: float, evaluations: Iterable[Evaluation], book: Rulebook, *, most: int = 20) -> Answer:
    """Say what became of a rule (its id), or of an output or entity (its name), since ``since`` (seconds since the epoch).

    ``evaluations`` may be of any rules and in any order; at most ``most`` of those concerned are given back.
    """
    wanted = about.lower()
    rules = rules_about(about, book)
    by_rule = any(rule_id.lower() == wanted for rule_id in rules)
    if not rules:
        return Answer(did=False, summary=f"No rule is called {about} or sets off {about}.", evaluations=())
    looked = sorted((one for one in evaluations if one.at >= since and one.rule in rules), key=lambda one: -one.at)
    if not looked:
        names = ", ".join(book.rules[rule].rule.title for rule in rules)
        text = f"Nothing happened that concerns {about}: no event since then set off a look at {names}."
        return Answer(did=False, summary=text, evaluations=())
    done = [one for one in looked if (one.fired if by_rule else _reached(one, wanted))]
    shown = tuple(looked[:most])
    if done:
        often = "once:" if len(done) == 1 else f"{len(done)} times; the last time:"
        return Answer(did=True, summary=f"It was, {often} {done[0].explanation}", evaluations=shown)
    closest = max(looked, key=lambda one: (one.fired, len(one.checks), one.at))
    last = "" if closest is looked[0] else f" The last time: {looked[0].explanation}"
    return Answer(did=False, summary=f"It was not. It came closest here: {closest.explanation}{last}", evaluations=shown)


def rules_about(about: str, book: Rulebook) -> list[str]:
    """The ids of the rule of this name; else of those that set off the output, entity or person of this name."""
    wanted = about.lower()
    named = [rule_id for rule_id in book.rules if rule_id.lower() == wanted]
    return named or [rule_id for rule_id, compiled in book.rules.items() if _drives(compiled.rule.action, wanted)]


def _drives(actions: Iterable[object], name: str) -> bool:
    for action in actions:
        if isinstance(action, SetOff) and action.output.lower() == name:
            return True
        if isinstance(action, DeviceCommand) and name in (action.entity.lower(), action.topic.lower()):
            return True
        if isinstance(action, Notify) and any(target.lower() == name for target in action.to):
            return True
    return False


def _reached(evaluation: Evaluation, name: str) -> bool:
    """Whether this evaluation set off the output, or told the entity or person."""
    for check in evaluation.checks:
        guard = check.guard.lower()
        if check.passed and guard in (f"output {name}", f"command {name}"):
            return True
        if check.passed and guard == "notify" and name in check.why.lower():
            return True
    return False
