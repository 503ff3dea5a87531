"""No client takes all there is: memory, queues, answers that nobody reads, messages that never come whole."""

from __future__ import annotations

import pytest
from pamqp import body, commands, header

from pylib.embedded.amqp import Limits
from pylib.errors import ConfigError
from tests.unit.embedded_amqp.driver import World

Blocked, Unblocked = commands.Connection.Blocked, commands.Connection.Unblocked


def test_a_publisher_is_blocked_while_memory_is_low_and_let_on_afterwards() -> None:
    world = World(memory=10_000)
    publisher, consumer = world.client(connection__blocked=True), world.client()
    publisher.declare("q")
    publisher.publish("q", b"x" * 9_000)
    assert publisher.held == []
    publisher.publish("q", b"x" * 9_000)
    assert [type(each) for each in publisher.read()] == [Blocked]
    assert publisher.held == [True]
    assert consumer.get("q") is not None
    assert [type(each) for each in publisher.read()] == [Unblocked]
    assert publisher.held == [True, False]


def test_a_client_that_only_consumes_is_not_blocked() -> None:
    world = World(memory=10_000)
    publisher, consumer = world.client(), world.client(connection__blocked=True)
    publisher.declare("q")
    publisher.publish("q", b"x" * 9_900)
    assert consumer.held == []
    assert consumer.read() == []


def test_a_publisher_that_comes_while_memory_is_low_is_blocked_at_its_first_message() -> None:
    world = World(memory=10_000)
    first = world.client()
    first.declare("q")
    first.publish("q", b"x" * 9_900)
    late = world.client(connection__blocked=True)
    assert late.held == []
    late.publish("q", b"one more")
    assert late.held == [True]


def test_a_client_without_the_capability_is_held_and_not_told() -> None:
    world = World(memory=10_000)
    client = world.client()
    client.declare("q")
    client.publish("q", b"x" * 9_900)
    assert client.held == [True]
    assert client.read() == []


def test_what_a_held_client_has_sent_waits_and_is_held_again_when_memory_runs_low_again() -> None:
    world = World(memory=10_000)
    client, consumer = world.client(connection__blocked=True), world.client()
    client.declare("q")
    client.publish("q", b"x" * 9_900)
    client.publish("q", b"y" * 9_900)
    client.publish("q", b"z" * 9_900)
    assert world.queue("q") == (1, 0)
    assert consumer.get("q") is not None
    world.wait(0)
    assert world.queue("q") == (1, 0)
    assert client.held == [True, False, True]
    assert [type(each) for each in client.read()] == [Blocked, Unblocked, Blocked]
    assert consumer.get("q") is not None
    world.wait(0)
    assert consumer.get("q") is not None
    assert world.queue("q") == (0, 0)


def test_a_held_client_that_is_told_to_go_may_answer() -> None:
    world = World(memory=10_000)
    client = world.client(connection__blocked=True)
    client.declare("q")
    client.publish("q", b"x" * 9_900)
    client.publish("q", b"never dealt with")
    client.connection.close(320, "shutdown")
    assert client.held == [True, False]
    world.wait(0)
    client.send(commands.Connection.CloseOk(), channel=0)
    assert client.connection.gone
    assert world.queue("q") == (1, 0)


def test_messages_of_a_transaction_count_until_it_ends() -> None:
    world = World()
    client = world.client()
    client.declare("q")
    client.call(commands.Tx.Select())
    client.publish("q", b"x" * 1000)
    assert world.core.memory.used > 1000
    client.call(commands.Tx.Rollback())
    assert world.core.memory.used == 0
    client.publish("q", b"x" * 1000)
    client.connection.drop("gone")
    assert world.core.memory.used == 0


def test_bodies_that_never_come_whole_are_bounded() -> None:
    world = World(memory=100_000)
    client = world.client()
    part = body.ContentBody(b"x" * 60_000)
    client.send(commands.Basic.Publish(exchange="", routing_key="q"), header.ContentHeader(body_size=1_000_000), part)
    assert world.core.incoming == 60_000
    client.send(part)
    assert client.read()[0].reply_code == 506
    assert world.core.incoming == 0


def test_a_message_larger_than_the_limit_ends_the_connection_before_it_came() -> None:
    world = World(message=1000)
    client = world.client()
    client.send(commands.Basic.Publish(exchange="", routing_key="q"), header.ContentHeader(body_size=1001))
    close = client.read()[0]
    assert (close.reply_code, close.reply_text) == (501, "FRAME_ERROR - message size 1001 is larger than max size 1000")


def test_a_queue_at_the_servers_limit_refuses_and_the_publisher_is_told() -> None:
    world = World(queue_length=2)
    client = world.client()
    client.declare("q")
    client.call(commands.Confirm.Select())
    answers = []
    for _ in range(3):
        client.publish("q")
        answers += client.read()
    assert [type(each).__name__ for each in answers] == ["Ack", "Ack", "Nack"]
    assert world.queue("q") == (2, 0)


@pytest.mark.parametrize(
    ("limits", "method"),
    [
        ({"queues": 1}, commands.Queue.Declare(queue="more")),
        ({"exchanges": 7}, commands.Exchange.Declare(exchange="more")),
        ({"bindings": 0}, commands.Queue.Bind(queue="q", exchange="amq.direct")),
        ({"consumers": 0}, commands.Basic.Consume(queue="q")),
    ],
)
def test_what_is_beyond_a_limit_ends_the_connection_with_530(limits: dict[str, int], method: object) -> None:
    client = World(**limits).client()
    client.declare("q")
    client.send(method)
    close = client.read()[0]
    assert close.reply_code == 530
    assert "limit" in close.reply_text


def test_consumers_wait_for_a_client_that_does_not_read() -> None:
    world = World(unsent=10_000)
    client, publisher = world.client(), world.client()
    client.declare("q")
    client.call(commands.Basic.Consume(queue="q", consumer_tag="t"))
    for _ in range(100):
        publisher.publish("q", b"x" * 1000)
    ready, unacked = world.queue("q")
    assert unacked < 20
    assert ready + unacked == 100
    got = 0
    while bodies := client.bodies():
        got += len(bodies)
        client.connection.feed_starved()
    assert got == 100


def test_answers_that_nobody_reads_hold_back_the_questions() -> None:
    world = World(unsent=10_000)
    client = world.client()
    client.declare("q")
    for _ in range(50):
        client.publish("q", b"x" * 1000)
    client.send(*[commands.Basic.Get(queue="q") for _ in range(50)])
    assert client.connection.behind()
    got = 0
    while bodies := client.bodies():
        got += len(bodies)
        assert got <= 50
        client.connection.proceed()
    assert got == 50
    assert not client.connection.behind()


def test_what_a_lost_client_held_is_given_to_others_and_nothing_is_forgotten() -> None:
    world = World()
    client, other = world.client(), world.client()
    client.declare("mine", exclusive=True)
    client.declare("q")
    client.send(commands.Basic.Consume(queue="q", consumer_tag="a"), commands.Basic.Consume(queue="q", consumer_tag="b"))
    for number in range(4):
        other.publish("q", b"%d" % number)
    client.connection.drop("lost")
    assert world.queue("q") == (4, 0)
    assert "mine" not in world.core.vhosts["/"].queues
    assert world.core.consumers == 0
    other.send(commands.Basic.Consume(queue="q", consumer_tag="c"))
    assert other.bodies() == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("wrong", [{"frame": 100}, {"channels": 0}, {"channels": 70_000}, {"memory": 0}, {"login": 0.0}])
def test_limits_that_make_no_server_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Limits"):
        Limits(**wrong)  # type: ignore[arg-type]


def test_a_large_queue_that_drains_is_told_of_once() -> None:
    world = World()
    told: list[int] = []
    world.core.memory.drained = lambda: told.append(world.core.memory.used)
    client = world.client()
    client.declare("q")
    for _ in range(200):
        client.publish("q", b"x" * 100_000)
    assert told == []
    client.call(commands.Queue.Purge(queue="q"))
    assert len(told) == 1
