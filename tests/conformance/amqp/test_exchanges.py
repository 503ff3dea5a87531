"""Exchanges: declaring, deleting, what is refused, and which messages reach which queues."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp.commands import Basic, Exchange, Queue

from tests.conformance.amqp.client import Channel, Properties
from tests.conformance.amqp.world import World

TYPES = ["direct", "fanout", "topic", "headers"]


@pytest.fixture
def ch(world: World) -> Channel:
    return world.channel()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "transient"])
def test_declaring_twice_with_the_same_values_is_fine(world: World, ch: Channel, kind: str, durable: bool) -> None:
    name = world.fresh("x")
    for _ in range(2):
        ch.exchange(name, kind, durable=durable)
    ch.call(Exchange.Delete(exchange=name), Exchange.DeleteOk)


@pytest.mark.parametrize(
    ("change", "argument", "received", "current"),
    [
        ({"exchange_type": "fanout"}, "type", "fanout", "direct"),
        ({"durable": True}, "durable", "true", "false"),
        ({"auto_delete": False}, "auto_delete", "false", "true"),
        ({"internal": True}, "internal", "true", "false"),
    ],
    ids=["type", "durable", "auto_delete", "internal"],
)
def test_declaring_again_with_another_value_is_406(
    world: World, ch: Channel, change: dict[str, Any], argument: str, received: str, current: str
) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True)
    again: dict[str, Any] = {"exchange": name, "exchange_type": "direct", "auto_delete": True} | change
    ch.refused(
        Exchange.Declare(**again),
        406,
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{name}' in vhost '{world.vhost}': "
        f"received '{received}' but current is '{current}'",
    )


def test_declaring_again_with_another_alternate_is_406(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True, arguments={"alternate-exchange": "a"})
    ch.refused(
        Exchange.Declare(exchange=name, auto_delete=True, arguments={"alternate-exchange": "b"}),
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '{name}' in vhost '{world.vhost}': "
        "received 'b' but current is 'a'",
    )


def test_an_unknown_type_is_503(world: World, ch: Channel) -> None:
    name = world.fresh("x")
    ch.fatal(
        Exchange.Declare(exchange=name, exchange_type="x-nowhere"), 503, "COMMAND_INVALID - unknown exchange type 'x-nowhere'"
    )


def test_an_existing_exchange_is_seen_by_a_passive_declare(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "topic", auto_delete=True)
    # Passive asks for the name alone: the type does not matter.
    ch.call(Exchange.Declare(exchange=name, exchange_type="fanout", passive=True), Exchange.DeclareOk)


def test_a_passive_declare_of_a_missing_exchange_is_404(world: World, ch: Channel) -> None:
    name = world.fresh("x")
    ch.refused(
        Exchange.Declare(exchange=name, passive=True), 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'"
    )


@pytest.mark.parametrize("name", ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"])
def test_the_standard_exchanges_are_there(ch: Channel, name: str) -> None:
    ch.call(Exchange.Declare(exchange=name, passive=True), Exchange.DeclareOk)


def test_a_standard_exchange_may_be_declared_as_it_is(ch: Channel) -> None:
    ch.exchange("amq.topic", "topic", durable=True)


@pytest.mark.parametrize("name", ["amq.mine", "amq."])
def test_a_reserved_name_is_403(world: World, ch: Channel, name: str) -> None:
    ch.refused(
        Exchange.Declare(exchange=name),
        403,
        f"ACCESS_REFUSED - exchange name '{name}' contains reserved prefix 'amq.*'",
    )


def test_a_standard_exchange_is_not_deleted_403(world: World, ch: Channel) -> None:
    ch.refused(
        Exchange.Delete(exchange="amq.topic"),
        403,
        f"ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '{world.vhost}' not allowed",
    )


@pytest.mark.parametrize("method", [Exchange.Declare(exchange=""), Exchange.Delete(exchange="")], ids=["declare", "delete"])
def test_the_default_exchange_is_neither_declared_nor_deleted_403(ch: Channel, method: Any) -> None:
    ch.refused(method, 403, "ACCESS_REFUSED - operation not permitted on the default exchange")


def test_the_default_exchange_is_not_bound_403(ch: Channel) -> None:
    queue = ch.queue()
    ch.refused(
        Queue.Bind(queue=queue, exchange="", routing_key="k"),
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
    )


def test_deleting_a_missing_exchange_is_fine(world: World, ch: Channel) -> None:
    ch.call(Exchange.Delete(exchange=world.fresh("x")), Exchange.DeleteOk)


def test_deleting_a_used_exchange_if_unused_is_406(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True)
    ch.bind(ch.queue(), name, "k")
    ch.refused(
        Exchange.Delete(exchange=name, if_unused=True),
        406,
        f"PRECONDITION_FAILED - exchange '{name}' in vhost '{world.vhost}' in use",
    )


def test_deleting_an_unused_exchange_if_unused_works(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"))
    ch.call(Exchange.Delete(exchange=name, if_unused=True), Exchange.DeleteOk)
    ch.refused(
        Exchange.Declare(exchange=name, passive=True), 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'"
    )


def test_an_auto_delete_exchange_goes_with_its_last_binding(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, "a")
    ch.bind(queue, name, "b")
    ch.unbind(queue, name, "a")
    ch.call(Exchange.Declare(exchange=name, passive=True), Exchange.DeclareOk)
    ch.unbind(queue, name, "b")
    ch.refused(
        Exchange.Declare(exchange=name, passive=True), 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'"
    )


def test_an_auto_delete_exchange_goes_with_its_last_queue(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, "a")
    ch.delete(queue)
    ch.refused(
        Exchange.Declare(exchange=name, passive=True), 404, f"NOT_FOUND - no exchange '{name}' in vhost '{world.vhost}'"
    )


def test_nothing_is_published_to_an_internal_exchange_403(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True, internal=True)
    ch.publish(name, "k")
    ch.refused(
        None,
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '{world.vhost}'",
        about=Basic.Publish,
    )


def test_an_internal_exchange_is_reached_through_another(world: World, ch: Channel) -> None:
    inner = ch.exchange(world.fresh("x"), "fanout", auto_delete=True, internal=True)
    outer = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, inner)
    ch.call(Exchange.Bind(destination=inner, source=outer), Exchange.BindOk)
    ch.publish(outer, "k", b"in")
    assert ch.got(queue).body == b"in"


# ------------------------------------------------------------------------------------------------------------- routing


def test_the_default_exchange_routes_by_the_queues_name(ch: Channel) -> None:
    one, two = ch.queue(), ch.queue()
    ch.put(one, b"for one")
    message = ch.got(one)
    assert (message.body, message.exchange, message.routing_key) == (b"for one", "", one)
    assert ch.get(two) is None


def test_a_direct_exchange_wants_the_very_key(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True)
    one, two = ch.queue(), ch.queue()
    ch.bind(one, name, "a.b")
    ch.bind(two, name, "a.*")
    ch.publish(name, "a.b", b"1")
    ch.publish(name, "A.b", b"2")
    assert (ch.drain(one), ch.drain(two)) == ([b"1"], [])


def test_two_matching_bindings_deliver_one_copy(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "topic", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, "#")
    ch.bind(queue, name, "a.*")
    ch.publish(name, "a.b", b"once")
    assert ch.drain(queue) == [b"once"]


def test_binding_twice_is_one_binding(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=False)
    queue = ch.queue()
    ch.bind(queue, name, "k")
    ch.bind(queue, name, "k")
    ch.unbind(queue, name, "k")
    ch.publish(name, "k")
    assert ch.get(queue) is None
    ch.call(Exchange.Delete(exchange=name, if_unused=True), Exchange.DeleteOk)


def test_bindings_with_other_arguments_are_other_bindings(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, "k", {"n": 1})
    ch.bind(queue, name, "k", {"n": 2})
    ch.unbind(queue, name, "k", {"n": 1})
    ch.publish(name, "k", b"still")
    assert ch.drain(queue) == [b"still"]


def test_a_fanout_exchange_looks_at_no_key(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    one, two = ch.queue(), ch.queue()
    ch.bind(one, name, "this")
    ch.bind(two, name)
    ch.publish(name, "that", b"all")
    assert (ch.drain(one), ch.drain(two)) == ([b"all"], [b"all"])


TOPICS = [
    ("#", "", True),
    ("#", "a", True),
    ("#", "a.b.c", True),
    ("*", "a", True),
    ("*", "", False),
    ("*", "a.b", False),
    ("a.*", "a.b", True),
    ("a.*", "a", False),
    ("a.*", "a.", True),
    ("a.*", "a.b.c", False),
    ("a.#", "a", True),
    ("a.#", "a.b.c", True),
    ("a.#", "b.a", False),
    ("#.a", "a", True),
    ("#.a", "x.y.a", True),
    ("#.a", "x.y.ab", False),
    ("a.#.z", "a.z", True),
    ("a.#.z", "a.b.c.z", True),
    ("a.#.z", "a.b.c", False),
    ("a.*.z", "a.b.z", True),
    ("a.*.z", "a.z", False),
    ("*.*", "a.b", True),
    ("*.#", "a", True),
    ("#.#", "", True),
    ("#.*", "a.b", True),
    ("*.#.*", "a", False),
    ("*.#.*", "a.b", True),
    ("#.a.#.b.#", "x.a.y.z.b", True),
    ("#.a.#.b.#", "b.a", False),
    ("a..b", "a..b", True),
    ("a.*.b", "a..b", True),
    ("a.b", "a.b.", False),
    ("a*", "ab", False),
    ("a#", "a#", True),
    ("", "", True),
    ("", "a", False),
]


@pytest.mark.parametrize(("pattern", "key", "matches"), TOPICS, ids=[f"{p or 'empty'} {k or 'empty'}" for p, k, _ in TOPICS])
def test_topic(world: World, ch: Channel, pattern: str, key: str, matches: bool) -> None:
    name = ch.exchange(world.fresh("x"), "topic", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, pattern)
    ch.publish(name, key)
    assert (ch.get(queue) is not None) is matches


HEADERS: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("all of two", {"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x"}, True),
    ("all, more is sent", {"x-match": "all", "a": 1}, {"a": 1, "c": 3}, True),
    ("all, one missing", {"x-match": "all", "a": 1, "b": "x"}, {"a": 1}, False),
    ("all, one differs", {"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "y"}, False),
    ("all is the default", {"a": 1, "b": 2}, {"a": 1}, False),
    ("any of two", {"x-match": "any", "a": 1, "b": 2}, {"b": 2}, True),
    ("any, none", {"x-match": "any", "a": 1, "b": 2}, {"c": 3}, False),
    ("any of nothing", {"x-match": "any"}, {"a": 1}, False),
    ("all of nothing", {"x-match": "all"}, {"a": 1}, True),
    ("a value that is void means presence", {"x-match": "all", "a": None}, {"a": "whatever"}, True),
    ("presence, and it is absent", {"x-match": "all", "a": None}, {"b": 1}, False),
    ("another type is another value", {"x-match": "all", "a": "1"}, {"a": 1}, False),
    ("headers named x- are not compared", {"x-match": "all", "x-other": 1, "a": 1}, {"a": 1}, True),
    ("all-with-x compares them", {"x-match": "all-with-x", "x-other": 1}, {"a": 1}, False),
    ("any-with-x compares them", {"x-match": "any-with-x", "x-other": 1}, {"x-other": 1}, True),
    ("truth", {"x-match": "all", "a": True}, {"a": True}, True),
    ("text", {"x-match": "all", "a": "x"}, {"a": "x"}, True),
]


@pytest.mark.parametrize(("wanted", "sent", "matches"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_headers(world: World, ch: Channel, wanted: dict[str, Any], sent: dict[str, Any], matches: bool) -> None:
    name = ch.exchange(world.fresh("x"), "headers", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, "", wanted)
    ch.publish(name, "key", b"x", Properties(headers=sent))
    assert (ch.get(queue) is not None) is matches


def test_a_headers_exchange_with_a_message_without_headers(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "headers", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, name, "", {"x-match": "all", "a": 1})
    ch.publish(name, "key")
    assert ch.get(queue) is None


def test_an_unknown_x_match_is_406(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), "headers", auto_delete=True)
    queue = ch.queue()
    ch.refused(
        Queue.Bind(queue=queue, exchange=name, arguments={"x-match": "some"}),
        406,
        'PRECONDITION_FAILED - Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x',
    )


# ---------------------------------------------------------------------------------------------- bindings of exchanges


def test_a_message_passes_through_exchanges_in_a_chain(world: World, ch: Channel) -> None:
    one = ch.exchange(world.fresh("x"), "topic", auto_delete=True)
    two = ch.exchange(world.fresh("x"), "direct", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, two, "a.b")
    ch.call(Exchange.Bind(destination=two, source=one, routing_key="a.#"), Exchange.BindOk)
    ch.publish(one, "a.b", b"through")
    ch.publish(one, "a.c", b"not")
    message = ch.got(queue)
    assert (message.body, message.exchange, message.routing_key) == (b"through", one, "a.b")
    assert ch.get(queue) is None


def test_a_circle_of_exchanges_delivers_once(world: World, ch: Channel) -> None:
    names = [ch.exchange(world.fresh("x"), "fanout", auto_delete=True) for _ in range(3)]
    queue = ch.queue()
    for source, destination in zip(names, names[1:] + names[:1], strict=True):
        ch.call(Exchange.Bind(destination=destination, source=source), Exchange.BindOk)
    for name in names:
        ch.bind(queue, name)
    ch.publish(names[0], "k", b"once")
    assert ch.drain(queue) == [b"once"]


def test_an_exchange_is_unbound_from_another(world: World, ch: Channel) -> None:
    one = ch.exchange(world.fresh("x"), "fanout")
    two = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, two)
    ch.call(Exchange.Bind(destination=two, source=one), Exchange.BindOk)
    ch.call(Exchange.Unbind(destination=two, source=one), Exchange.UnbindOk)
    ch.publish(one, "k")
    assert ch.get(queue) is None
    ch.call(Exchange.Delete(exchange=one), Exchange.DeleteOk)


@pytest.mark.parametrize("missing", ["source", "destination"])
def test_binding_a_missing_exchange_is_404(world: World, ch: Channel, missing: str) -> None:
    there, gone = ch.exchange(world.fresh("x"), "fanout", auto_delete=True), world.fresh("x")
    ends: dict[str, Any] = {"source": there, "destination": there} | {missing: gone}
    ch.refused(Exchange.Bind(**ends), 404, f"NOT_FOUND - no exchange '{gone}' in vhost '{world.vhost}'")


# ------------------------------------------------------------------------------------------------- alternate exchanges


def test_what_no_binding_takes_goes_to_the_alternate(world: World, ch: Channel) -> None:
    other = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    name = ch.exchange(world.fresh("x"), auto_delete=True, arguments={"alternate-exchange": other})
    taken, rest = ch.queue(), ch.queue()
    ch.bind(taken, name, "k")
    ch.bind(rest, other)
    ch.publish(name, "k", b"taken")
    ch.publish(name, "unknown", b"rest")
    message = ch.got(rest)
    assert (message.body, message.exchange, message.routing_key) == (b"rest", name, "unknown")
    assert ch.drain(taken) == [b"taken"]
    assert ch.get(rest) is None


def test_alternates_are_followed_one_after_the_other(world: World, ch: Channel) -> None:
    last = ch.exchange(world.fresh("x"), "fanout", auto_delete=True)
    middle = ch.exchange(world.fresh("x"), arguments={"alternate-exchange": last}, auto_delete=True)
    first = ch.exchange(world.fresh("x"), arguments={"alternate-exchange": middle}, auto_delete=True)
    queue = ch.queue()
    ch.bind(queue, last)
    ch.publish(first, "k", b"far", mandatory=True)
    assert ch.got(queue).body == b"far"
    assert not ch.inbox.returns


def test_an_alternate_that_is_missing_is_no_alternate(world: World, ch: Channel) -> None:
    name = ch.exchange(world.fresh("x"), arguments={"alternate-exchange": world.fresh("x")}, auto_delete=True)
    ch.publish(name, "k", b"back", mandatory=True)
    assert ch.returned().body == b"back"


def test_alternates_in_a_circle_come_to_an_end(world: World, ch: Channel) -> None:
    one, two = world.fresh("x"), world.fresh("x")
    ch.exchange(one, arguments={"alternate-exchange": two}, auto_delete=True)
    ch.exchange(two, arguments={"alternate-exchange": one}, auto_delete=True)
    ch.publish(one, "k", b"back", mandatory=True)
    assert ch.returned().body == b"back"
