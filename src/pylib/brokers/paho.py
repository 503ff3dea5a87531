"""The MQTT port: paho-mqtt driven by our own loop, without a thread of its own and without polling."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.backoff import Reconnector
from pylib.brokers.dial import Dial, explain
from pylib.brokers.liveness import PULSE_DEADLINE, PULSE_INTERVAL, Canary, MqttPulse
from pylib.brokers.mqtt_arrivals import Arrivals
from pylib.brokers.mqtt_client import PahoClient
from pylib.brokers.mqtt_reasons import UNSUPPORTED_VERSION, loss, refusal
from pylib.brokers.mqtt_subscriptions import Subscriptions
from pylib.brokers.mqtt_values import MqttOptions
from pylib.brokers.mqtt_wire import MALFORMED, MqttStream
from pylib.brokers.port import Delivery, Outgoing, PortOwner
from pylib.brokers.pubacks import PubAcks
from pylib.brokers.topics import check_topic
from pylib.errors import AccessRefused, ConnectFailed, ConnectionLost, DependencyError
from pylib.runtime.loop import READ, WRITE, Loop, Timer

__all__ = ["PahoPort"]

log = logging.getLogger("pylib.mqtt")


class PahoPort:
    """Keeps one MQTT connection. Belongs to the loop's thread; see ``Port`` for what it promises.

    MQTT 5 first; where the broker refuses it, 3.1.1 from then on, said once. QoS 2 deliveries are acknowledged by Paho
    on arrival, so only QoS 0 and 1 can be held back until their work is done.
    """

    def __init__(self, options: MqttOptions) -> None:
        self._options = options
        self._loop: Loop
        self._owner: PortOwner
        self._client: PahoClient | None = None
        self._socket: MqttStream | None = None
        self._dial: Dial | None = None
        self._reconnector: Reconnector[Address] | None = None
        self._address = options.addresses[0]
        self._protocol = MQTTv5
        self._fell_back = self._told_fall_back = False
        self._up = False
        self._closing = False
        self._watching_write = False
        # What the loop watches: paho closes its socket by itself when it finds the connection gone, and a closed socket
        # cannot say any more which descriptor it was.
        self._descriptor: int | None = None
        self._publisher = PubAcks(options.window, options.quarantine, self._flush)
        self._pulse: MqttPulse
        self._arrivals: Arrivals
        self._canary = Canary(options.client_id)
        self._subscriptions = Subscriptions(options.subscriptions, self._canary)
        self._timer: Timer | None = None
        self._handshake_timer: Timer | None = None

    # -- what the owner asks -----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"MQTT broker at {self._address.host}:{self._address.port}"

    @property
    def up(self) -> bool:
        return self._up

    @property
    def room(self) -> int:
        return self._publisher.room

    @property
    def unsettled(self) -> int:
        return self._publisher.unsettled

    @property
    def blocked(self) -> bool:
        return False  # MQTT has no such word: a broker that wants less withholds its PUBACK

    @property
    def blocked_since(self) -> float:
        return 0.0

    @property
    def version(self) -> str:
        """The protocol spoken: "5" or "3.1.1"."""
        return "5" if self._protocol == MQTTv5 else "3.1.1"

    def open(self, loop: Loop, owner: PortOwner) -> None:
        self._loop, self._owner = loop, owner
        self._publisher.bind(loop, owner)
        self._pulse = MqttPulse(
            loop, self._canary, lambda: self.name, self._ping, self._sing, self._deaf, PULSE_INTERVAL, PULSE_DEADLINE
        )
        self._arrivals = Arrivals(loop, owner, self._pulse, self._options.receive_maximum)
        self._reconnector = Reconnector(loop, self._options.addresses, self._connect, self._options.back_off)
        self._reconnector.start()

    def check(self, message: Outgoing) -> None:
        check_topic(message.address)

    def publish(self, message: Outgoing, token: object) -> None:
        self._publisher.publish(message, token)
        self._balance()

    def reclaim(self) -> list[tuple[Outgoing, object]]:
        return self._publisher.reclaim()

    def settle(self, deliveries: Sequence[Delivery], *, accept: bool = True) -> None:
        sock, epoch = self._socket, self._arrivals.epoch
        if sock is None or not accept:
            return  # unacknowledged, the broker delivers it again on the next connection
        tags = [delivery.tag for delivery in deliveries if delivery.epoch == epoch and delivery.tag]
        sock.acknowledge(tags)
        self._arrivals.owed -= len(tags)
        self._balance()
        self._loop.defer(self._flush)

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """Listen to these filters too, now and on every later connection. Raises ``Rejected`` for what is no filter."""
        new = self._subscriptions.add(filters)
        if self._client is not None and self._subscriptions.begun:
            self._subscriptions.ask(self._client, new)
            self._loop.defer(self._flush)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Listen to these filters no longer."""
        gone = self._subscriptions.remove(filters)
        if gone and self._client is not None and self._subscriptions.begun:
            self._client.unsubscribe(gone)
            self._loop.defer(self._flush)

    def stop_consuming(self) -> None:
        self._arrivals.wanted = False

    def close(self, on_closed: Callable[[], None]) -> None:
        self._closing = True
        client = self._client
        if client is not None and self._up:
            goodbye = self._options.close_message or self._options.last_will
            if goodbye is not None:
                client.publish(goodbye.topic, goodbye.payload, goodbye.qos, goodbye.retain)
            client.disconnect()
            self._flush()
        self.abort()
        on_closed()

    def abort(self) -> None:
        self._closing = True
        if self._reconnector is not None:
            self._reconnector.cancel()
        self._drop()
        error = ConnectionLost(f"{self.name}: the connection was closed before this message was acknowledged")
        self._publisher.fail_all(error)

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
        self._arrivals.connected()
        self._socket = MqttStream(sock, self._protocol == MQTTv5)
        self._client = client = self._make_client(self._socket)
        self._descriptor = sock.fileno()
        self._loop.watch(self._descriptor, READ, self._ready)
        self._handshake_timer = self._loop.call_later(self._options.connect_timeout, self._no_connack)
        client.greet(self._options, self._address)
        self._flush()

    def _make_client(self, sock: MqttStream) -> PahoClient:
        client = PahoClient.made(self._options, self._address, self._protocol, sock)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: self._arrivals.message(message)
        client.on_publish = lambda _client, _data, mid, reason, _props: self._publisher.acknowledged(mid, reason)
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
        self._publisher.most_bytes = getattr(properties, "MaximumPacketSize", None)  # MQTT 5 section 3.2.2.3.6
        self._canary.fresh()
        if self._client is not None and not self._subscriptions.ask_for_all(self._client):
            self._ready_to_work()

    def _refused(self, reason: ReasonCode) -> None:
        if int(reason.value) == UNSUPPORTED_VERSION and self._protocol == MQTTv5:
            self._fall_back("it speaks no MQTT 5", certain=True)
        else:
            self._lost(refusal(self.name, reason, self._address, self._options.client_id))

    def _fall_back(self, why: str, *, certain: bool) -> None:
        """Go on with 3.1.1: for good if the broker said so, for one connection if it is only a guess."""
        if not self._told_fall_back:
            self._told_fall_back = True
            log.warning("%s: %s; going on with MQTT 3.1.1.", self.name, why)
        self._fell_back = self._fell_back or certain
        self._protocol = MQTTv311
        self._drop()
        self._loop.post(lambda: self._connect(self._address) if not self._closing else None)

    def _on_subscribe(self, client: Client, data: object, mid: int, reasons: list[ReasonCode], props: object) -> None:
        denied = self._subscriptions.answered(mid, reasons, self.name)
        if denied:
            self._lost(
                AccessRefused(f"{self.name}: it refused the subscription to {', '.join(denied)}; check the user's permissions")
            )
        elif not self._up and not self._subscriptions.pending:
            self._ready_to_work()

    def _ready_to_work(self) -> None:
        self._up = True
        if self._reconnector is not None:
            self._reconnector.succeeded()
        birth = self._options.birth
        if birth is not None and self._client is not None:
            self._client.publish(birth.topic, birth.payload, birth.qos, birth.retain)
        if self._client is not None:
            self._publisher.up(self._client, self._protocol == MQTTv5)
        self._pulse.start()
        self._owner.on_up()
        self._publisher.offer_room()

    # -- signs of life -----------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        if self._socket is not None:
            self._socket.ping()
            self._loop.defer(self._flush)

    def _sing(self) -> None:
        if self._client is not None:
            self._client.publish(self._canary.topic, b"", 0)

    def _deaf(self, why: str) -> None:
        self._lost(ConnectionLost(f"{self.name}: {why}"))

    # -- losing the connection ---------------------------------------------------------------------------------------

    def _on_disconnect(self, client: Client, data: object, flags: Any, reason: ReasonCode, properties: object) -> None:
        if client is self._client and not self._closing:
            self._loop.post(lambda: self._gone(client, reason))

    def _gone(self, client: Client, reason: ReasonCode) -> None:
        if client is not self._client:
            return
        greeting = self._handshake_timer is not None and self._handshake_timer.call is not None
        if greeting and not self._up and self._protocol == MQTTv5 and not self._fell_back:
            # Hung up on our CONNECT without a word: an old broker's no.
            self._fall_back("it hung up on an MQTT 5 greeting", certain=False)
            return
        flapping = self._reconnector.flapping if self._reconnector is not None else 0
        self._lost(loss(self.name, reason, self._options.client_id, flapping))

    def _lost(self, error: DependencyError) -> None:
        self._drop()
        self._failed(error)

    def _failed(self, error: DependencyError) -> None:
        if self._closing or self._reconnector is None:
            return
        if not self._fell_back:
            self._protocol = MQTTv5
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
        self._subscriptions.forget_answers()
        self._pulse.stop()
        self._publisher.down(clean=self._closing)

    def _unwatch(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._loop.unwatch(descriptor)

    # -- the descriptor ----------------------------------------------------------------------------------------------

    def _ready(self, mask: int) -> None:
        client, sock = self._client, self._socket
        if client is None or sock is None:
            return
        if mask & WRITE:
            self._flush()
        if not mask & ~WRITE:
            return

        def deliver(topic: str | bytes, payload: bytes, qos: int, packet_id: int, *flags: Any) -> None:
            if not self._arrivals.packet(topic, payload, qos, packet_id, *flags) and packet_id:
                sock.acknowledge((packet_id,))
                self._loop.defer(self._flush)

        def control() -> bool:
            self._pulse.answered()
            try:
                return client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS and self._client is client
            except MALFORMED as error:  # paho reads what it gets as if it could be trusted
                raise ConnectionError(f"it sent a malformed packet: {type(error).__name__}: {error}") from error

        try:
            stands = sock.feed(deliver, control)
        except OSError as error:
            self._lost(ConnectionLost(f"{self.name}: the connection was lost ({error.strerror or error})"))
            return
        self._balance()
        if stands and sock.more and not self._arrivals.paused:  # no poll reports it: come back after the others' turn
            self._loop.post(lambda: self._ready(READ) if self._client is client else None)

    def _balance(self) -> None:
        """Read on, or let the broker wait."""
        sock, descriptor = self._socket, self._descriptor
        needed = not self._up or self._publisher.unsettled > 0
        if self._arrivals.change(needed) and sock is not None and descriptor is not None:
            self._loop.watch(descriptor, self._arrivals.mask | (WRITE if self._watching_write else 0), self._ready)
            self._loop.post(lambda: self._ready(READ) if self._socket is sock and sock.more else None)

    def _flush(self) -> None:
        """Write what paho has queued, in one piece, and watch for room when the broker is slow to take it."""
        client, sock = self._client, self._socket
        if client is None or sock is None:
            self._publisher.written()
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
            self._loop.watch(sock.fileno(), self._arrivals.mask | (0 if done else WRITE), self._ready)
        if done:
            self._publisher.written()

    def _watch_pulse(self) -> None:
        """Say something a few times per keep-alive (MQTT 5 section 3.1.2.10). Whether the broker answers is the pulse's
        business: paho sees no deliveries, and would give up a connection on which its PINGRESP comes behind many of them."""
        if self._client is not None:
            self._ping()
            self._timer = self._loop.call_later(max(0.5, self._options.keepalive / 4), self._watch_pulse)
