"""What a schedule's task comes to, in the words in which the engine is asked for things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from event_processor.domain.patterns import name_matches
from event_processor.domain.registry import Registry
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.schedules import Schedule, Task
from event_processor.domain.state import HubState

__all__ = ["doubt", "requests_of"]


def requests_of(task: Task, book: Rulebook, registry: Registry, state: HubState) -> Iterator[tuple[str, str, object]]:
    """Give (what, about, value) for each request; a pattern or a group is each of those that it means.

    A name that means nothing gives itself: the engine says then that there is nothing of that name.
    """
    if task.do == "mode":
        yield "set_mode", task.name, None
    elif task.do == "run":
        yield from (("run", name, None) for name in _rules(task.name, book) or [task.name])
    elif task.do == "command":
        yield "command", task.name, task.value
    elif task.subject == "rule":
        yield from ((task.do, f"rule:{name}", None) for name in _rules(task.name, book) or [task.name])
    elif task.subject == "output":
        names = [output.name for output in book.outputs.values()]
        yield from ((task.do, f"output:{name}", None) for name in _named(task.name, names) or [task.name])
    else:
        keys = list(dict.fromkeys([*registry.entities, *state.values]))
        if task.subject == "group":
            found = list(book.members(task.name, keys, registry))
        else:
            found = _named(task.name, keys) or [task.name]
        yield from ((task.do, f"device:{name}", None) for name in found)


def doubt(task: Task, book: Rulebook, keys: Iterable[str], schedules: Iterable[Schedule]) -> str:
    """What looks wrong with a task as things are: there is nothing of the name that it has. Empty where nothing does. A device
    may not have been heard yet, so this is no error.

    :param keys: the entities that are known; where there are none yet, nothing is said about them.
    """
    known = list(keys)
    if task.do == "mode":
        modes = ", ".join(each.name for each in book.modes.values())
        return "" if task.name.lower() in book.modes else f"there is no mode {task.name}: there are {modes}"
    if task.do == "run" or task.subject == "rule":
        return "" if _rules(task.name, book) else f"there is no rule {task.name}"
    if task.do == "command" or task.subject == "device":
        meant = task.name.lower() in {key.lower() for key in known} if task.do == "command" else _named(task.name, known)
        return "" if meant or not known else f"no device {task.name} has been heard yet"
    if task.subject == "output":
        found = _named(task.name, [output.name for output in book.outputs.values()])
    elif task.subject == "group":
        found = [name for name in book.groups if name.lower() == task.name.lower()]
    else:
        found = _named(task.name, [name for each in schedules for name in (each.id, each.name)])
    return "" if found else f"there is no {task.subject} {task.name}"


def _rules(pattern: str, book: Rulebook) -> list[str]:
    """Ids of the rules whose id or title is meant."""
    wanted = pattern.lower()
    return [
        rule_id
        for rule_id, compiled in book.rules.items()
        if name_matches(wanted, rule_id.lower()) or name_matches(wanted, compiled.rule.title.lower())
    ]


def _named(pattern: str, names: Iterable[str]) -> list[str]:
    wanted = pattern.lower()
    return [name for name in names if name_matches(wanted, name.lower())]
