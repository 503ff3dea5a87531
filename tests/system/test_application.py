"""``pylib.application`` on real brokers: what a handler may return, what becomes of its failures, and how it all ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pika
import pytest

from pylib.app import AppThread
from pylib.application import Delivery, Message, Rejected
from pylib.application.brokers import share
from pylib.brokers.retrying import RetryPolicy
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.dedupe import Seen
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from pylib.threads import interruptable_sleep, shutting_down
from tests.system.application_kit import PATIENCE, Garden, Got, received

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is kept in a folder of this test's own."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


@pytest.fixture
def garden(runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost) -> Garden:
    return Garden(mosquitto, rabbitmq)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.01)


class Reading(msgspec.Struct):
    moisture: float


def test_what_a_handler_returns_yields_or_does_not_is_sent_in_order(garden: Garden) -> None:
    rabbit = garden.rabbit

    @garden.mqtt.on("one")
    def one(body: int) -> Message:
        return rabbit.message("one", body)

    @garden.mqtt.on("many")
    def many(body: int) -> list[Message]:
        return [rabbit.message("many", n) for n in range(body)]

    @garden.mqtt.on("generated")
    def generated(body: int) -> Iterator[Message]:
        for n in range(body):
            yield rabbit.message("generated", n)

    @garden.mqtt.on("none")
    def none(body: int) -> None: ...

    @garden.mqtt.on("awaited")
    async def later(body: int) -> Message:
        return rabbit.message("awaited", body)

    @garden.mqtt.on("streamed")
    async def streamed(body: int) -> AsyncIterator[Message]:
        for n in range(body):
            yield rabbit.message("streamed", n)

    with garden.queue() as channel:
        garden.start()
        for topic in ("none", "one", "many", "generated", "awaited", "streamed"):
            garden.publish(topic, b"3")
        found = received(channel, 11)
    by_key: dict[str, list[Any]] = {}
    for key, body, _ in found:
        by_key.setdefault(key, []).append(body)
    series = [0, 1, 2]
    assert by_key == {"one": [3], "many": series, "generated": series, "awaited": [3], "streamed": series}


def test_a_message_goes_there_and_back_through_both_brokers(garden: Garden) -> None:
    states = Got()

    @garden.mqtt.on("soil/+/state")
    def water(reading: Reading, topic: str) -> Message | None:
        if reading.moisture < 20:
            return garden.rabbit.message("event.control.pump", {"why": topic}, expires=90)
        return None

    @garden.rabbit.on("event.control.*")
    async def pump(order: dict, routing_key: str) -> Message:
        return garden.mqtt.message("pump/state", f"{routing_key} {order['why']}", retain=True)

    @garden.mqtt.on("pump/state")
    def seen(state: str) -> None:
        states.add(state)

    garden.start()
    garden.publish("soil/bed/state", b'{"moisture": 50}', b'{"moisture": 10}')
    assert states.wait(1) == ["event.control.pump soil/bed/state"]


def test_a_body_that_does_not_fit_is_a_dead_letter_that_names_the_field_and_the_handler_lives(garden: Garden) -> None:
    got = Got()

    @garden.mqtt.on("plain")
    def plain(reading: Reading) -> None:
        got.add(("plain", reading.moisture))

    @garden.mqtt.on("later")
    async def later(reading: Reading) -> None:
        got.add(("later", reading.moisture))

    garden.start()
    for topic in ("plain", "later"):
        garden.publish(topic, b'{"moisture": "wet"}', b'{"moisture": 1}')
    assert sorted(got.wait(2)) == [("later", 1), ("plain", 1)]
    until(lambda: len(garden.dead()) == 2)
    dead = garden.dead()
    assert all("DecodeError: the payload does not fit" in error and "$.moisture" in error for error in dead)


def test_a_result_that_is_no_message_or_goes_to_nobody_is_a_dead_letter_and_nothing_of_it_was_sent(garden: Garden) -> None:
    @garden.mqtt.on("text")
    def text(body: bytes) -> str:
        return "done"

    @garden.mqtt.on("nowhere")
    def nowhere(body: bytes) -> list[Message]:
        return [garden.rabbit.message("sent", 1), Message(broker="mail", address="a", payload=1)]

    @garden.mqtt.on("good")
    def good(body: bytes) -> Message:
        return garden.rabbit.message("good", 1)

    with garden.queue() as channel:
        garden.start()
        garden.publish("text", b"1")
        garden.publish("nowhere", b"1")
        until(lambda: len(garden.dead()) == 2)
        garden.publish("good", b"1")
        assert [key for key, _, _ in received(channel, 1)] == ["good"]
    said, gone = sorted(garden.dead(), reverse=True)
    assert "handler text returned a str; return broker.message(...)" in said
    assert "for broker 'mail'; this application has mqtt, rabbitmq" in gone


def test_a_handler_that_fails_half_way_has_sent_nothing_and_repeats_itself_under_the_same_ids(garden: Garden) -> None:
    tries = Got()

    @garden.rabbit.on("start")
    def half(body: int) -> Iterator[Message]:
        yield garden.rabbit.message("out", "first")
        tries.add(body)
        if len(tries.items) < 3:
            raise RuntimeError("not yet")
        yield garden.rabbit.message("out", "second")

    with garden.queue("out") as channel:
        garden.start()
        garden.send("start", 1)
        found = received(channel, 2)
    assert [body for _, body, _ in found] == ["first", "second"]
    assert len(tries.items) == 3
    cause, who, number = found[0][2].rsplit("/", 2)
    assert (who, number) == ("half", "0")
    assert found[1][2] == f"{cause}/half/1"


def test_dead_letters_hold_exactly_the_poisoned_messages_and_the_rest_is_delivered_once(garden: Garden) -> None:
    count, failed_once = 60, set()

    @garden.mqtt.on("always/#")
    def always(body: int) -> None:
        raise RuntimeError(f"never {body}")

    @garden.mqtt.on("sometimes/#", workers=3)
    def sometimes(body: int) -> Message:
        if body % 10 == 0 and body not in failed_once:
            failed_once.add(body)
            raise OSError("once in ten")
        if body % 7 == 3:
            raise Rejected(f"poisoned {body}")
        return garden.rabbit.message("out", body)

    with garden.queue("out") as channel:
        garden.start()
        for device in range(6):
            mine = [str(n).encode() for n in range(count) if n % 6 == device]
            garden.publish(f"sometimes/{device}", *mine)
        garden.publish("always/a", b"1", b"2")
        poisoned = [n for n in range(count) if n % 7 == 3]
        good = [n for n in range(count) if n % 7 != 3]
        arrived = [body for _, body, _ in received(channel, len(good))]
        assert sorted(arrived) == good
        until(lambda: len(garden.dead()) == len(poisoned) + 2)
        assert channel.basic_get("mine")[0] is None, "something was delivered twice"
    wanted = [f"Rejected: poisoned {n}" for n in poisoned] + ["RuntimeError: never 1", "RuntimeError: never 2"]
    assert sorted(garden.dead()) == sorted(wanted)


def test_a_handler_that_fails_for_a_while_loses_nothing_and_only_messages_of_its_key_wait(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    garden = Garden(mosquitto, rabbitmq, retry=RetryPolicy(tries=1000, first=0.02, longest=0.05))
    well, failed, got = threading.Event(), threading.Event(), Got()

    @garden.mqtt.on("+/state")
    def handler(body: int, topic: str) -> None:
        if topic == "ill/state" and not well.is_set():
            failed.set()
            raise OSError("the valve is stuck")
        got.add((topic, body))

    garden.start()
    garden.publish("ill/state", b"0")
    assert failed.wait(PATIENCE)
    until(lambda: len(runtime.receipts) == 0)
    garden.publish("ill/state", *(str(n).encode() for n in range(1, 10)))
    garden.publish("well/state", *(str(n).encode() for n in range(10)))
    assert got.wait(10) == [("well/state", n) for n in range(10)]
    well.set()
    assert got.wait(20)[10:] == [("ill/state", n) for n in range(10)]
    assert garden.dead() == []


def test_two_handlers_of_one_message_fail_and_succeed_each_for_itself(garden: Garden) -> None:
    calls = Got()

    @garden.mqtt.on("door/#")
    def good(body: bytes) -> None:
        calls.add("good")

    @garden.mqtt.on("door/front")
    def bad(body: bytes) -> None:
        calls.add("bad")
        raise RuntimeError("no")

    garden.start()
    garden.publish("door/front", b"open")
    until(lambda: len(garden.dead()) == 1)
    garden.publish("door/back", b"open")
    items = calls.wait(lambda items: items.count("good") == 2)
    assert items.count("bad") == 3
    assert items.count("good") == 2


def test_overlapping_filters_call_each_handler_once(garden: Garden) -> None:
    calls = Got()
    for pattern in ("a/#", "a/+", "+/b", "a/b"):
        garden.mqtt.on(pattern, name=pattern.replace("#", "all"))(lambda body, pattern=pattern: calls.add((pattern, body)))
    garden.start()
    garden.publish("a/b", b"1", b"2")
    garden.publish("a/c/d", b"3")
    garden.publish("a/b", b"4")
    # Each handler is a thread of its own: whoever has had the last message has had all before it, once or more often.
    calls.wait(lambda items: ("a/#", 3) in items and len([one for one in items if one[1] == 4]) == 4)
    assert sorted(calls.items) == sorted([(p, n) for p in ("a/#", "a/+", "+/b", "a/b") for n in (1, 2, 4)] + [("a/#", 3)])


def test_workers_share_the_work_and_keep_the_order_of_each_key(garden: Garden) -> None:
    got, together = Got(), threading.Barrier(2, timeout=PATIENCE)

    @garden.mqtt.on("meter/+", workers=4)
    def meter(body: int, topic: str) -> None:
        if body < 0:
            together.wait()  # passes only if two threads are here at once
        got.add((topic, body, threading.current_thread().name))

    garden.start()
    # Two topics whose workers are not the same one.
    names: dict[str, str] = {}
    for n in range(20):
        names.setdefault(garden.mqtt.route(Delivery(f"meter/{n}", b""))[0][0], f"meter/{n}")
    first, second, *_ = names.values()
    garden.publish(first, b"-1")
    garden.publish(second, b"-1")
    got.wait(2)
    for n in range(8):
        garden.publish(f"meter/{n}", *(str(k).encode() for k in range(20)))
    found = got.wait(2 + 8 * 20)[2:]
    for n in range(8):
        mine = [(body, thread) for topic, body, thread in found if topic == f"meter/{n}"]
        assert [body for body, _ in mine] == list(range(20))
        assert len({thread for _, thread in mine}) == 1


def test_async_handlers_run_on_one_thread_at_once_and_in_the_order_of_each_key(garden: Garden) -> None:
    got, threads, gate = Got(), set(), asyncio.Event()

    @garden.mqtt.on("lamp/+", workers=8)
    async def lamp(body: int, topic: str) -> None:
        threads.add(threading.current_thread().name)
        if topic == "lamp/slow":
            await gate.wait()
        if topic == "lamp/open":
            gate.set()
        await asyncio.sleep(0)
        got.add((topic, body))

    garden.start()
    garden.publish("lamp/slow", b"0", b"1", b"2")
    assert share("lamp/slow", 8) != share("lamp/open", 8), "these two would wait for each other: choose others"
    garden.publish("lamp/open", b"0")
    items = got.wait(4)
    assert [body for topic, body in items if topic == "lamp/slow"] == [0, 1, 2]
    assert threads == {"asyncio"}


def test_an_async_call_that_outlasts_its_deadline_is_cancelled_and_its_message_fails(garden: Garden) -> None:
    cancelled = Got()

    @garden.mqtt.on("a", deadline=0.05)
    async def forever(body: bytes) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.add(body)
            raise

    garden.start()
    garden.publish("a", b"1")
    until(lambda: len(garden.dead()) == 1)
    assert cancelled.wait(3) == [b"1"] * 3
    assert garden.dead() == ["TimeoutError: the call took longer than 0.05 s and was cancelled"]


def test_middleware_is_around_plain_and_async_handlers_the_first_one_outermost(garden: Garden) -> None:
    seen = Got()

    @garden.app.around
    def outer(call: Callable[[Delivery], Any], delivery: Delivery) -> Any:
        seen.add(("outer", delivery.address))
        return call(delivery)

    @garden.app.around
    def inner(call: Callable[[Delivery], Any], delivery: Delivery) -> Any:
        seen.add(("inner", delivery.address))
        return None if delivery.body == b"drop" else call(delivery)

    @garden.mqtt.on("plain")
    def plain(body: bytes) -> None:
        seen.add(body)

    @garden.mqtt.on("later")
    async def later(body: bytes) -> None:
        seen.add(body)

    garden.start()
    garden.publish("plain", b"drop", b"x")
    assert seen.wait(5) == [("outer", "plain"), ("inner", "plain")] * 2 + [b"x"]
    garden.publish("later", b"y")
    assert seen.wait(8)[5:] == [("outer", "later"), ("inner", "later"), b"y"]


def test_async_middleware_around_a_plain_handler_is_refused_at_start(garden: Garden) -> None:
    @garden.app.around
    async def timing(call: Callable[[Delivery], Any], delivery: Delivery) -> Any: ...

    @garden.mqtt.on("a")
    def plain(body: bytes) -> None: ...

    with pytest.raises(ConfigError, match="middleware timing is async and cannot be around handler plain"):
        garden.app.start()


def test_a_timer_is_called_at_once_and_again_also_after_a_failure(garden: Garden) -> None:
    calls = Got()

    @garden.app.every(0.05)
    def beat() -> Message:
        calls.add(time.monotonic())
        if len(calls.items) == 2:
            raise RuntimeError("skipped a beat")
        return garden.rabbit.message("beat", len(calls.items))

    with garden.queue("beat") as channel:
        garden.start()
        assert [body for _, body, _ in received(channel, 3)] == [1, 3, 4]


def test_a_thread_of_ones_own_starts_and_stops_with_the_application(garden: Garden) -> None:
    lived = threading.Event()

    class Own(AppThread):
        def run(self) -> None:
            lived.set()
            interruptable_sleep.wait()
            assert shutting_down

    own = garden.app.add(Own())
    garden.start()
    assert lived.wait(PATIENCE)
    assert garden.app.stop() == []
    assert not own.is_alive()


def test_a_handlers_thread_that_dies_is_started_again_and_the_message_comes_again(garden: Garden) -> None:
    class Death(BaseException):
        """Not an Exception: what ends a thread."""

    plain = Got()

    @garden.mqtt.on("plain")
    def dies(body: int) -> None:
        plain.add(body)
        if len(plain.items) == 1:
            raise Death

    garden.start()
    garden.publish("plain", b"1", b"2", b"3")
    items = plain.wait(4)
    assert sorted(items) == [1, 1, 2, 3]
    assert not garden.app.runtime.stopping


def test_duplicates_are_dropped_with_a_memory_of_ids(garden: Garden, tmp_path: Path) -> None:
    seen, effects = Seen(path=tmp_path / "seen.db"), Got()

    @garden.rabbit.on("event.#")
    def once(delivery: Delivery) -> None:
        with seen.transaction():
            effects.add(delivery.address if seen.first(delivery.message_id) else "again")
            if delivery.body == b"fails" and len(effects.items) < 5:
                raise OSError("its effect did not happen, so it is new again")

    garden.start()
    with garden.queue() as channel:
        for ident in ("a", "b", "a"):
            channel.basic_publish("garden", "event.x", b"\xc0", pika.BasicProperties(message_id=ident))
        assert effects.wait(3) == ["event.x", "event.x", "again"]
        channel.basic_publish("garden", "event.y", b"fails", pika.BasicProperties(message_id="c"))
        assert effects.wait(5)[3:] == ["event.y", "event.y"]
    garden.app.stop()
    seen.close()


def test_a_slow_handler_does_not_hold_up_a_stop_and_what_it_did_not_come_to_is_there_after_the_next_start(
    garden: Garden, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    got, begun = Got(), threading.Event()

    @garden.mqtt.on("slow")
    def slow(body: int) -> None:
        begun.set()
        threading.Event().wait(0.03)
        got.add(body)

    garden.start()
    garden.publish("slow", *(str(n).encode() for n in range(200)))
    assert begun.wait(PATIENCE)
    began = time.monotonic()
    assert garden.app.stop() == []
    assert time.monotonic() - began < 1.0
    handled = list(got.items)
    assert handled == list(range(len(handled)))
    assert len(handled) < 200

    second = Runtime()
    with second.active():
        again = Garden(mosquitto, rabbitmq)
        rest = Got()
        again.mqtt.on("slow", name="slow")(lambda body: rest.add(body))
        again.start()
        rest.wait(lambda items: set(handled) | set(items) == set(range(200)))
        assert again.app.stop() == []


def test_a_failed_message_finds_its_handler_after_the_number_of_workers_has_changed(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    far = RetryPolicy(tries=5, first=0.3, longest=0.3)
    first = Garden(mosquitto, rabbitmq, retry=far)
    failed, got = Got(), Got()

    @first.mqtt.on("a")
    def handler(body: int) -> None:
        failed.add(body)
        raise RuntimeError("in its first life")

    @first.mqtt.on("a")
    def renamed(body: int) -> None:
        failed.add(body)
        raise RuntimeError("in its first life")

    first.start()
    first.publish("a", b"1")
    failed.wait(2)
    until(lambda: len(runtime.receipts) == 0)
    assert first.app.stop() == []
    with Runtime().active():
        second = Garden(mosquitto, rabbitmq, retry=far)
        second.mqtt.on("a", workers=3, name="handler")(lambda body: got.add(body))
        second.start()
        assert got.wait(1) == [1]
        until(lambda: len(second.dead()) == 1)
        assert "nobody called 'renamed' takes messages from 'a' any more" in second.dead()[0]
        assert second.app.stop() == []


def test_a_dead_letter_that_is_replayed_goes_to_the_handler_that_gave_it_up(garden: Garden) -> None:
    mended, got = threading.Event(), Got()

    @garden.mqtt.on("a/#")
    def good(body: bytes) -> None:
        got.add("good")

    @garden.mqtt.on("a/b")
    def bad(body: bytes) -> None:
        if not mended.is_set():
            raise Rejected("not today")
        got.add("bad")

    garden.start()
    garden.publish("a/b", b"1")
    until(lambda: len(garden.dead()) == 1)
    mended.set()
    with closing(DeadLetters(Path(garden.mqtt.options["store"]))) as letters:
        letters.replay(letters.list()[0].ident)
    assert got.wait(2) == ["good", "bad"]
