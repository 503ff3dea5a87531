"""What a device may put into its texts, and what becomes of it in either database."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from event_processor.domain.outcome import Change
from event_processor.domain.records import NotificationRecord
from event_processor.store.backup import backup
from event_processor.store.reader import Reader
from event_processor.store.restore import restore
from event_processor.store.series import Series
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import START, bench, event, outcome, rows, step

SIGNS = "Tür \0 '\"%_\\ \u202e \x1f \U0001f6aa $1 {0} ;--"
SHOWN = {"sqlite": SIGNS, "postgresql": SIGNS.replace("\0", "\ufffd")}


def shown(url: str) -> str:
    return SHOWN["postgresql" if url.startswith("postgresql") else "sqlite"]


def odd(number: int) -> object:
    """An outcome with such a text wherever a device, or whoever writes the rules, can put one."""
    said = event(number, device=SIGNS, type=SIGNS, label=SIGNS, topic=f"sensor/{number}", value=SIGNS)
    command = step(number, address=f"siren/{SIGNS}", output=SIGNS, rule=SIGNS, body={"text": SIGNS})
    changes = (Change("device", SIGNS, msgspec.json.encode(SIGNS)),)
    return outcome(number, event=said, all_steps=(command,), changes=changes)


def test_a_nul_in_a_text_costs_neither_the_outcome_nor_its_neighbours(
    runtime: Runtime, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), bench(runtime, store_url) as b:
        b.stored([outcome(1, steps=1), odd(2), outcome(3, steps=1)])
        sent = [b.commands.next() for _ in range(3)]
        assert [message[2]["message_id"] for message in sent] == ["step-1-0", "step-2-0", "step-3-0"]
        told = NotificationRecord(step="step-2-0", target="phone", title=SIGNS, body=SIGNS, at=START, status="failed",
                                  attempts=1, reason=SIGNS)  # fmt: skip
        b.stored(told)
        health = b.writer.health()
        assert (health.ok, health.stored, health.lost) == (True, 3, 0)
    assert caplog.records == []
    text = shown(store_url)
    assert rows(store_url, "events", "device, type") == [("Door 1", "door"), ("Door 3", "door"), (text, text)]
    assert rows(store_url, "state", "key", "key")[-1] == (text,)
    reader = Reader(store_url)
    (found,) = reader.events(device=SIGNS).rows
    assert found.event is not None
    assert found.event.value == SIGNS, "in the event itself, which is JSON, it is what it was"
    assert [each.event_id for each in reader.steps(output=SIGNS)] == [2]
    assert [each.id for each in reader.events(text="Tür").rows] == [2]
    assert [each.title for each in Series(reader).notifications()] == [text]
    reader.close()
    with bench(runtime, store_url) as b:
        assert b.loaded.state["device", text] == msgspec.json.encode(SIGNS)


def test_a_store_with_a_nul_moves_to_the_other_database(
    runtime: Runtime, tmp_path: Path, store_url: str, postgresql: str
) -> None:
    if store_url.startswith("postgresql"):
        target = str(tmp_path / "other.db")
    else:
        target = postgresql
    with bench(runtime, store_url) as b:
        b.stored(odd(1))
    backup(store_url, tmp_path / "hub.backup")
    restore(tmp_path / "hub.backup", target)
    with bench(runtime, target) as b:
        b.stored(odd(2))
        b.stored(odd(1))
    text = SHOWN["sqlite"] if target.startswith("/") and store_url.startswith("/") else SHOWN["postgresql"]
    assert text in {device for (device,) in rows(target, "events", "device", "id")}
    assert rows(target, "events", "count(*)") == [(2,)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("%", [2]), ("f_", [2]), ("o_f", []), ("'", [2]), ("OFF", [2]), ("\0", []), ("a\0b", []), ("\\%", [])],
)
def test_what_is_searched_for_is_taken_as_it_is(runtime: Runtime, store_url: str, text: str, numbers: list[int]) -> None:
    with bench(runtime, store_url) as b:
        b.stored(outcome(1), outcome(2, event=event(2, topic="meter/2", type="50%", label="off_ it's")))
    reader = Reader(store_url)
    assert [each.id for each in reader.events(text=text).rows if each.event is not None] == numbers
    reader.close()


def noise(length: int) -> str:
    """A text that cannot be compressed."""
    return "".join(random.Random(length).choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=length))


@pytest.mark.parametrize("where", ["device", "cause", "state", "output", "step"])
def test_a_text_that_is_too_long_for_an_index_costs_its_own_outcome_at_most(
    runtime: Runtime, store_url: str, where: str
) -> None:
    long = noise(12_000)
    bad = {
        "device": lambda: outcome(2, event=event(2, device=long), changes=()),
        "cause": lambda: outcome(2, cause=long),
        "state": lambda: outcome(2, changes=(Change("device", long, b"1"),)),
        "output": lambda: outcome(2, all_steps=(step(2, output=long),)),
        "step": lambda: outcome(2, all_steps=(replace(step(2), id=long),)),
    }[where]()
    with bench(runtime, store_url) as b:
        b.stored(outcome(1, steps=1))
        b.stored([outcome(3, steps=1), bad, outcome(4, steps=1)])
        b.stored(outcome(5, steps=1))
        sent = {b.commands.next()[2]["message_id"] for _ in range(4 + len(bad.steps))}
        health = b.writer.health()
    assert (health.ok, health.waiting) == (True, 0)
    assert {f"step-{n}-0" for n in (1, 3, 4, 5)} | {each.id for each in bad.steps} == sent, "what it asks for is done"
    stored = {cause for (cause,) in rows(store_url, "events", "cause")}
    assert {f"cause-{n}" for n in (1, 3, 4, 5)} <= stored
