"""The schedules, for the pages and the API: those of ``app.conf``, which are looked at, and those of their file, which are
changed one at a time. What else stands in the file, comments too, stays as it was written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec

from event_processor.domain import schedule_file
from event_processor.domain.schedule_file import MOST_SCHEDULES, Problem, ScheduleFile, ScheduleSpec, check_spec, make
from event_processor.domain.schedule_words import spec_of
from event_processor.domain.schedules import Schedule
from event_processor.settings.writing import write_whole
from event_processor.web.problems import ProblemError, Wrong
from event_processor.web.textfile import Stamp, read_text, stamp_of, version_of
from pylib.errors import ConfigError

__all__ = ["Schedules", "Shown"]


class Shown(msgspec.Struct, frozen=True):
    """A schedule that the hub goes by, and how it is written; ``editable`` where that is in the file."""

    schedule: Schedule
    written: ScheduleSpec
    editable: bool

    @property
    def version(self) -> str:
        """Another one when anything in it is another."""
        return _version(self.written)


def _version(written: ScheduleSpec) -> str:
    return version_of(schedule_file.export(ScheduleFile((written,))))


class Schedules:
    """The schedules of this hub. Any thread may read, check and change; changes come one after the other, and the hub hears
    of them in the order in which they were written.

    :param path: the file; it need not be there yet.
    :param conf: those of ``app.conf``.
    :param compile: makes all schedules of a file's and those of ``app.conf``; raises ``ConfigError``.
    :param switch: has the hub go by other ones; the processor's, from any thread.
    """

    def __init__(
        self,
        path: Path,
        conf: tuple[Schedule, ...],
        compile: Callable[[ScheduleFile], tuple[Schedule, ...]],
        switch: Callable[[Sequence[Schedule]], Future[None]],
    ) -> None:
        self.path = path
        self._conf = {schedule.id.lower(): Shown(schedule, spec_of(schedule), editable=False) for schedule in conf}
        self._compile = compile
        self._switch = switch
        self._changing = threading.Lock()
        self._known: tuple[Stamp, tuple[Shown, ...]] | None = None

    # -- looking -----------------------------------------------------------------------------------------------------

    def shown(self) -> tuple[Shown, ...]:
        """The schedules that the hub goes by: with the file as it is, or, where it has errors, as it was when it had none."""
        seen, known = stamp_of(self.path), self._known
        if known is None or known[0] != seen:
            try:
                file = schedule_file.load(read_text(self.path))
                self._compile(file)
            except (ConfigError, ProblemError, OSError):
                found = known[1] if known is not None else tuple(self._conf.values())
            else:
                found = (*self._conf.values(), *(Shown(make(spec), spec, editable=True) for spec in file.schedule))
            known = self._known = (seen, found)
        return known[1]

    def find(self, ident: str) -> Shown | None:
        """The schedule of this id."""
        return next((each for each in self.shown() if each.schedule.id == ident), None)

    def check(self, spec: ScheduleSpec, *, new: bool = False) -> list[Problem]:
        """Everything that is wrong with a schedule that is to be put into the file; ``new``: where no other may be."""
        return self._check(spec, self._parsed(read_text(self.path)), new=new)

    def _check(self, spec: ScheduleSpec, file: ScheduleFile, *, new: bool) -> list[Problem]:
        problems = check_spec(spec)
        taken = self._conf.get(spec.id.lower())
        if taken is not None:
            text = f"app.conf has [schedule:{taken.schedule.title}]: choose another"
            problems.append(Problem(schedule=spec.id, field="id", message=text))
        others = [each.id for each in file.schedule if each.id.lower() == spec.id.lower()]
        if others and (new or others != [spec.id]):
            problems.append(Problem(schedule=spec.id, field="id", message=f"there is a schedule {others[0]} already"))
        if not problems:
            try:
                self._compile(ScheduleFile((spec,)))
            except ConfigError as error:
                text = str(error).rpartition(f"schedule {spec.id}: ")[2]
                field, _, rest = text.partition(": ")
                problems.append(Problem(schedule=spec.id, field=field if rest else "", message=rest or text))
        return problems

    # -- changing ----------------------------------------------------------------------------------------------------

    def put(self, spec: ScheduleSpec, *, known: str | None = None) -> Future[None]:
        """Write a schedule into the file, in place of the one of its id. The future is done when the hub goes by it.

        :param known: the version that the writer has seen, "" where there was none; ``None`` where that does not matter.
        :raises ProblemError: 409, 412 or 422, and nothing was changed.
        """
        if spec.id.lower() in self._conf:
            raise ProblemError(409, "This schedule is a section of app.conf, and is changed there.")
        with self._changing:
            text = read_text(self.path)
            file = self._parsed(text)
            now = next((each for each in file.schedule if each.id == spec.id), None)
            if known and known != ("" if now is None else _version(now)):
                raise ProblemError(412, "Somebody else has changed this schedule in the meantime. Load it again.")
            problems = self._check(spec, file, new=known == "")
            if problems:
                wrong = tuple(Wrong(each.field, each.message) for each in problems)
                said = "; ".join(f"{each.field}: {each.message}" if each.field else each.message for each in problems)
                raise ProblemError(422, f"Nothing was saved: {said}.", errors=wrong)
            if now is None and len(file.schedule) >= MOST_SCHEDULES:
                raise ProblemError(409, f"There are {MOST_SCHEDULES} schedules, which is the limit: delete some first.")
            return self._save(text, text if now == spec else schedule_file.edited(text, spec.id, spec))

    def delete(self, ident: str) -> Future[None]:
        """Take a schedule out of the file. Raises ``ProblemError`` 404 or 409, and nothing was changed."""
        if ident.lower() in self._conf:
            raise ProblemError(409, "This schedule is a section of app.conf, and is changed there.")
        with self._changing:
            text = read_text(self.path)
            if ident not in {each.id for each in self._parsed(text).schedule}:
                raise ProblemError(404, "There is no such schedule in the file.")
            return self._save(text, schedule_file.edited(text, ident, None))

    def _save(self, old: str, new: str) -> Future[None]:
        try:
            schedules = self._compile(schedule_file.load(new, self.path.name))
        except ConfigError as error:
            raise ProblemError(422, f"Nothing was saved: {error}") from None
        if new != old:
            try:
                write_whole(self.path, new)
            except OSError as error:
                raise ProblemError(503, f"{self.path} cannot be written ({error.strerror}). It is as it was.") from None
        return self._switch(schedules)

    # -- the file ----------------------------------------------------------------------------------------------------

    def _parsed(self, text: str) -> ScheduleFile:
        try:
            return schedule_file.load(text, self.path.name)
        except ConfigError as error:
            raise ProblemError(409, f"The file of schedules has errors; mend it with an editor first. {error}") from None
