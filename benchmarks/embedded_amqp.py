"""How fast the embedded AMQP server is: one publisher with confirms and one consumer, each a process of its own with pika.

    python -m benchmarks.embedded_amqp [--messages 30000] [--bytes 100] [--batch 200]

The publisher sends persistent messages and waits for the confirms of a batch before the next but one; the consumer
acknowledges in groups. The server is alone in its process. Prints messages a second from the first publish to the last
acknowledgement, and what the queues hold afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import pika

from pylib.embedded.amqp import AmqpBroker

QUEUE = "throughput"


def publish(url: str, messages: int, size: int, batch: int) -> None:
    """Publish and wait for all confirms; prints when it began."""
    connection = pika.SelectConnection
    state = {"sent": 0, "confirmed": 0}
    body = b"x" * size
    properties = pika.BasicProperties(delivery_mode=2)

    def pump() -> None:
        while state["sent"] < messages and state["sent"] - state["confirmed"] < 2 * batch:
            channel.basic_publish("", QUEUE, body, properties)
            state["sent"] += 1

    def confirmed(frame: pika.frame.Method) -> None:
        if frame.method.NAME != "Basic.Ack":
            raise SystemExit("a message was refused")
        tag = frame.method.delivery_tag
        state["confirmed"] = tag if frame.method.multiple else state["confirmed"] + 1
        if state["confirmed"] >= messages:
            client.close()
        else:
            pump()

    def opened(new: pika.channel.Channel) -> None:
        nonlocal channel
        channel = new
        channel.confirm_delivery(confirmed, callback=lambda _: begin())

    def begin() -> None:
        print(json.dumps({"began": time.time()}), flush=True)
        pump()

    channel: pika.channel.Channel
    client = connection(
        pika.URLParameters(url),
        on_open_callback=lambda c: c.channel(on_open_callback=opened),
        on_close_callback=lambda c, _: c.ioloop.stop(),
    )
    client.ioloop.start()


def consume(url: str, messages: int, batch: int) -> None:
    """Consume and acknowledge in groups; prints when the last one was acknowledged."""
    seen = 0

    def on_message(channel: pika.channel.Channel, method: pika.spec.Basic.Deliver, _: object, __: bytes) -> None:
        nonlocal seen
        seen += 1
        if seen % batch == 0 or seen == messages:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if seen == messages:
            client.close()

    def opened(channel: pika.channel.Channel) -> None:
        channel.basic_qos(prefetch_count=4 * batch, callback=lambda _: begin(channel))

    def begin(channel: pika.channel.Channel) -> None:
        channel.basic_consume(QUEUE, on_message, callback=lambda _: print("ready", flush=True))

    client = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda c: c.channel(on_open_callback=opened),
        on_close_callback=lambda c, _: c.ioloop.stop(),
    )
    client.ioloop.start()
    print(json.dumps({"ended": time.time()}), flush=True)


def measure(messages: int, size: int, batch: int) -> dict[str, float]:
    """One run. Messages a second, and the bytes held afterwards."""
    with AmqpBroker() as broker:
        with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
            connection.channel().queue_declare(QUEUE, durable=True)
        command = [sys.executable, "-m", "benchmarks.embedded_amqp", "--url", broker.url, "--messages", str(messages)]
        command += ["--bytes", str(size), "--batch", str(batch), "--as"]
        consumer = subprocess.Popen([*command, "consumer"], stdout=subprocess.PIPE, text=True)
        if consumer.stdout is None or consumer.stdout.readline().strip() != "ready":
            raise SystemExit("the consumer did not come up")
        before = resource.getrusage(resource.RUSAGE_SELF)
        publisher = subprocess.Popen([*command, "publisher"], stdout=subprocess.PIPE, text=True)
        out, _ = publisher.communicate(timeout=300)
        ended, _ = consumer.communicate(timeout=300)
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = json.loads(ended)["ended"] - json.loads(out)["began"]
        server = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {
            "messages_per_second": round(messages / seconds),
            "server_cpu_us_per_message": round(server / messages * 1e6, 1),
            "held_bytes_after": broker.memory(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--bytes", type=int, default=100)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--as", dest="role", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.role == "publisher":
        publish(asked.url, asked.messages, asked.bytes, asked.batch)
    elif asked.role == "consumer":
        consume(asked.url, asked.messages, asked.batch)
    else:
        print(json.dumps(measure(asked.messages, asked.bytes, asked.batch)))


if __name__ == "__main__":
    main()
