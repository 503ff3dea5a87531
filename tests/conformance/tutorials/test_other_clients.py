"""amqpstorm and kombu, unmodified: there and back, and back again after the line was cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from amqpstorm.connection import Connection as StormConnection
from amqpstorm.exception import AMQPChannelError
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.simple import SimpleQueue

from pylib.testing.plugin import FaultProxyFactory


@dataclass(frozen=True, slots=True)
class Place:
    """Where a broker listens, and who may come in."""

    port: int
    user: str
    password: str
    vhost: str

    def url(self, port: int | None = None) -> str:
        path = "" if self.vhost == "/" else self.vhost
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{port or self.port}/{path}"


@pytest.fixture(params=["embedded", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "embedded":
        from pylib.embedded.amqp import AmqpBroker

        with AmqpBroker() as broker:
            yield Place(broker.port, "guest", "guest", "/")
        return
    vhost = request.getfixturevalue("rabbitmq")
    yield Place(vhost.node.port, vhost.user, vhost.password, vhost.name)


def test_amqpstorm_there_and_back(place: Place) -> None:
    with (
        StormConnection("127.0.0.1", place.user, place.password, port=place.port, virtual_host=place.vhost) as connection,
        connection.channel() as channel,
    ):
        channel.queue.declare("storm", auto_delete=True)
        channel.confirm_deliveries()
        properties: Any = {"content_type": "text/plain", "headers": {"number": 7}}
        for n in range(20):
            assert channel.basic.publish(f"message {n}", "storm", properties=properties)
        seen: list[Any] = []

        def received(message: Any) -> None:
            seen.append((message.body, message.properties["headers"]))
            message.ack()
            if len(seen) == 20:
                channel.stop_consuming()

        channel.basic.qos(5)
        channel.basic.consume(received, "storm")
        channel.start_consuming()
        assert seen == [(f"message {n}", {"number": 7}) for n in range(20)]


def test_amqpstorm_sees_why_a_channel_was_closed(place: Place) -> None:
    with StormConnection("127.0.0.1", place.user, place.password, port=place.port, virtual_host=place.vhost) as connection:
        channel = connection.channel()
        with pytest.raises(AMQPChannelError) as caught:
            channel.queue.declare("missing", passive=True)
        assert caught.value.error_code == 404


def test_kombu_simple_queue_there_and_back(place: Place) -> None:
    with Connection(place.url(), transport_options={"confirm_publish": True}) as connection:
        queue: SimpleQueue = connection.SimpleQueue("simple")
        for n in range(10):
            queue.put({"n": n}, serializer="json", compression="zlib" if n % 2 else None)
        assert queue.qsize() == 10
        got = []
        for _ in range(10):
            message = queue.get(timeout=10)
            got.append(message.payload)
            message.ack()
        assert got == [{"n": n} for n in range(10)]
        with pytest.raises(queue.Empty):
            queue.get(block=False)
        queue.close()


def test_kombu_producer_and_consumer_with_topics_and_priority(place: Place) -> None:
    exchange = Exchange("kombu-topics", type="topic", durable=False, auto_delete=True)
    queue = Queue("kombu", exchange, routing_key="a.#", exclusive=True, max_priority=5)
    got: list[Any] = []
    with Connection(place.url(), transport_options={"confirm_publish": True}) as connection:
        bound = queue(connection.default_channel)
        bound.declare()
        producer = connection.Producer(exchange=exchange)
        for priority in (1, 5, 3):
            producer.publish(priority, routing_key="a.b", priority=priority)
        producer.publish("nobody", routing_key="b.a")

        def received(body: Any, message: Any) -> None:
            got.append(body)
            message.ack()

        with connection.Consumer(queue, callbacks=[received], prefetch_count=1):
            while len(got) < 3:
                connection.drain_events(timeout=10)
    assert got == [5, 3, 1]


def test_kombu_connects_again_after_the_line_was_cut(place: Place, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(place.port)
    with Connection(place.url(proxy.port), heartbeat=0, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue("again")
        queue.put("before")
        queue.close()
        producer = connection.Producer()
        publish = connection.ensure(producer, producer.publish, max_retries=20, interval_start=0, interval_step=0.05)
        proxy.drop()
        with pytest.raises(connection.connection_errors):
            connection.drain_events(timeout=10)
        # kombu leaves the dead socket to the garbage collector otherwise.
        connection.collect()
        publish("after", routing_key="again", serializer="json")
        assert proxy.accepted == 2
        fresh = connection.SimpleQueue("again")
        got = [fresh.get(timeout=10) for _ in range(2)]
        assert [message.payload for message in got] == ["before", "after"]
        for message in got:
            message.ack()
        fresh.close()
