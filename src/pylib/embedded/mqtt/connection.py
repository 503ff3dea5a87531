"""One client's connection: what each packet leads to, and when the connection has to end. No sockets and no time here."""

from __future__ import annotations

import hmac
import logging
from typing import Final, Protocol

from pylib.embedded.mqtt import wire
from pylib.embedded.mqtt.broker import Broker
from pylib.embedded.mqtt.session import Session
from pylib.embedded.mqtt.wire import Answer, Connect, Disconnect, Malformed, Message, Publish, Subscribe, Unsubscribe

__all__ = ["Access", "Connection", "Socket"]

log = logging.getLogger("pylib.embedded")

#: Bytes of a CONNECT at most: five texts of 65,535 bytes each (section 3.1.3) and its header. Before it nobody is known.
MOST_CONNECT_BYTES: Final = 5 * 65_537 + 16
# The name is shown in the log, and a client may choose one of 65,535 bytes.
_SHOWN: Final = 60


class Access:
    """Who may connect: everybody, or one user. Its repr has no password."""

    __slots__ = ("_password", "_user")

    def __init__(self, user: str | None, password: str | None) -> None:
        self._user = None if user is None else user.encode()
        self._password = (password or "").encode()

    def allows(self, connect: Connect) -> bool:
        """Whether the user name and password of a CONNECT are right; takes as long for wrong ones as for right ones."""
        if self._user is None:
            return True
        same_user = hmac.compare_digest((connect.user or "").encode(), self._user)
        same_password = hmac.compare_digest(connect.password or b"", self._password)
        return same_user and same_password and connect.user is not None and connect.password is not None


class Socket(Protocol):
    """What the connection asks of the server below it."""

    @property
    def room(self) -> bool:
        """False while the client takes too little of what was written to it."""

    def write(self, data: bytes) -> None:
        """Send these bytes, soon and in order."""

    def close(self) -> None:
        """Send what was written, then close. Nothing that arrives afterwards is read."""


class Connection:
    """The state of one connection; see ``Line`` for what sessions ask of it. For one thread."""

    __slots__ = ("_access", "_broker", "_ended", "_reader", "_session", "_socket", "_will", "keep_alive", "write")

    def __init__(self, broker: Broker, access: Access, socket: Socket) -> None:
        self._broker = broker
        self._access = access
        self._socket = socket
        self._reader = wire.Reader(min(MOST_CONNECT_BYTES, broker.limits.packet_bytes))
        self._session: Session | None = None
        self._will: Message | None = None
        self._ended = False
        self.write = socket.write
        #: Seconds after which a silent client is cut off; 0: never (section 3.1.2.10).
        self.keep_alive = 0.0

    @property
    def room(self) -> bool:
        return self._socket.room

    @property
    def greeted(self) -> bool:
        """Whether the client has sent its CONNECT and was let in."""
        return self._session is not None

    @property
    def who(self) -> str:
        """The client as the log names it."""
        if self._session is None:
            return "an MQTT client that has not said who it is"
        client_id = self._session.client_id
        return f"MQTT client {client_id[:_SHOWN]!r}{'...' if len(client_id) > _SHOWN else ''}"

    def received(self, data: bytes) -> None:
        """Bytes have arrived. What breaks the rules ends the connection, and nothing is raised."""
        try:
            for first, body in self._reader.feed(data):
                if self._ended:
                    return
                self._handle(wire.parse(first, body))
        except wire.VersionRefused as version:
            if self._session is not None:
                self.end("it sent a second CONNECT (section 3.1)")
                return
            log.debug("An MQTT client speaks %s, and this broker 3.1.1.", version)
            self._refuse(wire.UNACCEPTABLE_VERSION)
        except Malformed as problem:
            self.end(f"it sent {problem}")

    def drained(self) -> None:
        """The client takes bytes again."""
        if self._session is not None:
            self._session.pump()

    def lost(self) -> None:
        """The connection has gone without a word."""
        self._finish()

    def end(self, reason: str) -> None:
        """Close the connection because of something; the last will is published."""
        if not self._ended:
            log.log(logging.DEBUG if self._session is None else logging.INFO, "Closing %s: %s.", self.who, reason)
            self._finish()
            self._socket.close()

    # -- packets -----------------------------------------------------------------------------------------------------

    def _handle(self, packet: wire.Packet) -> None:
        session = self._session
        if session is None:
            if isinstance(packet, Connect):  # the reader gives nothing else before it
                self._connect(packet)
        elif isinstance(packet, Publish):
            self._publish(session, packet)
        elif isinstance(packet, Answer):
            self._answer(session, packet)
        elif isinstance(packet, Subscribe):
            granted = bytes(self._broker.subscribe(session, *wanted) for wanted in packet.filters)
            self.write(wire.suback(packet.packet_id, granted))
            for (topic_filter, _), qos in zip(packet.filters, granted, strict=True):
                if qos != wire.FAILURE:
                    self._broker.send_retained(session, topic_filter, qos)
        elif isinstance(packet, Unsubscribe):
            for topic_filter in packet.filters:
                self._broker.unsubscribe(session, topic_filter)
            self.write(wire.unsuback(packet.packet_id))
        elif isinstance(packet, Disconnect):
            self._will = None  # section 3.14.4
            self._finish()
            self._socket.close()
        elif isinstance(packet, Connect):
            self.end("it sent a second CONNECT (section 3.1)")
        else:
            self.write(wire.PINGRESP)

    def _connect(self, connect: Connect) -> None:
        if not self._access.allows(connect):
            log.info("An MQTT client is refused: its user name or password is wrong.")
            self._refuse(wire.NOT_AUTHORIZED)
            return
        if not connect.client_id and not connect.clean:
            self._refuse(wire.BAD_CLIENT_ID)  # section 3.1.3.1
            return
        client_id = connect.client_id or self._broker.new_client_id()
        opened = self._broker.open_session(connect, client_id)
        if opened is None:
            self._refuse(wire.UNAVAILABLE)
            return
        self._session, present = opened
        self._will = connect.will
        self.keep_alive = connect.keep_alive * 1.5
        self._reader.most_bytes = self._broker.limits.packet_bytes
        self._reader.expected = wire.FROM_CLIENT
        self.write(wire.connack(wire.ACCEPTED, present))
        self._session.attach(self)

    def _publish(self, session: Session, packet: Publish) -> None:
        message = packet.message
        if message.qos == 2:
            if not session.receive(packet.packet_id, message):
                self.end("it sent more messages of QoS 2 than can be held until their PUBREL")
                return
            self.write(wire.answer(wire.PUBREC, packet.packet_id))
            return
        self._broker.publish(message)
        if message.qos:
            self.write(wire.answer(wire.PUBACK, packet.packet_id))

    def _answer(self, session: Session, packet: Answer) -> None:
        if packet.kind == wire.PUBACK:
            session.acknowledged(packet.packet_id)
        elif packet.kind == wire.PUBREC:
            session.recorded(packet.packet_id)
        elif packet.kind == wire.PUBCOMP:
            session.completed(packet.packet_id)
        else:
            message = session.release(packet.packet_id)
            if message is not None:
                self._broker.publish(message)
            self.write(wire.answer(wire.PUBCOMP, packet.packet_id))

    # -- the end -----------------------------------------------------------------------------------------------------

    def _refuse(self, code: int) -> None:
        self.write(wire.connack(code))
        self._finish()
        self._socket.close()

    def _finish(self) -> None:
        if self._ended:
            return
        self._ended = True
        session, will = self._session, self._will
        if session is not None:
            self._broker.close_session(session, self)
        if will is not None:
            self._will = None
            self._broker.publish(will)
