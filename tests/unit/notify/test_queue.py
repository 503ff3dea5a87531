"""The queue on disk, and what a message is made of."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from event_processor.notify import queue as module
from event_processor.notify.composing import MOST_LABELS, compose
from event_processor.notify.notes import Note, Picture, read_step
from event_processor.notify.queue import NoteQueue
from pylib.errors import Rejected
from tests.unit.notify.service import PNG, step


def note(number: int, label: str = "door", pictures: int = 0) -> Note:
    attached = tuple(Picture(f"{n}.png", "image/png", PNG + bytes([n])) for n in range(pictures))
    return Note(
        step=f"s{number}", target="phone", label=label, rule="r", title="", text=f"text {number}", at=1.0, pictures=attached
    )


def test_a_damaged_file_is_kept_and_a_new_one_started(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "notify.db"
    path.write_bytes(b"this is no database" * 1000)
    queue = NoteQueue(path)
    queue.open()
    assert len(queue.put([note(1)])) == 1
    queue.close()
    assert (tmp_path / "notify.db.corrupt-1").exists()
    assert "is kept as" in caplog.text


def test_of_too_many_the_oldest_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    queue = NoteQueue(tmp_path / "notify.db")
    queue.put([note(n) for n in range(5)])
    assert [each.step for each in queue.too_many()] == ["s0", "s1"]
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    monkeypatch.setattr(module, "MOST_BYTES", 30)
    queue.put([note(n, pictures=2) for n in range(10, 13)])  # of 9 bytes each
    assert [each.step for each in queue.too_many()] == ["s10", "s11"]
    queue.close()


def test_a_picture_that_was_told_leaves_and_the_others_stay(tmp_path: Path) -> None:
    queue = NoteQueue(tmp_path / "notify.db")
    queue.put([note(1, pictures=3)])
    message = compose(queue.waiting("phone", pictures=2), 2)
    assert message is not None
    queue.settle(message.notes)
    (left,) = queue.waiting("phone", pictures=2)
    assert (left.told, len(left.pictures)) == (True, 1)
    queue.settle([left])
    assert queue.targets() == {}
    queue.close()


def test_labels_beyond_what_fits_go_with_the_next_message() -> None:
    notes = [msgspec.structs.replace(note(n, label=f"label {n}"), row=n) for n in range(MOST_LABELS + 5)]
    message = compose(notes)
    assert message is not None
    assert len(message.notes) == len(message.text.splitlines()) == MOST_LABELS
    assert compose([]) is None


def test_a_step_with_nothing_to_tell_is_refused_and_a_long_text_cut() -> None:
    with pytest.raises(Rejected, match="neither a text nor a picture"):
        read_step(msgspec.structs.replace(step(1), body={"device": "x"}))
    with pytest.raises(Rejected, match="expected an object"):
        read_step(msgspec.structs.replace(step(1), body="text"))
    assert len(read_step(step(1, "x" * 10_000)).text) == 4000
    assert read_step(step(1, life=0.0)).expires_at is None
