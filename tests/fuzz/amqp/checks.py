"""Whether a connection ended by the book, told from the bytes that the broker sent."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Section 1.3 of AMQP 0-9-1 and RabbitMQ's own; 541 (internal error) would be a defect.
HARD = {320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 530, 540}
_CLOSE_OK = b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33"
SOFT = {311, 313, 403, 404, 405, 406}


@dataclass(frozen=True, slots=True)
class Ending:
    """What the broker had to say last.

    opened      Connection.OpenOk was sent
    close       code of the broker's Connection.Close, None: it sent none
    close_ok    the broker answered the client's Connection.Close
    """

    opened: bool
    close: int | None
    close_ok: bool


def read_all(output: bytes) -> Ending:
    """Decode every frame that the broker sent; raises AssertionError for anything that no client could read."""
    opened, close, close_ok = False, None, False
    at = 0
    if output[:5] == b"AMQP\x00":
        assert output == b"AMQP\x00\x00\x09\x01", "after its protocol header the broker has to be silent"
        return Ending(False, None, False)
    while at < len(output):
        # Two closes may cross: the broker's own is followed by its answer to the client's. Heartbeats go on until the end.
        assert close is None or output[at : at + 11] == _CLOSE_OK or output[at] == 8, (
            "something was sent after Connection.Close"
        )
        assert not close_ok, "something was sent after Connection.CloseOk"
        kind, channel, size = struct.unpack_from(">BHI", output, at)
        end = at + 7 + size
        assert end < len(output), "the last frame is cut off"
        assert output[end] == 0xCE, "a frame without its end"
        if kind == 1:
            class_id, method_id = struct.unpack_from(">HH", output, at + 7)
            if (class_id, method_id) == (10, 41):
                opened = True
            elif (class_id, method_id) == (10, 51):
                close_ok = True
            elif (class_id, method_id) in ((10, 50), (20, 40)):
                code, text = _close(output[at + 11 : end])
                if class_id == 10:
                    close = code
                assert code in (HARD if class_id == 10 else SOFT), f"closed with {code}: {text!r}"
                assert (class_id == 10) == (channel == 0), "a close on the wrong channel"
        at = end + 1
    return Ending(opened, close, close_ok)


def _close(arguments: bytes) -> tuple[int, bytes]:
    """Code and text. The text may quote a name that is no UTF-8: names are octets, in RabbitMQ too."""
    code, length = struct.unpack_from(">HB", arguments)
    assert len(arguments) == 3 + length + 4, "a close whose text has another length than it says"
    return code, arguments[3 : 3 + length]
