"""Our basic.publish against pika's own: the same frames, whatever the message carries."""

from __future__ import annotations

import pika
import pytest
from pika import frame, spec

from pylib.brokers.amqp_wire import PublishEncoder
from pylib.brokers.port import Header, Outgoing
from pylib.errors import Rejected

CHANNEL = 7
FRAME_MAX = 4096


def by_pika(message: Outgoing) -> bytes:
    """The frames that pika would send for it."""
    properties = pika.BasicProperties(
        content_type=message.content_type,
        headers=dict(message.headers) if message.headers else None,  # type: ignore[arg-type]  # the stubs know no bool
        delivery_mode=2 if message.qos else 1,
        message_id=message.message_id,
        timestamp=int(message.created_at) if message.created_at is not None else None,
    )
    method = spec.Basic.Publish(exchange="bench", routing_key=message.address, mandatory=message.mandatory)
    most = FRAME_MAX - 8
    parts = [frame.Method(CHANNEL, method).marshal(), frame.Header(CHANNEL, len(message.body), properties).marshal()]
    parts += [frame.Body(CHANNEL, message.body[at : at + most]).marshal() for at in range(0, len(message.body), most)]
    return b"".join(parts)


@pytest.mark.parametrize(
    "message",
    [
        Outgoing("a.b", b"body"),
        Outgoing("a.b", b""),
        Outgoing("a.b", b"x" * (FRAME_MAX * 2 + 1), qos=0, mandatory=True),
        Outgoing("a.b", b"body", "application/json", "id-1", 1_700_000_000.9, None, {"pylib-hops": 3}),
        Outgoing("ä.ö", b"body", headers={"ä": "ö", "n": None, "yes": True}),
        Outgoing("a.b", b"body", headers={"large": 2**40}),
    ],
)
def test_the_frames_are_those_that_pika_would_send(message: Outgoing) -> None:
    encoder = PublishEncoder(CHANNEL, "bench", FRAME_MAX)
    assert encoder.encode(message, None) == by_pika(message)
    assert encoder.encode(message, None) == by_pika(message)  # and again, from what it remembers


def test_a_lone_header_is_not_taken_for_an_equal_one_of_another_type() -> None:
    encoder = PublishEncoder(CHANNEL, "bench", FRAME_MAX)
    values: list[Header] = [1, True, "1", 0, False, -1, 255, 256, None]
    for _ in range(2):
        for value in values:
            message = Outgoing("a.b", b"body", headers={"n": value})
            assert encoder.encode(message, None) == by_pika(message)


def test_a_float_is_refused_since_pika_neither_sends_nor_reads_one_whole() -> None:
    encoder = PublishEncoder(CHANNEL, "bench", FRAME_MAX)
    with pytest.raises(Rejected, match=r"a\.b: its headers cannot be sent: .*1\.5"):
        encoder.encode(Outgoing("a.b", b"", headers={"n": 1.5}), None)


def test_what_it_remembers_stays_bounded_and_right() -> None:
    encoder = PublishEncoder(CHANNEL, "bench", FRAME_MAX)
    for number in range(5000):
        message = Outgoing(f"key.{number}", b"body", headers={f"header-{number}": 1})
        assert encoder.encode(message, None) == by_pika(message)


def test_a_property_that_amqp_cannot_hold_is_refused_by_name() -> None:
    encoder = PublishEncoder(CHANNEL, "bench", FRAME_MAX)
    with pytest.raises(Rejected, match=r"a\.b: its headers cannot be sent"):
        encoder.encode(Outgoing("a.b", b"", headers={"x" * 300: 1}), None)
    with pytest.raises(Rejected, match="longer than AMQP's 255"):
        encoder.encode(Outgoing("a.b", b"", message_id="x" * 256), None)
