"""A RabbitMQ cluster made by the test kit: two nodes, a quorum queue, the one that the relay is connected to dies."""

from __future__ import annotations

import threading
from contextlib import closing

import pika
import pytest

from pylib.rabbit import RabbitMQRelay
from pylib.runtime.runtime import Runtime
from pylib.testing.cluster import RabbitCluster
from pylib.zmq import zmq_socket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]

PIPE = "inproc://rabbit-mq-publisher"


def test_a_relay_goes_on_at_the_next_node_when_its_own_dies(runtime: Runtime) -> None:
    import zmq

    # Three, since two are no majority once one is gone.
    with RabbitCluster(3) as cluster:
        with closing(pika.BlockingConnection(pika.URLParameters(cluster.addresses[1]))) as connection:
            channel = connection.channel()
            channel.exchange_declare("home", "topic", durable=True)
            channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind("kept", "home", "#")
        ready = threading.Semaphore(0)
        relay = RabbitMQRelay(PIPE, cluster.addresses, "home", wait=True, on_ready=ready.release)
        relay.start()
        assert ready.acquire(timeout=20)
        outlet = zmq_socket(zmq.PUSH)
        outlet.connect(PIPE)
        outlet.send_pyobj(("event.notify.x", b"before"))
        cluster.nodes[0].kill()
        outlet.send_pyobj(("event.notify.x", b"after"))
        assert ready.acquire(timeout=20), "it does not come back at another node"
        seen: list[bytes] = []
        with closing(pika.BlockingConnection(pika.URLParameters(cluster.addresses[1]))) as connection:
            for method, _, body in connection.channel().consume("kept", auto_ack=True, inactivity_timeout=20):
                assert method is not None, f"only {seen} came"
                seen.append(body or b"")
                if seen[-1] == b"after":
                    break
        assert list(dict.fromkeys(seen)) == [b"before", b"after"]
