"""Takes frames and spoils them, in the ways that servers have been caught by."""

from __future__ import annotations

import random
import struct
from datetime import UTC, datetime
from typing import Any

from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from tests.fuzz.amqp.sessions import EXCHANGES, KEYS, QUEUES, TABLES, Session

Properties = Basic.Properties
# Arguments and headers that mean something to the broker.
NAMES = [
    "x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-overflow", "x-dead-letter-exchange",
    "x-dead-letter-routing-key", "x-max-priority", "x-single-active-consumer", "x-queue-type", "x-delivery-limit",
    "x-priority", "x-match", "alternate-exchange", "CC", "BCC", "x-death", "x-cancel-on-ha-failover",
]  # fmt: skip

_EDGES = [0, 1, 0x7F, 0x80, 0xFE, 0xFF]
_WIDE = [0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF]
_TYPES = b"tbBsuIilLfdDSATFVx\x00Qz"


def sealed(frame: bytes, payload: bytes) -> bytes:
    """The frame's type and channel around another payload, with the right length and end."""
    return frame[:3] + struct.pack(">I", len(payload)) + payload + b"\xce"


def spoiled(rng: random.Random, frame: bytes, others: Session) -> bytes:
    """One frame, changed. The result need not be a frame at all; in half of the cases it is, with a field of its own."""
    if rng.random() < 0.5:
        changed = _another_field(rng, frame)
        if changed is not None:
            return changed
    draw = rng.random()
    if len(frame) < 9 or draw < 0.15:
        return _broken_shell(rng, frame)
    payload = bytearray(frame[7:-1])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        _spoil_payload(rng, payload, others)
    return sealed(_moved(rng, frame) if draw < 0.25 else frame, bytes(payload))


def _another_field(rng: random.Random, frame: bytes) -> bytes | None:
    """The same method or header with other values in it, all of the right type."""
    try:
        _, channel, value = unmarshal(frame)
    except Exception:  # what the codec cannot read is for the other mutations
        return None
    target: Frame | Properties
    if isinstance(value, ContentHeader):
        target = value.properties
        if rng.random() < 0.1:
            value.body_size = rng.choice([0, 1, value.body_size + 1, *_WIDE])
    elif isinstance(value, Frame):
        target = value
    else:
        return None
    for name in rng.sample(target.attributes(), min(len(target.attributes()), rng.choice([1, 1, 2, 3]))):
        setattr(target, name, _value(rng, target.amqp_type(name)))
    try:
        return marshal(value, channel)
    except (ValueError, TypeError, struct.error, AttributeError):
        return None


def _value(rng: random.Random, kind: str) -> Any:
    if kind == "bit":
        return rng.random() < 0.5
    if kind == "octet":
        return rng.choice(_EDGES)
    if kind == "short":
        return rng.choice([0, 1, 2, 0x7FFF])
    if kind == "long":
        return rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
    if kind == "longlong":
        return rng.choice([0, 1, 2, 3, 4, 0x7FFFFFFFFFFFFFFF])
    if kind == "timestamp":
        return datetime.fromtimestamp(rng.choice([0, 1, 2_000_000_000]), UTC)
    if kind == "table":
        return _table(rng, 0)
    return rng.choice([*QUEUES, *EXCHANGES, *KEYS, "tag", "amq.rabbitmq.reply-to", "-1", "10", "x" * 255, "guest", "nobody"])


def _table(rng: random.Random, depth: int) -> dict[str, Any]:
    table = dict(rng.choice(TABLES))
    for _ in range(rng.choice([0, 1, 2, 5])):
        name = rng.choice([*NAMES, "a", "k" * 100])
        table[name] = rng.choice([0, 1, -1, 300, 2**40, "", "text", "q0", True, None, 1.5, [1, "a"], b"\xff"])
        if depth < 3 and rng.random() < 0.2:
            table[name] = _table(rng, depth + 1)
    return table


def _moved(rng: random.Random, frame: bytes) -> bytes:
    """Another type or another channel."""
    if rng.random() < 0.5:
        return bytes([rng.choice([1, 2, 3, 8, 0, 4, 255])]) + frame[1:]
    return frame[:1] + struct.pack(">H", rng.choice([0, 1, 2, 3, 2047, 2048, 65535])) + frame[3:]


def _broken_shell(rng: random.Random, frame: bytes) -> bytes:
    """Wrong lengths, ends, and bytes that are no frame."""
    how = rng.randrange(7)
    if how == 0:
        return frame[: rng.randrange(len(frame) + 1)]
    if how == 1:
        return frame[:3] + struct.pack(">I", rng.choice(_WIDE) & 0xFFFFFFFF) + frame[7:]
    if how == 2:
        return frame[:-1] + bytes([rng.randrange(256)])
    if how == 3:
        return frame + rng.randbytes(rng.randrange(1, 20))
    if how == 4:
        return rng.randbytes(rng.randrange(1, 40))
    if how == 5:
        return b"AMQP\x00\x00\x09\x01"
    data = bytearray(frame)
    data[rng.randrange(len(data))] = rng.choice(_EDGES)
    return bytes(data)


def _spoil_payload(rng: random.Random, payload: bytearray, others: Session) -> None:
    if not payload:
        payload += rng.randbytes(rng.randrange(5))
        return
    at = rng.randrange(len(payload))
    how = rng.randrange(11)
    if how == 0:
        payload[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        payload[at] = rng.choice(_EDGES)
    elif how == 2:
        del payload[at : at + rng.randrange(1, 9)]
    elif how == 3:
        payload[at:at] = rng.randbytes(rng.randrange(1, 9))
    elif how == 4:
        width, pattern = rng.choice([(2, ">H"), (4, ">I"), (8, ">Q")])
        payload[at : at + width] = struct.pack(pattern, rng.choice(_WIDE) & ((1 << (8 * width)) - 1))
    elif how == 5:
        payload[at] = rng.choice(_TYPES)
    elif how == 6:
        del payload[at:]
    elif how == 7:
        payload[at:at] = payload[at : at + rng.randrange(1, 60)]
    elif how == 8:
        other = rng.choice(others)
        start = rng.randrange(len(other))
        payload[at:at] = other[start : start + rng.randrange(1, 40)]
    elif how == 9 and len(payload) >= 4:
        payload[0:4] = struct.pack(">HH", rng.choice([10, 20, 30, 40, 50, 60, 85, 90]), rng.choice(range(0, 130, 1)))
    else:
        # A table inside a table inside a table: depth has to be bounded somewhere.
        deep = b"V"
        for _ in range(rng.choice([3, 30, 300])):
            deep = b"F" + struct.pack(">I", len(deep) + 2) + b"\x01k" + deep
        payload[at:at] = struct.pack(">I", len(deep) + 2) + b"\x01k" + deep
