"""Programs in the form of RabbitMQ's seven tutorials, as processes, with nothing changed but the port."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pika
import pytest

from pylib.testing.processes import Program

FOLDER = Path(__file__).parent
# Left in the default virtual host by the programs, which declare them under the tutorials' own names.
QUEUES = ("hello", "task_queue", "rpc_queue")
EXCHANGES = ("logs", "direct_logs", "topic_logs")
PATIENCE = 30.0

Start = Callable[..., Program]


@pytest.fixture(params=["embedded", "rabbitmq"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a broker whose default virtual host and user are as the tutorials take them to be."""
    if request.param == "embedded":
        from pylib.embedded.amqp import AmqpBroker

        with AmqpBroker() as broker:
            yield broker.port
        return
    node = request.getfixturevalue("rabbitmq_node")
    yield node.port
    with pika.BlockingConnection(pika.URLParameters(node.address)) as connection:
        channel = connection.channel()
        for queue in QUEUES:
            channel.queue_delete(queue)
        for exchange in EXCHANGES:
            channel.exchange_delete(exchange)


@pytest.fixture(params=["with_pika", "with_aio_pika"])
def start(request: pytest.FixtureRequest, port: int) -> Iterator[Start]:
    """Start a program of the folder; with ``until`` return when it has printed that."""
    with ExitStack() as stack:

        def run(name: str, *arguments: str, until: str | None = None) -> Program:
            path = FOLDER / request.param / f"{name}.py"
            program = stack.enter_context(Program([sys.executable, str(path), str(port), *arguments]))
            if until is not None:
                program.wait_for(until, PATIENCE)
            return program

        yield run


def ended(program: Program) -> None:
    """Wait for a program that ends by itself."""
    assert program.wait(PATIENCE) == 0, program.output


def interrupted(program: Program) -> None:
    """End a program as Ctrl-C does."""
    assert program.stop(signal.SIGINT, PATIENCE) == 0, program.output


def test_hello(start: Start) -> None:
    ended(start("hello_send"))
    receiver = start("hello_receive", until="waiting")
    receiver.wait_for("received Hello World!", PATIENCE)
    interrupted(receiver)


def test_work_queues(start: Start) -> None:
    mortal = start("work_worker", until="waiting")
    ended(start("work_task", "the end of one!"))
    mortal.wait_for("died of the end of one!", PATIENCE)
    assert mortal.wait(PATIENCE) == 3
    # What the dead worker had in hand is not lost.
    worker = start("work_worker", until="done the end of one!")
    second = start("work_worker", until="waiting")
    ended(start("work_task", *(f"task-{n}" for n in range(20))))
    wait_for_all([worker, second], {f"done task-{n}" for n in range(20)})
    interrupted(worker)
    interrupted(second)
    done = worker.output.count("done task-"), second.output.count("done task-")
    assert sum(done) == 20
    assert min(done) > 0, f"one worker got everything: {done}"


def test_publish_subscribe(start: Start) -> None:
    receivers = [start("logs_receive", "logs", "fanout", "", until="waiting") for _ in range(2)]
    ended(start("logs_emit", "logs", "fanout", "", "to everybody"))
    for receiver in receivers:
        receiver.wait_for("received - to everybody", PATIENCE)
        interrupted(receiver)


def test_routing(start: Start) -> None:
    errors = start("logs_receive", "direct_logs", "direct", "error", until="waiting")
    all_of_them = start("logs_receive", "direct_logs", "direct", "info", "warning", "error", until="waiting")
    for key in ("info", "error"):
        ended(start("logs_emit", "direct_logs", "direct", key, f"an-{key}"))
    all_of_them.wait_for("received info an-info", PATIENCE)
    all_of_them.wait_for("received error an-error", PATIENCE)
    errors.wait_for("received error an-error", PATIENCE)
    assert "an-info" not in errors.output
    interrupted(errors)
    interrupted(all_of_them)


def test_topics(start: Start) -> None:
    kern = start("logs_receive", "topic_logs", "topic", "kern.*", "*.critical", until="waiting")
    everything = start("logs_receive", "topic_logs", "topic", "#", until="waiting")
    for key in ("kern.info", "app.critical", "app.info"):
        ended(start("logs_emit", "topic_logs", "topic", key, f"text-{key}"))
    everything.wait_for("received app.info text-app.info", PATIENCE)
    kern.wait_for("received kern.info text-kern.info", PATIENCE)
    kern.wait_for("received app.critical text-app.critical", PATIENCE)
    assert "app.info" not in kern.output
    interrupted(kern)
    interrupted(everything)


def test_remote_calls(start: Start) -> None:
    server = start("rpc_server", until="waiting")
    client = start("rpc_client", "0", "10", "30")
    ended(client)
    assert client.output.splitlines() == ["answer 0 0", "answer 10 55", "answer 30 832040"]
    interrupted(server)


def test_publisher_confirms(start: Start) -> None:
    program = start("confirms")
    ended(program)
    assert program.output.splitlines() == ["confirmed 100", "returned NO_ROUTE"]


def wait_for_all(programs: list[Program], wanted: set[str]) -> None:
    """Wait until every wanted line was printed by one of the programs."""
    deadline = time.monotonic() + PATIENCE
    while missing := wanted - {line for program in programs for line in program.output.splitlines()}:
        assert time.monotonic() < deadline, f"never printed: {sorted(missing)}"
        threading.Event().wait(0.05)
