"""MQTT for applications: a subscriber that is also the way out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq

from pylib.app import AppThread
from pylib.brokers.addresses import AddressLike, TlsOptions, parse_addresses
from pylib.brokers.bridge import Bridge
from pylib.brokers.identity import new_id
from pylib.brokers.inflow import OrderKey, Route, one_key, one_sink
from pylib.brokers.mqtt_values import MqttOptions, Will
from pylib.brokers.paho import PahoPort
from pylib.brokers.patience import Patience, Reconnect
from pylib.brokers.port import Delivery, Outgoing
from pylib.brokers.retrying import DEFAULT_RETRY, RetryPolicy
from pylib.brokers.runner import BridgeRunner
from pylib.brokers.topics import check_filter
from pylib.config import app_config
from pylib.data import JSON, decode_json, encode_json
from pylib.delivery.spool import DEFAULT_LIMITS, Spool, SpoolLimits
from pylib.errors import DecodeError, Rejected
from pylib.runtime.loop import Loop
from pylib.runtime.sockets import caller_line
from pylib.zmq import URL_HEARTBEAT_NANNY, URL_MQTT_PUBLISH, URL_MQTT_PUBLISHER

__all__ = ["MqttSubscriber", "Reconnect", "Will", "by_topic", "read_payload"]


class MqttSubscriber(AppThread):
    """Both sides of MQTT for one application: what the broker delivers goes down a pipe, and what is sent to the other pipe
    is published.

    mqtt_server_address  host, host:port, mqtt(s)://user:password@host:port, or a list of them, tried in turn
    mqtt_topics          topic filters, or (filter, QoS) pairs; ``$share/group/filter`` for a shared subscription
    sink_url             where deliveries go (``inproc://heartbeat-nanny``); None for a publisher only
    sink_urls, route     or: several pipes by name, and what of a delivery goes down which
    publish_urls         bound here; send ``(topic, payload)`` or ``(topic, payload, {"qos": 1, "retain": True})`` to any.
                         Text and bytes are published as they are, None as an empty payload, the rest as JSON
    qos                  of topics and publishes that do not say: 0, 1 (default) or 2
    client_id            stable across restarts, unique on the broker; <application>-<device> by default
    decode               makes of a delivery what goes down the pipe, by default ``{topic: payload}``; None sends nothing
    last_will, birth     messages that say whether we are there
    session_expiry       seconds that the broker keeps our session, and what arrives meanwhile; 0: no session
    retry                how often a delivery is tried whose handling fails, before it becomes a dead letter
    store                the file for what failed; by default the application's own, made at the first failure
    order_key            what keeps messages in order when some of them fail; the topic by default
    pipe_order           the same where it differs from pipe to pipe: called with the pipe's name and the delivery
    spool                a file in which outgoing messages wait while the broker is away; ``spool_limits`` bounds it
    reconnect            False: a lost connection ends the application with exit code 1, to be restarted from outside

    MQTT 5, and 3.1.1 where the broker refuses that. A delivery of QoS 1 is acknowledged after everything it caused has been
    accepted. Outgoing messages wait milliseconds, not for a poll: one wait serves the broker and the pipe.
    """

    def __init__(
        self,
        mqtt_server_address: AddressLike | None = None,
        mqtt_topics: str | Sequence[str | tuple[str, int]] = (),
        *,
        sink_url: str | None = URL_HEARTBEAT_NANNY,
        sink_urls: Mapping[str, str] | None = None,
        route: Route | None = None,
        publish_urls: Sequence[str] = (URL_MQTT_PUBLISH, URL_MQTT_PUBLISHER),
        name: str | None = None,
        qos: int = 1,
        client_id: str | None = None,
        decode: Callable[[Delivery], object] | None = None,
        tls: TlsOptions | None = None,
        last_will: Will | None = None,
        birth: Will | None = None,
        session_expiry: int = 7 * 24 * 3600,
        keepalive: int = 15,
        reconnect: Reconnect = True,
        retry: RetryPolicy | None = DEFAULT_RETRY,
        store: Path | None = None,
        order_key: Callable[[Delivery], str] | None = None,
        pipe_order: OrderKey | None = None,
        spool: str | os.PathLike[str] | None = None,
        spool_limits: SpoolLimits = DEFAULT_LIMITS,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        AppThread.__init__(self, name=name)
        if mqtt_server_address is None:
            mqtt_server_address = app_config.get("mqtt", "server_address")
        self._qos = qos
        self._options = MqttOptions(
            addresses=parse_addresses(mqtt_server_address, scheme="mqtt", where="MQTT broker address"),
            client_id=client_id or f"{app_config.app_name()}-{app_config.device_name()}",
            subscriptions=tuple(self._pairs(mqtt_topics)),
            tls=tls,
            keepalive=keepalive,
            session_expiry=session_expiry,
            last_will=last_will,
            birth=birth,
        )
        self._port = PahoPort(self._options)
        self._route = route if route is not None else one_sink(decode or by_topic)
        self._retry = retry
        self._store = store
        self._order_key = one_key(order_key, pipe_order)
        self._spool = Spool(spool, spool_limits, self.runtime.clock) if spool is not None else None
        self._patience = Patience(reconnect, len(self._options.addresses), on_ready)
        origin = caller_line()
        sockets = self.runtime.sockets
        self._intake = sockets.open(zmq.PULL, origin=origin)
        for url in publish_urls:
            self._intake.bind(url)
        urls = sink_urls if sink_urls is not None else {"": sink_url} if sink_url is not None else {}
        self._sinks = {pipe: sockets.open(zmq.PUSH, origin=origin) for pipe in urls}
        for pipe, url in urls.items():
            self._sinks[pipe].connect(url)
        self._runner = BridgeRunner(self.runtime, self._make, [self._intake, *self._sinks.values()])
        self._runner.attach(self.member)

    def run(self) -> None:
        self._runner.run()

    def subscribe(self, topics: str | Sequence[str | tuple[str, int]]) -> None:
        """Listen to these topic filters too, now and after every reconnect; (filter, QoS) pairs as in the constructor.

        Any thread. Raises ``Rejected`` for what is no filter. A filter that the broker refuses is warned of once and left.
        """
        wanted = [(check_filter(topic), qos) for topic, qos in self._pairs(topics)]
        self._runner.post(lambda: self._port.subscribe(wanted))

    def unsubscribe(self, topics: str | Sequence[str]) -> None:
        """Listen to these topic filters no longer. Any thread."""
        gone = [topics] if isinstance(topics, str) else list(topics)
        self._runner.post(lambda: self._port.unsubscribe(gone))

    def _pairs(self, topics: str | Sequence[str | tuple[str, int]]) -> list[tuple[str, int]]:
        several = [topics] if isinstance(topics, str) else topics
        return [(topic, self._qos) if isinstance(topic, str) else topic for topic in several]

    def close(self) -> None:
        """Publish what waits, say goodbye, end the thread: within the runtime's stop budget. Any thread."""
        self.stop()

    def _make(self, loop: Loop) -> Bridge:
        return Bridge(
            loop,
            self._port,
            self.name,
            sources=[self._intake],
            encode=self._encode,
            sinks=self._sinks,
            route=self._route,
            retry=self._retry,
            store=self._store,
            order_key=self._order_key,
            spool=self._spool,
            receipts=self.runtime.receipts,
            on_lost=self._patience.exhausted,
            on_ready=self._patience.ready,
        )

    def _encode(self, message: object) -> Outgoing:
        if isinstance(message, Outgoing):
            return message
        if not isinstance(message, tuple) or not 2 <= len(message) <= 3 or not isinstance(message[0], str):
            raise Rejected(f"a message for MQTT is (topic, payload), not {type(message).__name__}")
        how: Mapping[str, Any] = message[2] if len(message) == 3 else {}
        body, content_type = _body(message[1])
        return Outgoing(
            message[0], body, how.get("content_type") or content_type, how.get("message_id") or new_id(),
            how.get("created_at"), how.get("expires_at"), how.get("headers"),
            qos=int(how.get("qos", self._qos)), retain=bool(how.get("retain", False)),
        )  # fmt: skip


def _body(payload: object) -> tuple[bytes, str | None]:
    if payload is None:
        return b"", None
    if isinstance(payload, bytes | bytearray):
        return bytes(payload), None
    if isinstance(payload, str):
        return payload.encode(), None
    return encode_json(payload), JSON


def by_topic(delivery: Delivery) -> dict[str, Any]:
    """``{topic: payload}``, the payload as ``read_payload`` reads it."""
    return {delivery.address: read_payload(delivery.body)}


def read_payload(body: bytes) -> Any:
    """JSON where it is JSON, else text: most small devices send ``ON`` or ``21.5``. An empty payload is None.

    Raises ``DecodeError`` for what starts as a JSON object or array and is none, and for bytes that are not UTF-8.
    """
    if not body:
        return None
    try:
        return decode_json(body)
    except DecodeError:
        if body.lstrip()[:1] in (b"{", b"["):
            raise
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the payload is neither JSON nor UTF-8 text ({error.reason} at byte {error.start})") from None
