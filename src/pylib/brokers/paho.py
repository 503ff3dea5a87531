"""The MQTT port: paho-mqtt driven by our own loop, without a thread of its own and without polling."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.backoff import Reconnector
from pylib.brokers.dial import Dial, explain
from pylib.brokers.mqtt_values import MqttOptions, connect_properties, delivery_fields, publish_properties
from pylib.brokers.mqtt_wire import MqttStream
from pylib.brokers.port import Delivery, Expired, Outgoing, PortOwner
from pylib.brokers.topics import check_filter, check_topic
from pylib.errors import AccessRefused, ConnectFailed, ConnectionLost, DependencyError, Rejected
from pylib.runtime.loop import READ, WRITE, Loop, Timer

__all__ = ["PahoPort"]

log = logging.getLogger("pylib.mqtt")

_UNSUPPORTED_VERSION: Final = 132  # MQTT 5 section 4.13
_REFUSALS: Final = frozenset((0x86, 0x87, 0x8A, 0x8C, 0x85))  # bad user, not authorized, banned, bad method, bad id
_GRANTED: Final = 2  # SUBACK: reason codes up to this are the granted QoS (MQTT 5 section 3.9.3)


class _Client(Client):
    """Paho's client on a socket that was connected for it."""

    prepared: MqttStream | None = None

    def _create_socket(self) -> Any:  # paho's own hook for other transports
        return self.prepared


class PahoPort:
    """Keeps one MQTT connection. Belongs to the loop's thread; see ``Port`` for what it promises.

    MQTT 5 first; where the broker refuses it, 3.1.1 from then on, said once. QoS 2 deliveries are acknowledged by Paho
    on arrival, so only QoS 0 and 1 can be held back until their work is done.
    """

    def __init__(self, options: MqttOptions) -> None:
        for topic_filter, _ in options.subscriptions:
            check_filter(topic_filter)
        self._options = options
        self._loop: Loop
        self._owner: PortOwner
        self._client: _Client | None = None
        self._socket: MqttStream | None = None
        self._dial: Dial | None = None
        self._reconnector: Reconnector[Address] | None = None
        self._address = options.addresses[0]
        self._protocol = MQTTv5
        self._fell_back = False
        self._epoch = 0
        self._up = False
        self._consuming = True
        self._closing = False
        self._watching_write = False
        # What the loop watches: paho closes its socket by itself when it finds the connection gone, and a closed socket
        # cannot say any more which descriptor it was.
        self._descriptor: int | None = None
        # Published and not answered, in order: packet id -> (message, token). Kept across connections.
        self._unsettled: dict[int, tuple[Outgoing, object]] = {}
        # To be published again on the next connection, before anything new.
        self._again: deque[tuple[Outgoing, object]] = deque()
        # QoS 0 goes to the socket and is done: answered at the end of the batch.
        self._sent: list[object] = []
        self._filters: dict[int, tuple[str, ...]] = {}
        self._timer: Timer | None = None
        self._handshake_timer: Timer | None = None
        self._closed: Callable[[], None] = _nobody

    # -- what the owner asks -----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"MQTT broker at {self._address.host}:{self._address.port}"

    @property
    def up(self) -> bool:
        return self._up

    @property
    def room(self) -> int:
        if not self._up or self._again:
            return 0
        return self._options.window - len(self._unsettled) - len(self._sent)

    @property
    def unsettled(self) -> int:
        return len(self._unsettled) + len(self._again) + len(self._sent)

    @property
    def version(self) -> str:
        """The protocol spoken: "5" or "3.1.1"."""
        return "5" if self._protocol == MQTTv5 else "3.1.1"

    def open(self, loop: Loop, owner: PortOwner) -> None:
        self._loop, self._owner = loop, owner
        self._reconnector = Reconnector(loop, self._options.addresses, self._connect, self._options.back_off)
        self._reconnector.start()

    def publish(self, message: Outgoing, token: object) -> None:
        check_topic(message.address)
        if message.qos and (self._again or not self._up):
            self._again.append((message, token))
        else:
            self._send(message, token)

    def settle(self, deliveries: Sequence[Delivery], *, accept: bool = True) -> None:
        sock, epoch = self._socket, self._epoch
        if sock is None or not accept:
            return  # unacknowledged, the broker delivers it again on the next connection
        sock.acknowledge([delivery.tag for delivery in deliveries if delivery.epoch == epoch and delivery.tag])
        self._loop.defer(self._flush)

    def stop_consuming(self) -> None:
        # Not unsubscribed: that would end the session's subscription, and what arrives while we are away with it. The
        # deliveries under way are dropped unacknowledged, so the broker keeps them.
        self._consuming = False

    def close(self, on_closed: Callable[[], None]) -> None:
        self._closing = True
        self._stop_trying()
        client, self._closed = self._client, on_closed
        if client is None or not self._up:
            self._finish_close()
            return
        goodbye = self._options.close_message or self._options.last_will
        if goodbye is not None:
            client.publish(goodbye.topic, goodbye.payload, goodbye.qos, goodbye.retain)
        client.disconnect()
        self._flush()
        self._finish_close()

    def abort(self) -> None:
        self._closing = True
        self._stop_trying()
        self._drop()
        self._fail_unsettled()

    # -- connecting --------------------------------------------------------------------------------------------------

    def _connect(self, address: Address) -> None:
        self._address = address
        options = self._options
        try:
            tls = (options.tls or TlsOptions()).context() if address.tls else None
        except Exception as error:
            self._failed(explain(error, self.name))
            return
        self._dial = Dial(self._loop, address, tls, options.connect_timeout, self.name, self._dialled)

    def _dialled(self, sock: socket.socket | None, error: DependencyError | None) -> None:
        self._dial = None
        if sock is None:
            self._failed(error or ConnectFailed(f"{self.name}: no connection"))
            return
        self._epoch += 1
        self._socket = MqttStream(sock, self._protocol == MQTTv5)
        self._client = client = self._make_client(self._socket)
        self._descriptor = sock.fileno()
        self._loop.watch(self._descriptor, READ, self._ready)
        self._handshake_timer = self._loop.call_later(self._options.connect_timeout, self._no_connack)
        expiry = self._options.session_expiry
        if self._protocol == MQTTv5:
            properties = connect_properties(self._options)
            # Without clean_start=False MQTT 5 drops a live session, its queue included.
            client.connect(self._address.host, self._address.port, self._options.keepalive, clean_start=not expiry,
                           properties=properties)  # fmt: skip
        else:
            client.connect(self._address.host, self._address.port, self._options.keepalive)
        self._flush()

    def _make_client(self, sock: MqttStream) -> _Client:
        options, address = self._options, self._address
        # On MQTT 5 the choice is made by connect() instead, and paho refuses it here.
        clean_session = None if self._protocol == MQTTv5 else not options.session_expiry
        client = _Client(
            CallbackAPIVersion.VERSION2, options.client_id, clean_session, protocol=self._protocol, manual_ack=True,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.prepared = sock
        if address.user is not None:
            client.username_pw_set(address.user, address.password.reveal() if address.password else None)
        if options.last_will is not None:
            will = options.last_will
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.max_inflight_messages_set(0)  # the window is counted here; paho's own queue would hide what waits
        client.max_queued_messages_set(0)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        # A closed descriptor in a poller makes it spin, and its number may soon be somebody else's.
        client.on_socket_close = lambda _client, _data, _sock: self._unwatch() if _client is self._client else None
        # With this hook paho leaves the writing to us: one write per batch instead of one per packet.
        client.on_socket_register_write = lambda _client, _data, _sock: self._loop.defer(self._flush)
        return client

    def _no_connack(self) -> None:
        self._lost(ConnectFailed(f"{self.name}: it accepted the connection and did not answer; is it an MQTT port?"))

    def _on_connect(self, client: Client, data: object, flags: Any, reason: ReasonCode, properties: object) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        if reason.is_failure:
            self._refused(reason)
            return
        self._watch_pulse()
        subscriptions = [(topic, qos) for topic, qos in self._options.subscriptions]
        if not subscriptions:
            self._ready_to_work()
            return
        wanted = [(t, SubscribeOptions(qos=q)) for t, q in subscriptions] if self._protocol == MQTTv5 else subscriptions
        _, mid = client.subscribe(wanted)
        if mid is not None:
            self._filters[mid] = tuple(topic for topic, _ in subscriptions)

    def _refused(self, reason: ReasonCode) -> None:
        value = int(reason.value)
        if value == _UNSUPPORTED_VERSION and self._protocol == MQTTv5:
            self._fall_back("it speaks no MQTT 5")
            return
        user = f"user {self._address.user!r}" if self._address.user else "a client without user name"
        if value in _REFUSALS:
            problem = f"{user} (client id {self._options.client_id!r}) was refused: {reason}; check user, password and id"
            self._lost(AccessRefused(f"{self.name}: {problem}"))
        else:
            self._lost(ConnectFailed(f"{self.name}: it answered {str(reason)!r}"))

    def _fall_back(self, why: str) -> None:
        if not self._fell_back:
            self._fell_back = True
            log.warning("%s: %s; going on with MQTT 3.1.1.", self.name, why)
        self._protocol = MQTTv311
        self._drop()
        self._loop.post(lambda: self._connect(self._address) if not self._closing else None)

    def _on_subscribe(self, client: Client, data: object, mid: int, reasons: list[ReasonCode], props: object) -> None:
        filters = self._filters.pop(mid, ())
        denied = [topic for topic, reason in zip(filters, reasons, strict=False) if int(reason.value) > _GRANTED]
        if denied:
            self._lost(
                AccessRefused(f"{self.name}: it refused the subscription to {', '.join(denied)}; check the user's permissions")
            )
            return
        if not self._up:
            self._ready_to_work()

    def _ready_to_work(self) -> None:
        self._up = True
        if self._reconnector is not None:
            self._reconnector.succeeded()
        birth = self._options.birth
        if birth is not None and self._client is not None:
            self._client.publish(birth.topic, birth.payload, birth.qos, birth.retain)
        again, self._again = self._again, deque()
        for message, token in again:
            self._send(message, token)
        self._owner.on_up()
        if self.room > 0:
            self._owner.on_room()

    # -- losing the connection ---------------------------------------------------------------------------------------

    def _on_disconnect(self, client: Client, data: object, flags: Any, reason: ReasonCode, properties: object) -> None:
        if client is self._client and not self._closing:
            self._loop.post(lambda: self._gone(client, reason))

    def _gone(self, client: Client, reason: ReasonCode) -> None:
        if client is not self._client:
            return
        if not self._up and self._protocol == MQTTv5 and not self._fell_back and self._handshake_timer is not None:
            if self._handshake_timer.call is not None:  # hung up on our CONNECT without a word: an old broker's no
                self._fall_back("it hung up on an MQTT 5 greeting")
                return
        text = f": {reason}" if reason.is_failure and str(reason) != "Unspecified error" else ""
        self._lost(ConnectionLost(f"{self.name}: the connection was lost{text}"))

    def _lost(self, error: DependencyError) -> None:
        self._drop()
        self._failed(error)

    def _failed(self, error: DependencyError) -> None:
        if self._closing or self._reconnector is None:
            return
        delay = self._reconnector.failed(error)
        self._owner.on_down(error, delay)

    def _drop(self) -> None:
        """Let go of the connection; what was published and not answered waits for the next one, in order."""
        self._up = False
        client, self._client = self._client, None
        sock, self._socket = self._socket, None
        self._watching_write = False
        for timer in (self._timer, self._handshake_timer):
            if timer is not None:
                timer.cancel()
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._unwatch()
        if sock is not None:
            sock.close()
        if client is not None:
            client.on_disconnect = None
        self._filters.clear()
        self._again.extendleft(reversed(self._unsettled.values()))
        self._unsettled.clear()
        self._report_sent()

    def _unwatch(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._loop.unwatch(descriptor)

    def _stop_trying(self) -> None:
        if self._reconnector is not None:
            self._reconnector.cancel()

    def _finish_close(self) -> None:
        self._drop()
        self._fail_unsettled()
        self._closed()

    def _fail_unsettled(self) -> None:
        error = ConnectionLost(f"{self.name}: the connection was closed before this message was acknowledged")
        again, self._again = self._again, deque()
        for _, token in again:
            self._owner.on_outcome(token, error)

    # -- messages ----------------------------------------------------------------------------------------------------

    def _send(self, message: Outgoing, token: object) -> None:
        client = self._client
        if message.expires_at is not None and message.expires_at <= self._loop.time():
            self._owner.on_outcome(token, Expired(f"{message.address}: it expired before it could be sent"))
            return
        if client is None or not self._up:
            self._owner.on_outcome(token, ConnectionLost(f"{self.name}: not connected"))
            return
        properties = publish_properties(message, self._loop.time()) if self._protocol == MQTTv5 else None
        try:
            info = client.publish(message.address, message.body, message.qos, message.retain, properties)
        except ValueError as error:  # paho's word for a topic or payload that no packet can hold
            self._owner.on_outcome(token, Rejected(f"{message.address}: {error}"))
            return
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            self._owner.on_outcome(token, Rejected(f"{message.address}: {info.rc.name}"))
        elif message.qos:
            self._unsettled[info.mid] = (message, token)
        else:
            self._sent.append(token)
            self._loop.defer(self._flush)

    def _on_publish(self, client: Client, data: object, mid: int, reason: ReasonCode, properties: object) -> None:
        # Runs under paho's lock: look up, hand over, take nothing.
        found = self._unsettled.pop(mid, None)
        if found is None:
            return
        error = Rejected(f"{found[0].address}: the broker refused it: {reason}") if reason.is_failure else None
        self._owner.on_outcome(found[1], error)
        self._loop.defer(self._offer_room)

    def _offer_room(self) -> None:
        if self.room > 0:
            self._owner.on_room()

    def _on_publish_packet(
        self, topic: str | bytes, payload: bytes, qos: int, packet_id: int, dup: bool, retained: bool,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        """A PUBLISH of QoS 0 or 1, straight from the stream."""
        if not self._consuming:
            return
        if isinstance(topic, bytes):
            log.warning("%s: a message on a topic that is not UTF-8 was set aside (MQTT 5 section 1.5.4).", self.name)
            if packet_id and self._socket is not None:
                self._socket.acknowledge((packet_id,))
                self._loop.defer(self._flush)
        elif properties is None:
            self._owner.on_delivery(
                Delivery(topic, payload, packet_id, self._epoch, redelivered=dup, retained=retained, qos=qos)
            )
        else:
            self._owner.on_delivery(
                Delivery(topic, payload, packet_id, self._epoch, redelivered=dup, retained=retained, qos=qos,
                         **delivery_fields(properties, self._loop.time()))
            )  # fmt: skip

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        """A message of QoS 2, which paho sees through its four steps."""
        if not self._consuming:
            return
        fields = delivery_fields(message.properties, self._loop.time()) if message.properties is not None else {}
        self._owner.on_delivery(
            Delivery(message.topic, bytes(message.payload), 0, self._epoch, redelivered=message.dup,
                     retained=message.retain, qos=message.qos, **fields)
        )  # fmt: skip

    # -- the descriptor ----------------------------------------------------------------------------------------------

    def _ready(self, mask: int) -> None:
        client, sock = self._client, self._socket
        if client is None or sock is None:
            return
        if mask & WRITE:
            self._flush()
        if not mask & ~WRITE:
            return

        def control() -> bool:
            return client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS and self._client is client

        try:
            stands = sock.feed(self._on_publish_packet, control)
        except OSError as error:
            self._lost(ConnectionLost(f"{self.name}: the connection was lost ({error.strerror or error})"))
            return
        if stands and sock.more:  # no poll reports it, so come back for it after the others had their turn
            self._loop.post(lambda: self._ready(READ) if self._client is client else None)

    def _flush(self) -> None:
        """Write what paho has queued, in one piece, and watch for room when the broker is slow to take it."""
        client, sock = self._client, self._socket
        if client is None or sock is None:
            self._report_sent()
            return
        try:
            while True:
                if client.want_write():
                    client.loop_write()
                if self._client is not client or client.socket() is None:
                    return
                done = sock.flush()
                # The socket takes a bounded piece at a time: what paho still holds goes the same way, or waits for room.
                if not done or not client.want_write():
                    break
        except OSError as error:
            self._lost(ConnectionLost(f"{self.name}: the connection was lost ({error.strerror or error})"))
            return
        if done == self._watching_write:
            self._watching_write = not done
            self._loop.watch(sock.fileno(), READ if done else READ | WRITE, self._ready)
        if done:
            self._report_sent()

    def _report_sent(self) -> None:
        sent, self._sent = self._sent, []
        for token in sent:
            self._owner.on_outcome(token, None)
        if sent:
            self._offer_room()

    def _watch_pulse(self) -> None:
        """Have paho send its PINGREQ and notice a missing PINGRESP, a few times per keep-alive."""
        client = self._client
        if client is not None:
            client.loop_misc()
            self._timer = self._loop.call_later(max(0.5, self._options.keepalive / 4), self._watch_pulse)


def _nobody() -> None:
    """Nobody waits for the close."""
