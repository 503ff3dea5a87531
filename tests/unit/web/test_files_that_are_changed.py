"""The files of rules and schedules: what many change at once is lost by nobody, and the hub goes by what was written last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from event_processor.domain.outcome import Outcome
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.domain.schedule_file import ScheduleFile, ScheduleSpec, compile_schedules, load
from event_processor.domain.schedule_times import Place
from event_processor.domain.schedules import Schedule
from event_processor.web.problems import ProblemError
from event_processor.web.rulefile import Rules
from event_processor.web.schedulefile import Schedules

T = TypeVar("T")
NOW = 1_795_500_000.0
WRITERS = 8


def at_once(work: Callable[[int], T]) -> list[T | ProblemError]:
    """What becomes of it when all do it at the same time."""

    def one(number: int) -> T | ProblemError:
        try:
            return work(number)
        except ProblemError as error:
            return error

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(one, range(WRITERS)))


def schedules(folder: Path, told: list[list[str]]) -> Schedules:
    def switch(all_of_them: Sequence[Schedule]) -> Future[None]:
        told.append([each.id for each in all_of_them])
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def compiled(file: ScheduleFile) -> tuple[Schedule, ...]:
        return compile_schedules((), file, Place(), NOW)

    return Schedules(folder / "schedules.toml", (), compiled, switch)


def evening(ident: str, at: str = "22:30") -> ScheduleSpec:
    return ScheduleSpec(id=ident, at=at, do=("mode night",))


def test_schedules_that_are_made_at_the_same_time_are_all_there_and_the_hub_has_them_all(tmp_path: Path) -> None:
    told: list[list[str]] = []
    known = schedules(tmp_path, told)
    at_once(lambda number: known.put(evening(f"s{number}")))
    ids = [spec.id for spec in load(known.path.read_text()).schedule]
    assert sorted(ids) == [f"s{number}" for number in range(WRITERS)]
    assert told[-1] == ids, "the hub was told last of what was written last"
    assert [len(each) for each in told] == list(range(1, WRITERS + 1))
    at_once(lambda number: known.delete(f"s{number}"))
    assert known.path.read_text().strip() == ""
    assert told[-1] == []


def test_of_those_who_change_the_same_schedule_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    known = schedules(tmp_path, [])
    known.put(evening("s"))
    found = known.find("s")
    assert found is not None
    outcomes = at_once(lambda number: known.put(evening("s", f"22:{number:02}"), known=found.version))
    refused = [each.status for each in outcomes if isinstance(each, ProblemError)]
    assert refused == [412] * (WRITERS - 1)
    made = at_once(lambda _: known.put(evening("new"), known=""))
    assert [each.status for each in made if isinstance(each, ProblemError)] == [422] * (WRITERS - 1)


def test_a_folder_that_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    known = schedules(tmp_path, told)
    known.put(evening("s"))
    before = known.path.read_text()

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("event_processor.settings.writing.os.replace", full)
    with pytest.raises(ProblemError, match=r"cannot be written \(No space left on device\)\. It is as it was"):
        known.put(evening("more"))
    assert known.path.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["schedules.toml"], "nothing is left lying about"
    assert told == [["s"]]


def test_of_those_who_save_rules_that_they_have_read_one_wins_and_the_hub_goes_by_these(tmp_path: Path) -> None:
    told: list[Rulebook] = []

    def switch(book: Rulebook) -> Future[Outcome]:
        told.append(book)
        return Future()

    rules = Rules(tmp_path / "rules.toml", lambda file: Rulebook(compile_rules(file.rule)), switch)
    version = rules.read().version
    text = '[[rule]]\nid = "r{}"\ntrigger = {{device = "Door"}}\naction = {{do = "mode", mode = "away"}}\n'
    outcomes = at_once(lambda number: rules.save(text.format(number), version))
    assert [each.status for each in outcomes if isinstance(each, ProblemError)] == [412] * (WRITERS - 1)
    assert [list(book.rules) for book in told] == [list(rules.book.rules)]
