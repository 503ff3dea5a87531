"""What people and programs may ask of the engine, by the request's ``what``.

set_mode     about: the mode; value: true to leave out the exit delay
enable, disable   about: "rule:<id>", "device:<key>" or "output:<name>"
acknowledge  about: a rule's id, or nothing for all
maintenance  value: true or false
signal       about: the button, such as "panic"
run          about: a rule's id; its actions are done as if it had fired
command      about: an entity's key; value: what to do, such as "on"
"""

from __future__ import annotations

from event_processor.domain.acting import acknowledge, start
from event_processor.domain.commanding import send_command
from event_processor.domain.events import Event
from event_processor.domain.heard import Request
from event_processor.domain.memos import Run, key_of
from event_processor.domain.modes import set_mode
from event_processor.domain.nearest import did_you_mean
from event_processor.domain.outcome import Check, Evaluation
from event_processor.domain.patterns import is_pattern, name_matches
from event_processor.domain.rules import DeviceCommand, SetOff
from event_processor.domain.turn import Turn

__all__ = ["CONFIRM_WITHIN_S", "answer", "ask"]

CONFIRM_WITHIN_S = 10.0
"""How long a device that was told something by a person has to report that it did it."""


def ask(turn: Turn, request: Request) -> None:
    """Do it, and say in an evaluation without a rule what became of it. What makes no sense is said, and changes nothing."""
    done, text = _done(turn, request)
    turn.evaluations.insert(0, answer(request, turn.now, done, text))


def answer(request: Request, at: float, done: bool, text: str) -> Evaluation:
    """What became of a request, in a sentence with who asked for what."""
    asked = f"{request.who or 'Somebody'} asked for {request.what} {request.about}".rstrip()
    return Evaluation(rule="", device=request.about, at=at, fired=done, reason=request.what, explanation=f"{asked}: {text}.")


def _done(turn: Turn, request: Request) -> tuple[bool, str]:
    what, about, value = request.what, request.about, request.value
    if what == "set_mode":
        return about.lower() in turn.book.modes, set_mode(turn, about, value is True)
    if what in ("enable", "disable"):
        return _switch(turn, about, what == "enable")
    if what == "maintenance":
        turn.draft.settings.put("maintenance:", True if value is True else None)
        return True, "outputs stay quiet from now on" if value is True else "outputs work again"
    if what == "signal" and about:
        turn.chain.append(("signal", about))
        return True, "it was pressed"
    if what == "acknowledge":
        return _acknowledge(turn, about, request.who)
    if what == "run":
        return _run(turn, about)
    if what == "command":
        return _command(turn, about, value)
    return False, "nobody knows what that is"


def _switch(turn: Turn, about: str, on: bool) -> tuple[bool, str]:
    kind, _, key = about.partition(":")
    if kind not in ("rule", "device", "output", "group") or not key:
        return False, 'expected "rule:<id>", "device:<key>", "output:<name>" or "group:<name>"'
    names = _named(turn, kind, key)
    if not names:
        return False, f"there is no {kind} {key}"
    for name in names:
        turn.draft.settings.put(f"enabled:{'device' if kind == 'group' else kind}:{name.lower()}", None if on else False)
    what = key if len(names) == 1 and kind != "group" else f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"
    unknown = "" if on or kind in ("rule", "group") or is_pattern(key) else _unknown(turn, kind, key)
    return True, f"{what} {'is' if len(names) == 1 else 'are'} switched {'on' if on else 'off'}{unknown}"


def _unknown(turn: Turn, kind: str, key: str) -> str:
    """A word of warning about a name that nothing has yet: it may be to come, or a misspelling."""
    known = _known(turn, kind)
    if kind == "output":  # described nowhere, an application listens to it all the same
        actions = (action for one in turn.book.rules.values() for action in one.rule.action)
        known += [action.output for action in actions if isinstance(action, SetOff)]
    if key.lower() in {name.lower() for name in known}:
        return ""
    return f", but no {kind} of that name is known so far{did_you_mean(key, known).rstrip('?')}"


def _named(turn: Turn, kind: str, key: str) -> list[str]:
    """What a name or pattern stands for. Devices and outputs may be switched off before they are known."""
    if kind == "group":
        return list(turn.book.members(key, turn.state.values, turn.registry))
    known = _known(turn, kind)
    if is_pattern(key):
        return [name for name in known if name_matches(key.lower(), name.lower())]
    return [key] if kind != "rule" or key in known else []


def _known(turn: Turn, kind: str) -> list[str]:
    """The names that there are now."""
    if kind == "device":
        return list(dict.fromkeys((*turn.state.values, *turn.registry.entities)))
    return list(turn.book.outputs if kind == "output" else turn.book.rules)


def _acknowledge(turn: Turn, about: str, who: str) -> tuple[bool, str]:
    ended: list[str] = []
    for compiled in turn.book.rules.values():
        run = turn.draft.memos.get(key_of("run", compiled.rule.id))
        if isinstance(run, Run) and about in ("", compiled.rule.id):
            acknowledge(turn, compiled, run, who or "somebody")
            ended.append(compiled.rule.title)
    return bool(ended), f"{', '.join(ended)} knows" if ended else "nothing waits for that"


def _run(turn: Turn, about: str) -> tuple[bool, str]:
    compiled = turn.book.rules.get(about)
    if compiled is None:
        return False, f"there is no rule {about}"
    running = turn.draft.memos.get(key_of("run", about))
    if isinstance(running, Run) and compiled.rule.run == "single":
        return False, "its actions of last time are still under way"
    event = Event(
        device=compiled.rule.title, kind="input", created_at=turn.now, source="hub", topic="", type="run", value="run"
    )
    start(turn, compiled, event, [], "it was started by hand")
    return True, "it was started"


def _command(turn: Turn, about: str, value: object) -> tuple[bool, str]:
    what = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value}"
    what = {"true": "on", "false": "off"}.get(what, what)
    event = Event(device=about, kind="input", created_at=turn.now, source="hub", topic="", type="command", value=what)
    checks: list[Check] = []
    action = DeviceCommand(entity=about, what=what, confirm_within_s=CONFIRM_WITHIN_S, retries=0)
    send_command(turn, "", action, Run(turn.cause, event), 0, 0, checks)
    return checks[0].passed, "; ".join(check.why for check in checks)
