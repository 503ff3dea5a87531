"""The file of rules, for the pages: read it, check a text, save it. The text is kept as it was written, comments and all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

import msgspec

from event_processor.domain import rule_file
from event_processor.domain.outcome import Outcome
from event_processor.domain.rule_file import RuleFile
from event_processor.domain.rulebook import Rulebook
from event_processor.settings.writing import write_whole
from event_processor.web.problems import ProblemError, Wrong
from event_processor.web.textfile import Stamp, read_text, stamp_of, version_of
from pylib.errors import ConfigError

__all__ = ["RuleText", "Rules"]


class RuleText(msgspec.Struct, frozen=True):
    """The file as it is: its text, and a version that is another one when anything in it is."""

    text: str
    version: str


class Rules:
    """The rules of this hub. Any thread may read, check and save; saves come one after the other, and the hub hears of them in
    the order in which they were written.

    :param path: the file; it need not be there yet.
    :param compile: makes a rulebook of a file's rules and those of ``app.conf``; raises ``ConfigError``.
    :param switch: has the hub go by another rulebook; the processor's, from any thread.
    """

    def __init__(
        self,
        path: Path,
        compile: Callable[[RuleFile], Rulebook],
        switch: Callable[[Rulebook], Future[Outcome]],
    ) -> None:
        self.path = path
        self.compile = compile
        self._switch = switch
        self._saving = threading.Lock()
        self._book: tuple[Stamp, Rulebook] | None = None

    def read(self) -> RuleText:
        """The text of the file; empty where there is none. Raises ``OSError``, and ``ProblemError`` 409 for no UTF-8."""
        text = read_text(self.path)
        return RuleText(text, version_of(text))

    def parsed(self) -> tuple[RuleFile, str]:
        """What the file says, and its version. Raises ``ProblemError`` where it cannot be understood."""
        now = self.read()
        try:
            return rule_file.load(now.text), now.version
        except ConfigError as error:
            raise ProblemError(409, f"The file of rules has errors; mend it as a whole first. {error}") from None

    @property
    def book(self) -> Rulebook:
        """The rules that the hub goes by: of the file as it is, or, where that has errors, as it was when it had none."""
        seen = stamp_of(self.path)
        known = self._book
        if known is None or known[0] != seen:
            try:
                book = self.compile(rule_file.load(self.read().text))
            except (ConfigError, ProblemError, OSError):
                book = known[1] if known is not None else self.compile(RuleFile())
            known = self._book = (seen, book)
        return known[1]

    def check(self, text: str, devices: Iterable[str], outputs: Iterable[str]) -> list[rule_file.Problem]:
        """Everything that is wrong, or looks wrong, with a text."""
        problems = rule_file.check(text, devices=devices, outputs=outputs)
        if not any(problem.severity == "error" for problem in problems):
            try:
                self.compile(rule_file.load(text))
            except ConfigError as error:
                problems.append(rule_file.Problem(severity="error", rule="", field="", message=str(error)))
        return problems

    def save(self, text: str, known: str | None) -> Future[Outcome]:
        """Write the file, whole or not at all. The future is done when the hub goes by it.

        :param known: the version that the writer has seen; None where that does not matter.
        :raises ProblemError: 412, 422, as ``HubContext.reload`` says.
        :raises OSError: it cannot be written.
        """
        try:
            book = self.compile(rule_file.load(text))
        except ConfigError as error:
            wrong = tuple(
                Wrong(where=": ".join(part for part in (problem.rule, problem.field) if part), what=problem.message)
                for problem in rule_file.check(text)
                if problem.severity == "error"
            )
            wrong = wrong or (Wrong("", str(error)),)
            raise ProblemError(422, "The rules have errors; nothing was changed.", errors=wrong) from None
        with self._saving:
            if known is not None and self.read().version != known:
                raise ProblemError(412, "Somebody else has changed the rules in the meantime. Load them again.")
            write_whole(self.path, text)
            return self._switch(book)
