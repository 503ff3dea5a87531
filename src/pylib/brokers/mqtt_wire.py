"""MQTT packets on the wire, as far as speed asks for it: PUBLISH of QoS 0 and 1 in, PUBACK out.

Everything else is paho's. Paho reads a packet in three calls and builds a table of properties for each message, which costs
three times what the whole rest of our way in does (docs/adr/0004). So this stream stands between the socket and paho: it
takes the PUBLISH packets out of what arrives and hands paho the rest.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pylib.brokers.dial import BufferedSocket

__all__ = ["MALFORMED", "MqttStream", "Publish"]

# What reading a packet that breaks the rules ends in, here and in paho (MQTT 5 section 4.13: the connection is closed).
MALFORMED: Final = (IndexError, KeyError, ValueError, AssertionError, struct.error, MQTTException)

_PUBLISH: Final = 0x30
_QOS_2: Final = 0x04
_MOST_LENGTH_BYTES: Final = 4  # MQTT 5 section 1.5.5
_PACKET_ID = struct.Struct("!H")

# (topic or its bytes if they are no UTF-8, payload, QoS, packet id, DUP, retained, properties)
Publish = Callable[["str | bytes", bytes, int, int, bool, bool, "Properties | None"], None]


class MqttStream(BufferedSocket):
    """A buffered socket that knows packets. ``feed`` takes in what has arrived; ``recv`` is for paho and gives only what
    ``feed`` left to it. For one thread.
    """

    __slots__ = ("_need", "_rest", "_version_5")

    def __init__(self, sock: socket.socket, version_5: bool) -> None:
        super().__init__(sock)
        self._rest = bytearray()  # the beginning of a packet whose end has not arrived
        self._need = 2
        self._version_5 = version_5

    def feed(self, on_publish: Publish, control: Callable[[], bool]) -> bool:
        """Read once from the socket and deal with every whole packet, in order: PUBLISH by ``on_publish``, any other by
        ``control()``, which has paho read it and says whether the connection still stands. Says whether it does.

        Raises OSError when the connection is gone, or what arrives on it cannot be MQTT.
        """
        try:
            data = self._socket.recv(self.READ_SIZE)
        except (BlockingIOError, *self.TLS_WAITS):
            return True
        if not data:
            self._closed_by_peer = True
            return control()  # paho finds the end of the stream, and says so in its own way
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._need:
                return True
            data = bytes(rest)
        at, size = 0, len(data)
        self._need = 2
        while at + 2 <= size:
            # Fixed header: type and flags, then the remaining length in one to four bytes (MQTT 5 section 2.1).
            length = data[at + 1]
            start = at + 2
            if length > 0x7F:
                length, start = _long_length(data, at + 1)
                if start == 0:
                    break
            end = start + length
            if end > size:
                self._need = end - at
                break
            kind = data[at]
            if kind & 0xF0 == _PUBLISH and not kind & _QOS_2:
                self._publish(kind, data, start, end, on_publish)
            else:
                self._in, self._at = data[at:end], 0
                if not control():
                    return False
            at = end
        if at < size or rest:
            self._rest = bytearray(data[at:])
        return True

    @property
    def more(self) -> bool:
        """Whether bytes wait in the TLS layer, which no poll on the descriptor would report."""
        return self.pending() > 0

    def recv(self, size: int) -> bytes:
        """For paho. Raises BlockingIOError when nothing is left to it, returns b"" when the peer has closed."""
        at = self._at
        if at >= len(self._in):
            if self._closed_by_peer:
                return b""
            raise BlockingIOError
        self._at = at + size
        return self._in[at : at + size]

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Queue one PUBACK for each packet id, in this order (MQTT 5 sections 3.4 and 4.6); ``flush`` sends them."""
        pack = _PACKET_ID.pack
        self._out += b"".join([b"\x40\x02" + pack(packet_id) for packet_id in packet_ids])

    def ping(self) -> None:
        """Queue a PINGREQ (MQTT 5 section 3.12); ``flush`` sends it. Paho takes the PINGRESP for its own."""
        self._out += b"\xc0\x00"

    def _publish(self, kind: int, data: bytes, start: int, end: int, on_publish: Publish) -> None:
        try:
            parts = self._parse(kind, data, start, end)
        except MALFORMED as error:
            raise ConnectionError(f"it sent a malformed PUBLISH: {type(error).__name__}") from error
        on_publish(*parts)

    def _parse(
        self, kind: int, data: bytes, start: int, end: int
    ) -> tuple[str | bytes, bytes, int, int, bool, bool, Properties | None]:
        # Topic, packet id where QoS is above 0, properties on MQTT 5, payload (MQTT 5 section 3.3).
        at = start + 2 + (data[start] << 8 | data[start + 1])
        topic: str | bytes = data[start + 2 : at]
        try:
            topic = topic.decode()  # type: ignore[union-attr]  # bytes until this line
        except UnicodeDecodeError:
            pass
        qos = (kind >> 1) & 1
        packet_id = 0
        if qos:
            packet_id = data[at] << 8 | data[at + 1]
            at += 2
        properties = None
        if self._version_5:
            if data[at]:
                properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
                at += properties.unpack(data[at:end])[1]  # type: ignore[no-untyped-call]  # the same
            else:
                at += 1
        if at > end:
            raise ValueError("a part of it is longer than the packet")
        return topic, data[at:end], qos, packet_id, bool(kind & 0x08), bool(kind & 0x01), properties


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """A remaining length of two to four bytes and where it ends; (0, 0) while it has not all arrived."""
    length = shift = 0
    for n in range(_MOST_LENGTH_BYTES):
        if at + n >= len(data):
            return 0, 0
        byte = data[at + n]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, at + n + 1
        shift += 7
    return 0, at + _MOST_LENGTH_BYTES  # malformed: paho gets it and hangs up
