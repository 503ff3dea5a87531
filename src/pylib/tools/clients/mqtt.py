"""An MQTT client for a command: connects, subscribes, publishes and is pumped by its caller."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.dial import explain
from pylib.brokers.identity import new_id
from pylib.brokers.mqtt_reasons import UNSUPPORTED_VERSION, loss, refusal
from pylib.errors import ConnectFailed, ConnectionLost, DependencyError, Rejected

__all__ = ["MqttClient", "connect_any"]

#: Seconds for a connection, and for an answer to a subscription or a publish.
ANSWER_S: Final = 5.0
#: Messages that may wait to be looked at before the oldest is dropped.
MOST_WAITING: Final = 10_000
_STEP: Final = 0.1
_FAILURE: Final = 0x80
_KEEPALIVE: Final = 30

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


class MqttClient:
    """One connection. A context manager; for one thread, which has to call ``pump`` while it waits for something."""

    def __init__(
        self,
        address: Address,
        tls: TlsOptions,
        *,
        client_id: str | None = None,
        protocol: MQTTProtocolVersion = V5,
        session_expiry: int = 0,
    ) -> None:
        self.address = address
        self.protocol = protocol
        self.client_id = client_id or f"pylib-tool-{new_id()}"
        self.who = f"MQTT broker at {address.host}:{address.port}"
        self.refused: ReasonCode | None = None
        self.ended: ReasonCode | None = None
        self.session_present = False
        self.properties: Properties | None = None
        self.messages: deque[MQTTMessage] = deque(maxlen=MOST_WAITING)
        self.received = 0
        self._connected = False
        self._expiry = session_expiry
        self._answers: dict[int, list[ReasonCode]] = {}
        clean = None if protocol == V5 else not session_expiry
        client = Client(CallbackAPIVersion.VERSION2, self.client_id, clean, protocol=protocol, reconnect_on_failure=False)
        if address.user is not None:
            client.username_pw_set(address.user, address.password.reveal() if address.password else None)
        if address.tls:
            client.tls_set_context(tls.context())
        client.connect_timeout = ANSWER_S
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._answers.__setitem__(mid, list(codes))
        client.on_publish = lambda _c, _u, mid, code, _p: self._answers.__setitem__(mid, [code])
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def connect(self) -> Self:
        """Connect and wait for the broker's word. Raises DependencyError; ``refused`` has the reason code if there was one."""
        try:
            if self.protocol == V5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
                properties.SessionExpiryInterval = self._expiry
                self._client.connect(self.address.host, self.address.port, _KEEPALIVE, clean_start=not self._expiry,
                                     properties=properties)  # fmt: skip
            else:
                self._client.connect(self.address.host, self.address.port, _KEEPALIVE)
        except (OSError, ValueError) as error:
            raise explain(error, self.who) from None
        self._await(lambda: self._connected, "it accepted the connection and did not answer; is it an MQTT broker?")
        return self

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> list[ReasonCode]:
        """What the broker granted for each filter. Raises DependencyError when it does not answer."""
        _, mid = self._client.subscribe(list(filters))
        return self._answer(mid, "a subscription")

    def publish(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, properties: Properties | None = None
    ) -> int:
        """Publish and wait for the broker's word (QoS 1: PUBACK, QoS 2: PUBCOMP). Returns MQTT 5's reason code, 0 for success.

        Raises Rejected for what paho refuses, DependencyError when the broker does not answer.
        """
        return int(self.acknowledged(self.send(topic, payload, qos, retain, properties)).value)

    def send(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, properties: Properties | None = None
    ) -> int:
        """Hand a message to the connection; its packet id is for ``acknowledged``."""
        try:
            return self._client.publish(topic, payload, qos, retain, properties).mid
        except (ValueError, TypeError) as error:
            raise Rejected(f"MQTT topic {topic!r}: {error}") from None

    def acknowledged(self, mid: int) -> ReasonCode:
        """Wait for the broker's word on a message."""
        return self._answer(mid, "a message")[0]

    def pump(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Serve the connection for so long, or until that holds; says whether it does. Raises when the connection is lost."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._client.loop(min(_STEP, left))
            if self.ended is not None and not until():
                raise loss(self.who, self.ended, self.client_id, 0)
        return True

    def close(self) -> None:
        """Say goodbye. Never raises."""
        if self._connected and self.ended is None:
            self._client.disconnect()
            for _ in range(10):
                if self._client.socket() is None:
                    break
                self._client.loop(_STEP)
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client._reset_sockets()

    def _await(self, done: Callable[[], bool], silent: str) -> None:
        try:
            if not self.pump(ANSWER_S, lambda: done() or self.refused is not None):
                raise ConnectFailed(f"{self.who}: {silent}")
        except ConnectionLost:
            raise ConnectFailed(
                f"{self.who}: it hung up without an answer; is it an MQTT broker that listens to us?"
            ) from None
        if self.refused is not None:
            raise refusal(self.who, self.refused, self.address, self.client_id)

    def _answer(self, mid: int | None, what: str) -> list[ReasonCode]:
        if mid is None or not self.pump(ANSWER_S, lambda: mid in self._answers):
            raise ConnectionLost(f"{self.who}: it does not answer {what} within {ANSWER_S:g} s")
        return self._answers.pop(mid)

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.is_failure:
            self.refused = reason
            return
        self._connected, self.session_present, self.properties = True, bool(flags.session_present), properties

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        self.ended = reason

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self.received += 1
        self.messages.append(message)


def connect_any(addresses: Sequence[Address], tls: TlsOptions, client_id: str | None = None) -> MqttClient:
    """A connection to the first broker that answers: MQTT 5, and 3.1.1 where the broker refuses that. The caller closes it.

    :raises DependencyError: none answers; the message has the reason of each.
    """
    problems: list[DependencyError] = []
    for address in addresses:
        for protocol in (V5, V311):
            client = MqttClient(address, tls, client_id=client_id, protocol=protocol)
            try:
                return client.connect()
            except DependencyError as error:
                client.close()
                old = client.refused is not None and int(client.refused.value) in (UNSUPPORTED_VERSION, 1)
                if protocol == V5 and (old or (client.refused is None and "hung up" in str(error))):
                    continue
                problems.append(error)
                break
    if len(problems) == 1:
        raise problems[0]
    raise ConnectFailed("; ".join(map(str, problems)))
