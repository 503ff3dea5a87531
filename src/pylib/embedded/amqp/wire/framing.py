"""A stream of bytes cut into frames, within the negotiated size, and the two frames that matter for speed."""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from pylib.embedded.amqp.wire.erlang import shown_bytes
from pylib.embedded.amqp.wire.errors import AmqpError

__all__ = ["FRAME_MIN", "Framer", "RawFrame", "content_frames", "snippet"]

#: (frame type, channel, payload)
RawFrame: TypeAlias = tuple[int, int, bytes]

#: Section 4.2.3 of AMQP 0-9-1: what every peer has to accept before anything was negotiated.
FRAME_MIN: Final = 4096
_OVERHEAD: Final = 8
_END: Final = 0xCE

_HEAD: Final = struct.Struct(">BHI")
_BODY_HEAD: Final = struct.Struct(">HI")


def snippet(payload: bytes) -> str:
    """How RabbitMQ shows the bytes it did not like: all of them, or the first sixteen."""
    if len(payload) <= 16:
        return f"all octets = {shown_bytes(payload)}"
    return f"first 16 octets = {shown_bytes(payload[:16])}"


class Framer:
    """Holds the bytes of the frame that has not come whole yet: at most one frame of ``frame_max``."""

    __slots__ = ("_need", "_rest", "frame_max")

    def __init__(self, frame_max: int) -> None:
        # 0 is no limit, and no server should have none: the caller passes one.
        self.frame_max = frame_max
        self._rest = bytearray()
        self._need = 0

    def feed(self, data: bytes) -> tuple[list[RawFrame], AmqpError | None]:
        """The frames that are whole now. With an error the stream is lost: nothing after it can be read."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:  # a frame that comes byte by byte is not looked at byte by byte
                return [], None
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[RawFrame] = []
        # frame-max counts the whole frame (section 4.2.3), but some clients cut their bodies by it, eight bytes too long, and
        # RabbitMQ lets those pass: so is it here.
        position, size, most = 0, len(data), self.frame_max
        unpack = _HEAD.unpack_from
        while size - position >= 7:
            kind, channel, length = unpack(data, position)
            if length > most:
                what = f"type {kind}, all octets = <<>>: {{frame_too_large,{length},{most - _OVERHEAD}}}"
                return frames, AmqpError(501, what)
            end = position + 7 + length
            if end >= size:
                self._need = end + 1 - position
                break
            payload = data[position + 7 : end]
            if data[end] != _END:
                what = f"type {kind}, {snippet(payload)}: {{invalid_frame_end_marker,{data[end]}}}"
                return frames, AmqpError(501, what)
            frames.append((kind, channel, payload))
            position = end + 1
        else:
            self._need = 7
        if position < size:
            self._rest += data[position:]
        return frames, None


def content_frames(channel: int, method: bytes, header: bytes, body: bytes, frame_max: int) -> bytes:
    """A method with its content as frames: the payloads are given, the body is cut as the peer can take it."""
    size = len(body)
    head = _HEAD.pack(1, channel, len(method)) + method + b"\xce" + _HEAD.pack(2, channel, len(header)) + header + b"\xce"
    if size == 0:
        return head
    most = frame_max - _OVERHEAD
    if size <= most:
        return b"".join((head, b"\x03", _BODY_HEAD.pack(channel, size), body, b"\xce"))
    parts = [head]
    for start in range(0, size, most):
        piece = body[start : start + most]
        parts += (b"\x03", _BODY_HEAD.pack(channel, len(piece)), piece, b"\xce")
    return b"".join(parts)
