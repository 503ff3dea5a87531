"""What RabbitMQ answers with basic.nack keeps its place and is published again: it is nobody's fault and no dead letter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from pylib.rabbit import RabbitMQRelay
from pylib.runtime.runtime import Runtime
from pylib.testing.rabbitmq import Vhost
from pylib.zmq import zmq_socket

pytestmark = pytest.mark.timeout(60)

PIPE = "inproc://rabbit-mq-publisher"
MESSAGES = 40


class Refusals(logging.Handler):
    """Notices that the relay speaks of a basic.nack."""

    def __init__(self) -> None:
        super().__init__()
        self.noticed = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "basic.nack" in record.getMessage():
            self.noticed.set()


@pytest.fixture
def refusals() -> Iterator[Refusals]:
    handler = Refusals()
    logging.getLogger("pylib").addHandler(handler)
    yield handler
    logging.getLogger("pylib").removeHandler(handler)


@pytest.mark.parametrize("spool", [False, True])
def test_a_queue_that_is_full_holds_its_publishers_back_and_gets_everything_in_order(
    runtime: Runtime, rabbitmq: Vhost, tmp_path: Path, refusals: Refusals, spool: bool
) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.exchange_declare("home", "topic", durable=True)
        channel.queue_declare("full", durable=True, arguments={"x-max-length": 5, "x-overflow": "reject-publish"})
        channel.queue_declare("free", durable=True)
        for queue in ("full", "free"):
            channel.queue_bind(queue, "home", "#")
        ready = threading.Event()
        relay = RabbitMQRelay(PIPE, rabbitmq.address, "home", wait=True, on_ready=ready.set,
                              spool=f"{tmp_path}/spool.db" if spool else None)  # fmt: skip
        relay.start()
        assert ready.wait(20)
        outlet = zmq_socket(zmq.PUSH)
        outlet.connect(PIPE)
        settled = threading.Semaphore(0)
        failures: list[BaseException] = []

        def settle(receipt: object) -> None:
            error = getattr(receipt, "error", None)
            if error is not None:
                failures.append(error)
            settled.release()

        for n in range(MESSAGES):
            receipt = runtime.receipts.open(settle, label=str(n))
            outlet.send_enclosed(("event.notify.x", str(n).encode()), receipt)
        assert refusals.noticed.wait(20), "the queue never refused anything"
        seen: list[int] = []
        for method, _, body in channel.consume("full", auto_ack=False, inactivity_timeout=30):
            assert method is not None, f"only {seen} came"
            seen.append(int(body or b""))
            channel.basic_ack(method.delivery_tag or 0)
            if seen[-1] == MESSAGES - 1:
                break
        assert list(dict.fromkeys(seen)) == list(range(MESSAGES))
        for _ in range(MESSAGES):
            assert settled.acquire(timeout=20), "a receipt is never settled"
        assert not failures
        channel.cancel()
        repeated = channel.queue_declare("free", passive=True).method.message_count - MESSAGES
        assert 0 <= repeated <= 3 * MESSAGES, "a full queue makes the others suffer"
