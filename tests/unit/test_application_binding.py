"""From a function's signature to its arguments, and from what it returns to messages: without any broker."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylib.application import Application, Delivery, Message
from pylib.application.binding import Binding, is_async
from pylib.application.filters import disjoint
from pylib.application.results import messages_of, repeated_id
from pylib.brokers.topics import mqtt_matches
from pylib.data import make_payload
from pylib.errors import ConfigError, DecodeError, Rejected
from pylib.runtime.runtime import Runtime


class Reading(msgspec.Struct):
    moisture: float


class Model(pydantic.BaseModel):
    moisture: float


@dataclass
class Plain:
    moisture: float


class Typed(TypedDict):
    moisture: float


def mqtt(body: bytes, content_type: str | None = None) -> Delivery:
    return Delivery("soil/bed/state", body, content_type=content_type)


def amqp(data: object) -> Delivery:
    return Delivery("event.control.pump", make_payload(data), content_type="application/msgpack")


def of(hint: Any, delivery: Delivery, kind: str = "mqtt") -> Any:
    def handler(body: Any) -> Any:
        return body

    handler.__annotations__["body"] = hint
    return Binding(handler, kind).call(delivery)


@pytest.mark.parametrize("hint", [Reading, Model, Plain])
@pytest.mark.parametrize("kind", ["mqtt", "rabbitmq"])
def test_a_body_becomes_what_the_annotation_says_on_either_broker(hint: Any, kind: str) -> None:
    delivery = mqtt(b'{"moisture": 12.5}') if kind == "mqtt" else amqp({"moisture": 12.5})
    body = of(hint, delivery, kind)
    assert isinstance(body, hint)
    assert body.moisture == 12.5


@pytest.mark.parametrize("hint", [dict, Typed, dict[str, float], Any, object])
def test_a_body_may_stay_a_dict(hint: Any) -> None:
    assert of(hint, mqtt(b'{"moisture": 12.5}')) == {"moisture": 12.5}
    assert of(hint, amqp({"moisture": 12.5}), "rabbitmq") == {"moisture": 12.5}


@pytest.mark.parametrize(
    ("hint", "body", "expected"),
    [
        (bytes, b"\xff\x00", b"\xff\x00"),
        (str, "grün".encode(), "grün"),
        (float, b"21.5", 21.5),
        (int, b"7", 7),
        (Any, b"ON", "ON"),
        (Any, b"21.5", 21.5),
        (list[int], b"[1, 2]", [1, 2]),
        (Reading | None, b"null", None),
    ],
)
def test_what_small_devices_send_is_understood(hint: Any, body: bytes, expected: object) -> None:
    assert of(hint, mqtt(body)) == expected


def test_text_comes_as_text_from_rabbitmq_too() -> None:
    assert of(str, amqp("on"), "rabbitmq") == "on"
    assert of(str, Delivery("a", b"on", content_type="text/plain"), "rabbitmq") == "on"
    with pytest.raises(DecodeError, match="Expected `str`"):
        of(str, amqp({"a": 1}), "rabbitmq")


@pytest.mark.parametrize(
    ("hint", "body", "words"),
    [
        (Reading, b"{}", "missing required field `moisture`"),
        (Reading, b'{"moisture": "wet"}', r"\$\.moisture"),
        (Model, b"{}", "moisture: Field required"),
        (Model, b'"wet"', "it: Input should be"),
        (Plain, b'{"moisture": null}', r"\$\.moisture"),
        (dict, b"[1]", "Expected `object`, got `array`"),
        (dict, b"ON", "Expected `object`, got `str`"),
        (list[int], b'[1, "x"]', r"\$\[1\]"),
        (str, b"\xff", "no UTF-8 text .* at byte 0"),
        (float, b"wet", "Expected `float`"),
    ],
)
def test_a_mismatch_names_the_field(hint: Any, body: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        of(hint, mqtt(body))


def test_topic_routing_key_and_delivery_are_given_by_name_and_none_of_them_has_to_be_taken() -> None:
    def everything(body: bytes, topic: str, routing_key: str, delivery: Delivery, more: int = 3) -> tuple[Any, ...]:
        return body, topic, routing_key, delivery, more

    given = mqtt(b"x")
    assert Binding(everything, "mqtt").call(given) == (b"x", given.address, given.address, given, 3)
    assert Binding(lambda: "nothing", "mqtt").call(given) == "nothing"
    assert of(Delivery, given) is given


def test_methods_partials_and_callable_objects_are_handlers_like_any_other() -> None:
    class Garden:
        def water(self, reading: Reading) -> float:
            return reading.moisture

        def __call__(self, reading: Reading) -> float:
            return reading.moisture + 1

    def both(reading: Reading, *, bed: str = "") -> tuple[float, str]:
        return reading.moisture, bed

    body = mqtt(b'{"moisture": 1}')
    assert Binding(Garden().water, "mqtt").call(body) == 1
    assert Binding(Garden(), "mqtt").call(body) == 2
    bound = Binding(functools.partial(both, bed="b"), "mqtt")
    assert bound.call(body) == (1, "b")
    assert bound.name == "both"


def test_an_async_function_is_known_for_one_however_it_is_wrapped() -> None:
    async def one(body: bytes) -> None: ...

    async def many(body: bytes) -> AsyncIterator[None]:
        yield

    class Object:
        async def __call__(self, body: bytes) -> None: ...

    assert all(is_async(each) for each in (one, many, functools.partial(one), Object()))
    assert not is_async(print)


def test_a_function_with_two_bodies_is_refused_at_its_own_line(runtime: Runtime) -> None:
    broker = Application("t").mqtt("localhost")
    with pytest.raises(ConfigError, match="handler two: both 'first' and 'second' would be the body"):

        @broker.on("a")
        def two(first: int, second: int) -> None: ...


def test_an_annotation_that_cannot_be_resolved_is_refused(runtime: Runtime) -> None:
    def unknown(body: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigError, match="handler unknown: its annotation cannot be resolved: name 'Nowhere'"):
        Application("t").mqtt("localhost").on("a")(unknown)


def test_an_annotation_that_no_body_fits_is_refused(runtime: Runtime) -> None:
    def odd(body: int | Reading | Plain) -> None: ...

    with pytest.raises(ConfigError, match="handler odd: a body cannot be made into body"):
        Application("t").mqtt("localhost").on("a")(odd)


def test_a_positional_only_parameter_is_refused(runtime: Runtime) -> None:
    def positional(body: bytes, /) -> None: ...

    with pytest.raises(ConfigError, match="parameter 'body' is positional only"):
        Application("t").mqtt("localhost").on("a")(positional)


@pytest.mark.parametrize("pattern", ["", "a/#/b", "a+", "a\0b"])
def test_a_bad_topic_filter_is_refused(runtime: Runtime, pattern: str) -> None:
    with pytest.raises(ConfigError, match="MQTT topic filter"):
        Application("t").mqtt("localhost").on(pattern)


@pytest.mark.parametrize(("pattern", "words"), [("event.x*", "whole words"), ("event/x", "slash"), ("k" * 256, "256 bytes")])
def test_a_bad_binding_key_is_refused(runtime: Runtime, pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Application("t").rabbitmq("localhost", exchange="home").on(pattern)


def test_two_handlers_and_two_brokers_of_one_name_are_refused(runtime: Runtime) -> None:
    app = Application("t")
    broker = app.mqtt("localhost")
    broker.on("a", name="same")(lambda: None)
    with pytest.raises(ConfigError, match="mqtt has a handler named 'same' already"):
        broker.on("b", name="same")(lambda: None)
    with pytest.raises(ConfigError, match="t has a broker named 'mqtt' already"):
        app.mqtt("localhost")


def test_a_slip_in_an_option_is_found_at_its_line(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match=r"app.mqtt\(\) has no option 'spol'; did you mean spool\?"):
        Application("t").mqtt("localhost", spol="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("named", [{"workers": 0}, {"deadline": 0}])
def test_numbers_that_make_no_sense_are_refused(runtime: Runtime, named: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="handler on 'a'"):
        Application("t").mqtt("localhost").on("a", **named)


def test_a_timer_is_a_plain_function_without_arguments(runtime: Runtime) -> None:
    app = Application("t")
    with pytest.raises(ConfigError, match="more than 0 seconds"):
        app.every(0)
    with pytest.raises(ConfigError, match="wants body"):
        app.every(1)(lambda body: None)
    with pytest.raises(ConfigError, match="is async"):

        @app.every(1)
        async def later() -> None: ...


def test_an_application_with_nothing_to_do_says_so(runtime: Runtime) -> None:
    app = Application("idle")
    app.mqtt("localhost")
    with pytest.raises(ConfigError, match="idle has nothing to do"):
        app.start()


def test_only_an_app_thread_is_added(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match="takes a thread that is an AppThread"):
        Application("t").add(Runtime)  # type: ignore[arg-type]


def test_a_decorated_handler_is_the_function_it_was(runtime: Runtime) -> None:
    app = Application("garden")
    mqtt_broker, rabbit = app.mqtt("localhost"), app.rabbitmq("localhost", exchange="garden")

    @mqtt_broker.on("soil/+/state")
    def water(reading: Reading, topic: str) -> Message | None:
        return rabbit.message("event.control.pump", {"why": topic}, expires=90) if reading.moisture < 20 else None

    assert water(Reading(10), "soil/bed/state") == rabbit.message("event.control.pump", {"why": "soil/bed/state"}, expires=90)
    assert water(Reading(30), "soil/bed/state") is None


def test_one_key_has_one_worker_and_many_keys_have_all_of_them(runtime: Runtime) -> None:
    broker = Application("t").mqtt("localhost")
    broker.on("a/#", workers=4, name="w")(lambda body: None)
    pipes = {topic: broker.route(Delivery(topic, b""))[0][0] for topic in (f"a/{n}" for n in range(50))}
    assert set(pipes.values()) == {"w#1", "w#2", "w#3", "w#4"}
    assert all(broker.route(Delivery(topic, b"other"))[0][0] == pipe for topic, pipe in pipes.items())


def test_a_key_that_fails_costs_no_message(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    broker = Application("t").mqtt("localhost")
    broker.on("a", workers=2, name="w", key=lambda delivery: 1 // 0)(lambda body: None)
    assert broker.route(Delivery("a", b""))
    assert "The key of handler w failed on a message on a (ZeroDivisionError" in caplog.text


def test_a_result_is_nothing_one_message_or_several() -> None:
    one, two = (Message(broker="b", address=a, payload=1) for a in "ab")

    def several() -> Iterator[object]:
        yield one
        yield None
        yield [two]

    assert list(messages_of(None, "h")) == []
    assert list(messages_of(one, "h")) == [one]
    assert list(messages_of((one, None, two), "h")) == [one, two]
    assert list(messages_of(several(), "h")) == [one, two]


@pytest.mark.parametrize("result", ["text", b"bytes", {"a": 1}, 1, True, object()])
def test_a_result_that_is_no_message_is_refused_by_the_handlers_name(result: object) -> None:
    with pytest.raises(Rejected, match=r"handler h returned an? .*; return broker.message"):
        list(messages_of(result, "h"))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["a", "b", "a"], ["a", "b"]),
        (["a/b", "a/#", "a/+"], ["a/#"]),
        (["#", "a", "b/+"], ["#"]),
        (["a/+", "+/b"], ["+/+"]),
        (["a/+/c", "a/b/+", "x"], ["a/+/+", "x"]),
        (["a/#", "a"], ["a/#"]),
        (["a/#", "+/b"], ["+/#"]),
        (["+/state", "+/command"], ["+/state", "+/command"]),
        (["$SYS/#", "#"], ["$SYS/#", "#"]),
        (["a/+", "+/b", "c/b/d", "+/+/d"], ["+/+", "+/+/d"]),
    ],
)
def test_no_topic_matches_two_subscriptions_and_none_is_missed(filters: list[str], expected: list[str]) -> None:
    assert disjoint(filters, "mqtt") == expected


def test_a_shared_subscription_overlaps_with_nothing_else() -> None:
    assert disjoint(["$share/g/a", "b"], "mqtt") == ["$share/g/a", "b"]
    with pytest.raises(ConfigError, match=r"\$share/g/a and a overlap"):
        disjoint(["$share/g/a", "a"], "mqtt")


levels = st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=3)
topic_filters = st.tuples(levels, st.booleans()).map(lambda f: "/".join(f[0] + ["#"] * f[1]))


@given(st.lists(topic_filters, max_size=6), st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join))
def test_whatever_the_filters_each_topic_that_one_of_them_matches_comes_once(filters: list[str], topic: str) -> None:
    wanted = any(mqtt_matches(each, topic) for each in filters)
    times = sum(mqtt_matches(each, topic) for each in disjoint(filters, "mqtt"))
    assert times == 1 if wanted else times <= 1


def test_a_repeated_message_has_the_id_of_its_first_sending_and_no_chain_outgrows_amqp() -> None:
    cause = Delivery("a", b"", message_id="m1")
    assert repeated_id(cause, "water", 0) == "m1/water/0"
    assert repeated_id(cause, "water", 1) != repeated_id(cause, "water", 0)
    assert repeated_id(None, "water", 0) is None
    for _ in range(100):
        ident = repeated_id(cause, "handler", 0)
        assert ident is not None
        assert len(ident) <= 120
        assert ident == repeated_id(cause, "handler", 0)
        cause = Delivery("a", b"", message_id=ident)
