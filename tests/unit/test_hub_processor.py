"""The hub's event loop: one message is stored as one, and decided once, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from event_processor.causes import Causes
from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.heard import Heard
from event_processor.domain.outcome import Change, Outcome
from event_processor.domain.records import ImageRecord, MeterRecord
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.domain.rules import Rule, SetOff, Trigger
from event_processor.domain.schedule_times import Place
from event_processor.domain.schedules import Timetable
from event_processor.metering import Meters
from event_processor.processor import EventProcessor
from pylib.runtime.runtime import Runtime
from pylib.testing.clock import VirtualClock

RULE = Rule(id="r", trigger=(Trigger(device="*", on="report"),), action=(SetOff(output="siren"),))
LEARNED = (Change("liveness", "Door", b'{"seen":1}'),)


@pytest.fixture
def make(runtime: Runtime) -> Callable[..., EventProcessor]:
    """A processor that remembers what is given, and is not started."""
    runtime.clock = VirtualClock()
    count = 0

    def made(causes: Causes | None = None) -> EventProcessor:
        nonlocal count
        count += 1
        return EventProcessor(
            Engine(Rulebook(compile_rules((RULE,)))),
            Timetable((), {}, place=Place(zone="UTC")),
            Meters((), {}, "UTC"),
            causes or Causes(),
            source_zmq_url=f"inproc://processor-{count}",
        )

    return made


def event(device: str, at: float) -> Event:
    return Event(device=device, kind="input", created_at=at, source="mqtt", topic="t", value=1, active=True)


def outcomes(stored: object) -> list[Outcome]:
    """What goes to the store in one piece."""
    pieces = stored if isinstance(stored, tuple) else (stored,)
    assert all(isinstance(each, Outcome | MeterRecord) for each in pieces)
    return [each for each in pieces if isinstance(each, Outcome)]


def test_all_that_follows_from_one_message_is_stored_in_one_piece(make: Callable[..., EventProcessor]) -> None:
    processor = make()
    now = processor.runtime.clock.time()
    heard = Heard(at=now, message_id="m", origin="1.a", events=(event("A", now), event("B", now)), changes=LEARNED,
                  said=(Availability(device="A", online=True, at=now),))  # fmt: skip
    (stored,) = processor.process(heard)
    made = outcomes(stored)
    assert [each.cause for each in made] == ["1.a~m.is0", "1.a~m.0", "1.a~m.1"]
    assert LEARNED[0] in made[0].changes
    assert [len(each.steps) for each in made] == [0, 1, 1]


def test_a_message_that_comes_again_is_decided_once_though_it_is_no_sign_of_life_any_more(
    make: Callable[..., EventProcessor],
) -> None:
    before = make()
    now = before.runtime.clock.time()
    said = (Availability(device="A", online=True, at=now),)
    first = Heard(at=now, message_id="m", origin="1.a", said=said, events=(event("A", now),))
    (stored,) = before.process(first)
    known = Causes()
    # Of the two outcomes only the first was stored, as by a hub that did not keep them together.
    known.restore([outcomes(stored)[0].cause], [now])
    after = make(known)
    (again,) = after.process(Heard(at=now, message_id="new", origin="1.a", again=True, events=(event("A", now),)))
    (decided,) = outcomes(again)
    assert decided.cause == "1.a~m.0"
    assert len(decided.steps) == 1, "an event that was never decided was taken for one that was"


def test_the_entry_of_a_picture_is_stored_with_what_its_event_led_to(make: Callable[..., EventProcessor]) -> None:
    processor = make()
    now = processor.runtime.clock.time()
    taken = ImageRecord(name="a.jpg", device="B", at=now, size=3, sha256="0" * 64, content_type="image/jpeg")
    heard = Heard(at=now, message_id="m", origin="1.a", events=(event("A", now), event("B", now)), images=((1, taken),))
    for _ in range(2):  # when it is delivered again too: the first run may not have come to store it
        (stored,) = processor.process(heard)
        assert isinstance(stored, tuple)
        (entry,) = [each for each in stored if isinstance(each, ImageRecord)]
        assert (entry.name, entry.cause) == ("a.jpg", "1.a~m.1")
        heard = Heard(at=now, message_id="m", origin="1.a", again=True, events=heard.events, images=heard.images)


def test_what_was_learned_is_stored_although_the_message_itself_had_been(make: Callable[..., EventProcessor]) -> None:
    processor = make()
    now = processor.runtime.clock.time()
    heard = Heard(at=now, message_id="m", origin="1.a", events=(event("A", now),))
    list(processor.process(heard))
    for _ in range(2):
        (stored,) = processor.process(Heard(at=now, message_id="m", origin="1.a", again=True, events=heard.events,
                                            changes=LEARNED))  # fmt: skip
        repeated, learned = outcomes(stored)
        assert (repeated.cause, repeated.steps) == ("1.a~m.0", ())
        assert learned.changes == LEARNED
        assert learned.cause != repeated.cause


def test_a_decision_that_fails_is_made_again_and_what_was_decided_before_it_is_stored(
    make: Callable[..., EventProcessor], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = make()
    now = processor.runtime.clock.time()
    take = Engine.take
    failing = True

    def sometimes(self: Engine, said: Event, cause: str, now: float) -> Outcome:
        if said.device == "B" and failing:
            raise RuntimeError("once")
        return take(self, said, cause, now)

    monkeypatch.setattr(Engine, "take", sometimes)
    heard = Heard(at=now, message_id="m", origin="1.a", events=(event("A", now), event("B", now)))
    following = processor.process(heard)
    (first,) = outcomes(next(following))
    assert (first.cause, len(first.steps)) == ("1.a~m.0", 1)
    with pytest.raises(RuntimeError):
        next(following)
    failing = False
    (piece,) = processor.process(Heard(at=now, message_id="m", origin="0.a", again=True, events=heard.events))
    repeated, second = outcomes(piece)
    assert (repeated.cause, repeated.steps) == ("1.a~m.0", ())
    assert (second.cause, len(second.steps)) == ("1.a~m.1", 1)
