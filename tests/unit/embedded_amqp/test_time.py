"""What happens as time passes, on a clock that moves by hand."""

from __future__ import annotations

from pamqp import commands, heartbeat

from pylib.embedded.amqp.session.connection import State
from tests.unit.embedded_amqp.driver import PROTOCOL_HEADER, Client, World

DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


def test_a_message_expires_when_its_time_has_come_and_not_before() -> None:
    world = World()
    client = world.client()
    client.declare("q", arguments={"x-message-ttl": 1000})
    client.publish("q")
    world.wait(0.999)
    assert world.queue("q") == (1, 0)
    world.wait(0.001)
    assert world.queue("q") == (0, 0)
    assert world.core.memory.used == 0


def test_the_shorter_of_queue_and_message_time_counts() -> None:
    world = World()
    client = world.client()
    client.declare("q", arguments={"x-message-ttl": 1000})
    client.publish("q", expiration="10")
    client.publish("q", expiration="5000")
    world.wait(0.01)
    assert world.queue("q") == (1, 0)
    world.wait(0.99)
    assert world.queue("q") == (0, 0)


def test_behind_the_head_nothing_expires() -> None:
    world = World()
    client = world.client()
    client.declare("q")
    client.publish("q", b"long", expiration="60000")
    client.publish("q", b"short", expiration="10")
    world.wait(1)
    assert world.queue("q") == (2, 0)
    assert client.get("q") is not None
    assert client.get("q") is None


def test_a_held_message_does_not_expire_until_it_comes_back() -> None:
    world = World()
    client = world.client()
    client.declare("q", arguments={"x-message-ttl": 100})
    client.publish("q")
    client.send(commands.Basic.Get(queue="q"))
    tag = client.read()[0].delivery_tag
    world.wait(10)
    assert world.queue("q") == (0, 1)
    client.send(commands.Basic.Nack(delivery_tag=tag, requeue=True))
    assert world.queue("q") == (0, 0)


def test_an_expired_message_becomes_a_dead_letter_with_its_history() -> None:
    world = World()
    client = world.client()
    client.declare("dead")
    client.declare("q", arguments=DEAD)
    client.publish("q", expiration="50")
    world.wait(0.05)
    letter = client.get("dead")
    assert letter is not None
    death = letter[1]["x-death"][0]
    assert (death["count"], death["reason"], death["queue"], death["routing-keys"]) == (1, "expired", "q", ["q"])
    assert death["original-expiration"] == "50"
    assert letter[1]["x-first-death-reason"] == "expired"


def test_a_message_that_goes_round_without_a_rejection_is_dropped() -> None:
    world = World()
    client = world.client()
    client.declare("a", arguments={"x-message-ttl": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"})
    client.declare("b", arguments={"x-message-ttl": 10, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a"})
    client.publish("a")
    world.wait(1)
    assert (world.queue("a"), world.queue("b"), world.core.memory.used) == ((0, 0), (0, 0), 0)


def test_a_long_chain_of_dead_letters_is_no_depth_of_calls() -> None:
    world = World()
    client = world.client()
    for number in range(300):
        key = f"q{number + 1}"
        client.declare(
            f"q{number}",
            arguments={"x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": key},
        )
    client.declare("q300")
    client.publish("q0")
    world.wait(0)
    letter = client.get("q300")
    assert letter is not None
    assert len(letter[1]["x-death"]) == 300


def test_a_queue_expires_when_nobody_has_used_it() -> None:
    world = World()
    client = world.client()
    client.declare("q", arguments={"x-expires": 1000})
    world.wait(0.9)
    client.send(commands.Basic.Get(queue="q"))
    world.wait(0.9)
    assert "q" in world.core.vhosts["/"].queues
    world.wait(0.2)
    assert "q" not in world.core.vhosts["/"].queues


def test_a_queue_with_a_consumer_does_not_expire() -> None:
    world = World()
    client = world.client()
    client.declare("q", arguments={"x-expires": 1000})
    client.call(commands.Basic.Consume(queue="q", consumer_tag="t"))
    world.wait(10)
    assert "q" in world.core.vhosts["/"].queues
    client.call(commands.Basic.Cancel(consumer_tag="t"))
    world.wait(1.1)
    assert "q" not in world.core.vhosts["/"].queues


def test_a_queue_that_is_gone_is_not_remembered_for_its_time() -> None:
    world = World()
    client = world.client()
    for _ in range(1000):
        client.declare("q", arguments={"x-expires": 86_400_000})
        client.call(commands.Queue.Delete(queue="q"))
    assert len(world.core.agenda._heap) < 600


def test_a_client_that_does_not_log_in_is_dropped() -> None:
    world = World(login=10.0)
    client = Client(world)
    client.connection.receive(PROTOCOL_HEADER)
    world.wait(9.9)
    assert client.connection.state is State.STARTING
    world.wait(0.2)
    assert client.connection.gone


def test_heartbeats_are_sent_in_silence_and_a_silent_client_is_dropped() -> None:
    world = World()
    client = Client(world)
    client.log_in(heartbeat=10)
    world.wait(6)
    assert any(isinstance(each, heartbeat.Heartbeat) for each in client.read())
    world.wait(13)
    assert client.connection.state is State.RUNNING
    world.wait(10)
    assert client.connection.gone
    assert client.connection.reason == "missed heartbeats from client, timeout: 10s"


def test_a_client_that_beats_stays() -> None:
    world = World()
    client = Client(world)
    client.log_in(heartbeat=10)
    for _ in range(20):
        client.send(heartbeat.Heartbeat(), channel=0)
        world.wait(5)
    assert not client.connection.gone


def test_a_connection_that_lives_long_remembers_no_heartbeat_of_the_past() -> None:
    world = World()
    client = Client(world)
    client.log_in(heartbeat=10)
    for _ in range(200):
        client.send(heartbeat.Heartbeat(), channel=0)
        world.wait(5)
    assert len(client.connection._appointments) < 5


def test_a_client_that_does_not_answer_a_close_is_dropped() -> None:
    world = World()
    client = world.client()
    client.connection.close(320, "away with you")
    assert isinstance(client.read()[0], commands.Connection.Close)
    world.wait(4)
    assert client.connection.state is State.CLOSING
    world.wait(2)
    assert client.connection.gone
