"""Saying once what would otherwise be said a million times: the first drop of a spell is logged, the rest are counted."""

from __future__ import annotations

import logging

__all__ = ["Spells"]

log = logging.getLogger("pylib.spool")


class Spells:
    """Spells of trouble by name: logged when one begins and, with its number, when it is over. For one thread."""

    __slots__ = ("_numbers", "_of")

    def __init__(self, of: str) -> None:
        self._of = of
        self._numbers: dict[str, int] = {}

    def say(self, name: str, number: int, message: str) -> None:
        """It happened to so many messages; the message is logged if it is the first time of this spell."""
        if name not in self._numbers:
            log.warning("%s This is said once; counters go on.", message)
        self._numbers[name] = self._numbers.get(name, 0) + number

    def over(self, name: str) -> None:
        """The spell, if there was one, is over."""
        if self._numbers and (number := self._numbers.pop(name, 0)):
            log.info("Spool %s: over: %s (%d in all).", self._of, name, number)
