"""What a broker delivers again is recognised, and what merely looks the same is not."""

from __future__ import annotations

from event_processor.causes import Causes
from event_processor.domain.heard import Heard, origin_of_message


def heard(message_id: str, origin: str, *, again: bool = False) -> Heard:
    return Heard(at=0.0, message_id=message_id, origin=origin, again=again)


def test_equal_messages_are_told_apart_by_the_packet_identifier_that_each_waits_under() -> None:
    first, second = (origin_of_message(packet, "sensor/door", b"open") for packet in (1, 2))
    assert first != second
    assert first == origin_of_message(1, "sensor/door", b"open")
    assert first != origin_of_message(1, "sensor/gate", b"open")
    assert first != origin_of_message(1, "sensor/door", b"shut")


def test_a_message_delivered_again_without_an_id_of_its_own_keeps_its_cause_across_a_restart() -> None:
    before = Causes()
    pressed = [before.base(heard(f"id{n}", f"{n}.abc")) for n in range(3)]
    assert not any(before.decided(f"{base}.0") for base in pressed[:2])
    after = Causes()
    after.restore(f"{base}.0" for base in pressed[:2])
    # The second and the third come again, under new ids: the first had been acknowledged.
    second, third = (after.base(heard(f"new{n}", f"{n}.abc", again=True)) for n in (1, 2))
    assert second == pressed[1]
    assert after.decided(f"{second}.0")
    assert not after.decided(f"{third}.0"), "a press that was never decided was taken for one that was"


def test_a_new_message_under_a_packet_identifier_that_is_used_again_is_new() -> None:
    causes = Causes()
    one, two = causes.base(heard("a", "7.abc")), causes.base(heard("b", "7.abc"))
    assert one != two
    assert causes.base(heard("c", "7.abc", again=True)) == two, "the last to have the identifier is the one that waits"


def test_our_own_retry_is_recognised_by_its_id() -> None:
    causes = Causes()
    base = causes.base(heard("a", "7.abc"))
    causes.base(heard("b", "7.abc"))
    assert causes.base(heard("a", "0.abc", again=True)) == base


def test_the_events_of_one_message_are_decided_each_for_itself() -> None:
    causes = Causes()
    base = causes.base(heard("a", "7.abc"))
    assert not causes.decided(f"{base}.0")
    assert not causes.decided(f"{base}.1")
    assert causes.decided(f"{base}.0")
