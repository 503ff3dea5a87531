"""What a broker delivers again is recognised, and what merely looks the same is not."""

from __future__ import annotations

from event_processor.causes import UNTAGGED, Causes
from event_processor.domain.heard import Heard, origin_of_message


def heard(message_id: str, origin: str, *, again: bool = False) -> Heard:
    return Heard(at=0.0, message_id=message_id, origin=origin, again=again)


def test_equal_messages_are_told_apart_by_the_packet_identifier_that_each_waits_under() -> None:
    first, second = (origin_of_message(packet, "sensor/door", b"open") for packet in (1, 2))
    assert first != second
    assert first == origin_of_message(1, "sensor/door", b"open")
    assert first != origin_of_message(1, "sensor/gate", b"open")
    assert first != origin_of_message(1, "sensor/door", b"shut")


def base(causes: Causes, one: Heard, now: float = 0.0) -> str:
    return causes.base(one, now)


def test_a_message_delivered_again_without_an_id_of_its_own_keeps_its_cause_across_a_restart() -> None:
    before = Causes()
    pressed = [base(before, heard(f"id{n}", f"{n}.abc")) for n in range(3)]
    after = Causes()
    after.restore(f"{one}.0" for one in pressed[:2])
    # The second and the third come again, under new ids: the first had been acknowledged.
    second, third = (base(after, heard(f"new{n}", f"{n}.abc", again=True)) for n in (1, 2))
    assert second == pressed[1]
    assert after.decided(f"{second}.0")
    assert not after.decided(f"{third}.0"), "a press that was never decided was taken for one that was"


def test_a_new_message_under_a_packet_identifier_that_is_used_again_is_new() -> None:
    causes = Causes()
    one, two = base(causes, heard("a", "7.abc")), base(causes, heard("b", "7.abc"))
    assert one != two
    assert base(causes, heard("c", "7.abc", again=True)) == two, "the last to have the identifier is the one that waits"


def test_an_equal_message_that_was_acknowledged_long_ago_is_not_the_one_that_comes_again() -> None:
    for origin in (f"{UNTAGGED}0.abc", "7.abc"):
        before = Causes()
        old = base(before, heard("a", origin), now=100.0)
        latest = base(before, heard("b", f"{origin}d"), now=200.0)
        after = Causes()
        after.restore([f"{old}.0", f"{latest}.0"], [100.0, 200.0])
        for causes in (before, after):
            assert base(causes, heard("c", origin, again=True), now=205.0) != old
            assert base(causes, heard("d", f"{origin}d", again=True), now=206.0) == latest


def test_what_waited_when_a_broker_went_away_is_recognised_however_long_it_was_away() -> None:
    causes = Causes()
    waiting = base(causes, heard("a", f"{UNTAGGED}0.abc"), now=100.0)
    for moment in range(200, 4000, 100):  # the other broker is there all the time
        base(causes, heard(f"id{moment}", f"{moment:x}.def"), now=float(moment))
    assert base(causes, heard("b", f"{UNTAGGED}0.abc", again=True), now=4000.0) == waiting


def test_our_own_retry_is_recognised_by_its_id() -> None:
    causes = Causes()
    first = base(causes, heard("a", "7.abc"))
    base(causes, heard("b", "7.abc"))
    assert base(causes, heard("a", "0.abc", again=True)) == first


def test_the_events_of_one_message_are_decided_each_for_itself() -> None:
    causes = Causes()
    first = base(causes, heard("a", "7.abc"))
    assert not causes.decided(f"{first}.0")
    causes.note(f"{first}.0")
    assert causes.decided(f"{first}.0")
    assert not causes.decided(f"{first}.1")


def test_what_a_person_asked_for_is_known_after_a_restart_too() -> None:
    causes = Causes()
    causes.restore(["a-request"])
    assert causes.decided("a-request")
