"""What a running hub can be asked through its control socket, besides what every application answers.

reload     read the files of rules and schedules again; ``{"rules": 12, "schedules": 3, "said": [...]}``
request    do something; ``{"done": true, "text": "..."}``
reset_second_factor    have an account log in with the password alone; ``{"had": true}``
store      how the store is
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from event_processor.domain.prompts import Request
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.schedules import Schedule
from event_processor.processor import EventProcessor
from event_processor.store.people import reset_second_factor
from event_processor.store.writer import StoreHealth, StoreWriter
from pylib.brokers.identity import new_id
from pylib.errors import PylibError
from pylib.observe.control import Control
from pylib.observe.health import Problem

__all__ = ["StoreProblems", "offer"]

#: Seconds within which the hub does what it is asked for, or says that it is busy.
DONE_WITHIN: Final = 4.0


class _Wish(msgspec.Struct):
    """A request as it is asked for."""

    what: str
    about: str = ""
    value: object = None
    who: str = "Somebody at the command line"
    id: str = ""


class StoreProblems:
    """What of the store is not as it should be, and since when. For the thread that asks for the health."""

    def __init__(self, health: Callable[[], StoreHealth]) -> None:
        self._health = health
        self._since: dict[str, float] = {}

    def __call__(self) -> list[Problem]:
        """The problems that there are now."""
        health = self._health()
        found = [] if health.ok else [health.problem]
        if health.quarantined is not None:
            found.append(f"its damaged file was set aside as {health.quarantined}, and a new one was started")
        self._since = {what: self._since.get(what, time.time()) for what in found}
        return [Problem(part="store", what=what, since=since) for what, since in self._since.items()]


def offer(
    control: Control,
    processor: EventProcessor,
    writer: StoreWriter,
    rules: Callable[[], Rulebook],
    schedules: Callable[[], Sequence[Schedule]],
) -> None:
    """Have ``control`` answer what a hub answers. Before its start.

    :param rules: makes the rules anew, of the files as they are now; called on the control's thread. Raises ``ConfigError``
        for rules that are wrong, and the old ones stay.
    :param schedules: the same of the schedules. Where either is wrong, neither is changed.
    """

    def reload(request: Mapping[str, object]) -> object:
        book, timed = rules(), schedules()
        scheduled = processor.reschedule(timed)
        outcome = processor.reload(book).result(DONE_WITHIN)
        scheduled.result(DONE_WITHIN)
        said = [one.explanation for one in outcome.evaluations]
        return {"rules": processor.rules, "schedules": len(timed), "said": said}

    def ask(request: Mapping[str, object]) -> object:
        try:
            wish = msgspec.convert({key: value for key, value in request.items() if key != "ask"}, _Wish)
        except msgspec.ValidationError as error:
            raise PylibError(f"a request has what, about, value, who and id: {error}") from None
        asked = Request(
            id=wish.id or new_id(), at=time.time(), what=wish.what, who=wish.who, about=wish.about, value=wish.value
        )
        answer = processor.ask(asked).result(DONE_WITHIN)
        return {"done": answer.fired, "text": answer.explanation}

    def reset(request: Mapping[str, object]) -> object:
        name, who = str(request.get("name", "")), str(request.get("who", "")) or "Somebody at the command line"
        had = writer.submit(lambda connection: reset_second_factor(connection, name, at=time.time(), who=who))
        if (found := had.result(DONE_WITHIN)) is None:
            raise PylibError(f"There is no account {name}: event-processor accounts list names them.")
        return {"had": found}

    control.offer("reload", reload)
    control.offer("reset_second_factor", reset)
    control.offer("request", ask)
    control.offer("store", lambda request: writer.health())
