"""What honest clients send: the frames that the mutator starts from."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
QUEUES = ["q0", "q1", "q2", "q3", ""]
EXCHANGES = ["", "amq.direct", "amq.fanout", "amq.topic", "amq.headers", "x0", "x1", "x2"]
KEYS = ["", "q0", "q1", "q2", "a", "a.b", "a.*", "#", "*.b.#"]
TYPES = ["direct", "fanout", "topic", "headers", "x-none"]
TABLES: list[dict[str, Any]] = [
    {},
    {},
    {"x-message-ttl": 20},
    {"x-expires": 50},
    {"x-max-length": 2},
    {"x-max-length-bytes": 50, "x-overflow": "reject-publish"},
    {"x-max-length": 1, "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q1"},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q0"},
    {"x-dead-letter-exchange": "x0", "x-message-ttl": 0},
    {"x-max-priority": 5},
    {"x-single-active-consumer": True},
    {"x-queue-type": "quorum", "x-delivery-limit": 1},
]
HEADERS: list[dict[str, Any] | None] = [
    None,
    {"CC": ["q1"], "BCC": ["q2"]},
    {"a": 1, "b": [1, {"c": None}], "d": {"e": 1.5, "f": True}},
    {"x-match": "any", "a": 1},
    {"x-death": [{"queue": "q0", "reason": "expired", "count": 1}]},
]

Session = list[bytes]


def handshake(heartbeat: int = 0, frame_max: int = 131072) -> Session:
    """The way in, and two channels."""
    capabilities: dict[str, Any] = {"capabilities": {"consumer_cancel_notify": True, "authentication_failure_close": True}}
    frames: list[tuple[int, FrameTypes]] = [
        (0, Connection.StartOk(capabilities, "PLAIN", "\0guest\0guest", "en_US")),
        (0, Connection.TuneOk(2047, frame_max, heartbeat)),
        (0, Connection.Open("/")),
        (1, Channel.Open()),
        (2, Channel.Open()),
    ]
    return [PROTOCOL_HEADER, *(marshal(frame, channel) for channel, frame in frames)]


def content(rng: random.Random, channel: int, size: int | None = None) -> Session:
    """A message, in one frame or in several."""
    size = rng.choice([0, 1, 10, 200, 5000]) if size is None else size
    properties = Basic.Properties(
        headers=rng.choice(HEADERS),
        expiration=rng.choice([None, None, "0", "10"]),
        priority=rng.choice([None, 3]),
        delivery_mode=rng.choice([None, 2]),
        reply_to=rng.choice([None, None, "amq.rabbitmq.reply-to"]),
        user_id=rng.choice([None, "guest"]),
        message_id=rng.choice([None, "m"]),
    )
    publish = Basic.Publish(exchange=rng.choice(EXCHANGES[:6]), routing_key=rng.choice(KEYS), mandatory=rng.random() < 0.3)
    body = bytes(size)
    cut = rng.randrange(size + 1)
    frames: list[FrameTypes] = [publish, ContentHeader(body_size=size, properties=properties)]
    frames += [ContentBody(part) for part in (body[:cut], body[cut:]) if part]
    return [marshal(frame, channel) for frame in frames]


def _methods(rng: random.Random) -> Sequence[Callable[[], Frame]]:
    queue, exchange, key = rng.choice(QUEUES), rng.choice(EXCHANGES), rng.choice(KEYS)
    yes, no, tag = rng.random() < 0.5, rng.random() < 0.5, rng.randrange(0, 6)
    table = rng.choice(TABLES)
    return [
        lambda: Queue.Declare(queue=queue, exclusive=yes, auto_delete=no, arguments=table),
        lambda: Queue.Declare(queue=queue, durable=True, arguments=table),
        lambda: Queue.Declare(queue=queue, passive=True),
        lambda: Queue.Bind(queue=queue, exchange=exchange, routing_key=key, arguments=rng.choice(HEADERS)),
        lambda: Queue.Unbind(queue=queue, exchange=exchange, routing_key=key),
        lambda: Queue.Purge(queue=queue, nowait=yes),
        lambda: Queue.Delete(queue=queue, if_unused=yes, if_empty=no),
        lambda: Exchange.Declare(exchange=exchange, exchange_type=rng.choice(TYPES), auto_delete=yes, internal=no),
        lambda: Exchange.Declare(exchange="x1", arguments={"alternate-exchange": "x2"}, auto_delete=yes),
        lambda: Exchange.Bind(destination="x1", source=exchange, routing_key=key),
        lambda: Exchange.Unbind(destination="x1", source=exchange, routing_key=key),
        lambda: Exchange.Delete(exchange=exchange, if_unused=yes),
        lambda: Basic.Qos(0, tag, yes),
        lambda: Basic.Consume(queue=queue, no_ack=yes, exclusive=rng.random() < 0.1, arguments={"x-priority": tag}),
        lambda: Basic.Consume(queue="amq.rabbitmq.reply-to", no_ack=True),
        lambda: Basic.Consume(queue=queue, consumer_tag="tag", no_ack=no),
        lambda: Basic.Cancel(consumer_tag="tag", nowait=yes),
        lambda: Basic.Get(queue=queue, no_ack=yes),
        lambda: Basic.Ack(tag, yes),
        lambda: Basic.Nack(tag, yes, no),
        lambda: Basic.Reject(tag, yes),
        lambda: Basic.Recover(True),
        Tx.Select,
        Tx.Commit,
        Tx.Rollback,
        Confirm.Select,
        lambda: Channel.Flow(True),
    ]


def honest_steps(rng: random.Random, count: int) -> list[Session]:
    """So many things that clients do, each of one frame or, with content, of several; the order need not make sense."""
    steps: list[Session] = []
    while len(steps) < count:
        channel = rng.choice([1, 1, 1, 2])
        draw = rng.random()
        if draw < 0.35:
            steps.append(content(rng, channel))
        elif draw < 0.37:
            steps.append([marshal(Heartbeat(), 0)])
        elif draw < 0.38:
            steps.append([marshal(rng.choice([Connection.UpdateSecret("s", "r"), Connection.Close(200, "", 0, 0)]), 0)])
        else:
            try:
                steps.append([marshal(rng.choice(_methods(rng))(), channel)])
            except ValueError:  # the codec refuses a combination of arguments
                continue
    return steps


def set_up() -> Session:
    """Queues, bindings and consumers that give what follows something to hit."""
    frames: list[FrameTypes] = [
        Exchange.Declare(exchange="x0", exchange_type="topic", auto_delete=True),
        *(Queue.Declare(queue=f"q{n}", exclusive=True, arguments=TABLES[n + 4]) for n in range(3)),
        *(Queue.Bind(queue=f"q{n}", exchange="x0", routing_key="#") for n in range(3)),
        Basic.Qos(0, 2, False),
        Basic.Consume(queue="q0", consumer_tag="tag"),
        commands.Confirm.Select(),
    ]
    return [marshal(frame, 1) for frame in frames]
