"""How fast the embedded AMQP broker is, and whether it gives memory back: python benchmarks/embedded_amqp.py [MESSAGES]

The broker, one publisher and one consumer are processes of their own; both clients are pika. The publisher has confirms on and
at most 1,000 messages unconfirmed; the consumer has a prefetch of 1,000 and acknowledges every hundredth with `multiple`.

First the start of a broker, median of 20, once imported. Then the rate with both clients at work, from the first publish to
the last delivery, best and median of some rounds. Then the memory of the broker's process: before, with a queue of messages
of 1 KiB that nobody takes, and after the queue was drained.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any, NoReturn

import pika
import psutil
from pika.adapters.select_connection import SelectConnection

QUEUE = "benchmark"
WINDOW = 1_000
ACK_EVERY = 100
BODY = 100
LARGE_BODY = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("messages", type=int, nargs="?", default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=100_000, help="messages of 1 KiB in the queue at the peak of memory")
    parser.add_argument("--url", help="measure a broker that runs already: its rate alone")
    options = parser.parse_args()
    if options.url:
        rates(options.url, options.messages, options.rounds)
        return
    with subprocess.Popen(
        [sys.executable, __file__, "role:broker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as broker:
        try:
            assert broker.stdout is not None
            url, start = broker.stdout.readline().split()
            print(f"start of a broker, once imported: median {float(start):.1f} ms")
            rates(url, options.messages, options.rounds)
            memory(url, psutil.Process(broker.pid), options.waiting)
        finally:
            broker.kill()


def rates(url: str, messages: int, rounds: int) -> None:
    """Both clients at work."""
    measured = []
    for number in range(rounds):
        consumer, publisher = role("consume", url, messages), None
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "ready\n"
        publisher = role("publish", url, messages, BODY)
        began, confirmed = finished(publisher)
        _, delivered = finished(consumer)
        rate = messages / (delivered - began)
        measured.append(rate)
        print(
            f"round {number + 1}: {rate:,.0f} messages/s delivered, {messages / (confirmed - began):,.0f} messages/s confirmed"
        )
    print(f"throughput median {statistics.median(measured):.0f} messages/s, best {max(measured):.0f} messages/s")


def memory(url: str, broker: psutil.Process, waiting: int) -> None:
    """A long queue, and its end."""
    before = rss(broker)
    finished(role("publish", url, waiting, LARGE_BODY))
    peak = rss(broker)
    consumer = role("consume", url, waiting)
    finished(consumer)
    time.sleep(1.0)  # the last acknowledgements
    after = rss(broker)
    print(f"memory of the broker's process: before {before:.1f} MiB, peak {peak:.1f} MiB, after {after:.1f} MiB")
    print(f"memory given back after the drain: {100 * (peak - after) / (peak - before):.0f} % of {peak - before:.1f} MiB")


def rss(process: psutil.Process) -> float:
    """MiB that the process has in memory."""
    return float(process.memory_info().rss) / 2**20


def role(name: str, *arguments: object) -> subprocess.Popen[str]:
    """Start this file in another part."""
    argv = [sys.executable, __file__, f"role:{name}", *(str(each) for each in arguments)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Wait for a client's end: when its first and its last message was there, on the machine's clock."""
    output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"a client ended with exit code {process.returncode}")
    first, last = output.split()[-2:]
    return float(first), float(last)


# ------------------------------------------------------------------------------------------------------- the other parts


def broker() -> None:
    """Serve until standard input ends."""
    from pylib.embedded.amqp import AmqpBroker

    took = []
    for _ in range(20):
        began = time.perf_counter()
        one = AmqpBroker().start()
        took.append((time.perf_counter() - began) * 1000)
        one.close()
    with AmqpBroker() as server:
        print(server.url, statistics.median(took), flush=True)
        sys.stdin.read()


class Client:
    """A pika connection on its own loop, with one channel."""

    def __init__(self, url: str) -> None:
        self.first = 0.0
        self.connection = SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda c: c.channel(on_open_callback=self.opened),
            on_open_error_callback=self.failed,
            on_close_callback=lambda c, e: c.ioloop.stop(),
        )
        self.channel: Any = None

    def run(self) -> None:
        self.connection.ioloop.start()

    def failed(self, connection: Any, error: object) -> NoReturn:
        raise SystemExit(f"cannot connect: {error}")

    def opened(self, channel: Any) -> None:
        self.channel = channel
        channel.queue_declare(QUEUE, callback=lambda _: self.ready())

    def ready(self) -> None: ...

    def done(self) -> None:
        print(self.first, time.monotonic(), flush=True)
        self.connection.close()


class Publisher(Client):
    """Keeps the window of unconfirmed messages full."""

    def __init__(self, url: str, messages: int, size: int) -> None:
        super().__init__(url)
        self.messages, self.body = messages, bytes(size)
        self.sent = self.confirmed = 0

    def ready(self) -> None:
        self.channel.confirm_delivery(self.confirm, callback=lambda _: self.start())

    def start(self) -> None:
        self.first = time.monotonic()
        self.fill()

    def fill(self) -> None:
        while self.sent < self.messages and self.sent - self.confirmed < WINDOW:
            self.channel.basic_publish("", QUEUE, self.body)
            self.sent += 1

    def confirm(self, frame: Any) -> None:
        method = frame.method
        if method.NAME != "Basic.Ack":
            raise SystemExit("the broker refused a message")
        self.confirmed = method.delivery_tag if method.multiple else self.confirmed + 1
        if self.confirmed >= self.messages:
            self.done()
        elif self.sent - self.confirmed <= WINDOW // 2:
            self.fill()


class Consumer(Client):
    """Takes and acknowledges."""

    def __init__(self, url: str, messages: int) -> None:
        super().__init__(url)
        self.messages, self.seen = messages, 0

    def ready(self) -> None:
        self.channel.basic_qos(prefetch_count=WINDOW, callback=lambda _: self.consume())

    def consume(self) -> None:
        self.channel.basic_consume(QUEUE, self.deliver, callback=lambda _: print("ready", flush=True))

    def deliver(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if not self.seen:
            self.first = time.monotonic()
        self.seen += 1
        if self.seen % ACK_EVERY == 0 or self.seen == self.messages:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if self.seen == self.messages:
            self.done()


if __name__ == "__main__":
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    if part == "role:broker":
        broker()
    elif part == "role:publish":
        Publisher(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])).run()
    elif part == "role:consume":
        Consumer(sys.argv[2], int(sys.argv[3])).run()
    else:
        main()
