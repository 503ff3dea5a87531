"""``pylib.mqtt`` on a real Mosquitto: the subscriber that is also the way out, and what it promises."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import zmq
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pylib.app import AppThread
from pylib.brokers.addresses import TlsOptions
from pylib.brokers.port import Delivery, Outgoing
from pylib.mqtt import MqttSubscriber, Will, by_topic
from pylib.runtime.runtime import Runtime
from pylib.testing.certificates import CertificateAuthority
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import FaultProxyFactory, MosquittoFactory
from pylib.zmq import URL_HEARTBEAT_NANNY, URL_MQTT_PUBLISH, URL_MQTT_PUBLISHER, Closable, zmq_socket

pytestmark = pytest.mark.timeout(90)

PATIENCE = 15.0


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is kept in a folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Sink(AppThread, Closable):
    """Keeps what comes down the pipe."""

    def __init__(self, url: str = URL_HEARTBEAT_NANNY) -> None:
        AppThread.__init__(self, name=f"sink {url}")
        Closable.__init__(self, connect_url=url)
        self.got: list[Any] = []
        self._changed = threading.Condition()
        self.start()

    def run(self) -> None:
        while True:
            message = self.socket.recv_pyobj()
            with self._changed:
                self.got.append(message)
                self._changed.notify_all()

    def wait_for(self, count: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, PATIENCE), self.got
            return list(self.got)


class Watcher:
    """An independent client: sees what is published and publishes itself."""

    def __init__(self, broker: Mosquitto, topics: str | Sequence[str] = "#", version: int = paho.MQTTv5) -> None:
        self.got: list[paho.MQTTMessage] = []
        self._changed = threading.Condition()
        subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=version)  # type: ignore[arg-type]
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        self.client.subscribe([(topic, 2) for topic in ([topics] if isinstance(topics, str) else topics)])
        assert subscribed.wait(PATIENCE)

    def wait_for(self, count: int) -> list[paho.MQTTMessage]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, PATIENCE), len(self.got)
            return list(self.got)

    def publish(self, topic: str, payload: bytes | str | None, qos: int = 1, retain: bool = False, **named: Any) -> None:
        self.client.publish(topic, payload, qos, retain, **named).wait_for_publish(PATIENCE)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.got.append(message)
            self._changed.notify_all()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    """Make watchers that are disconnected after the test."""
    made: list[Watcher] = []

    def make(*arguments: Any, **named: Any) -> Watcher:
        made.append(Watcher(*arguments, **named))
        return made[-1]

    yield make
    while made:  # paho gives its last descriptors back when nobody holds the client any more
        made.pop().close()


def started(address: str, topics: Any = (), **named: Any) -> MqttSubscriber:
    ready = threading.Event()
    subscriber = MqttSubscriber(address, topics, on_ready=ready.set, **named)
    subscriber.start()
    assert ready.wait(PATIENCE), "the subscriber did not come up"
    return subscriber


def sender(url: str = URL_MQTT_PUBLISH) -> Any:
    pipe = zmq_socket(zmq.PUSH)
    pipe.connect(url)
    return pipe


def test_both_publish_addresses_reach_it_and_what_is_delivered_goes_to_the_nanny(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher]
) -> None:
    watcher = watch(mosquitto, "device/#")
    sink = Sink()
    started(mosquitto.address, "sensor/#")
    sender(URL_MQTT_PUBLISH).send_pyobj(("device/a", {"command": "open"}))
    assert json.loads(watcher.wait_for(1)[0].payload) == {"command": "open"}
    sender(URL_MQTT_PUBLISHER).send_pyobj(("device/b", "ON"))
    assert watcher.wait_for(2)[1].payload == b"ON"
    watcher.publish("sensor/door", '{"active": true}')
    assert sink.wait_for(1) == [{"sensor/door": {"active": True}}]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_quality_of_service_works_both_ways(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher], qos: int
) -> None:
    watcher = watch(mosquitto, "out/#")
    sink = Sink()
    started(mosquitto.address, [("in/#", qos)], decode=lambda delivery: (delivery.qos, delivery.body))
    pipe = sender()
    for n in range(20):
        pipe.send_pyobj(("out/x", b"%d" % n, {"qos": qos}))
        watcher.publish("in/x", b"%d" % n, qos)
    assert [(m.qos, m.payload) for m in watcher.wait_for(20)] == [(qos, b"%d" % n) for n in range(20)]
    assert sink.wait_for(20) == [(qos, b"%d" % n) for n in range(20)]


def test_the_retained_flag_is_set_and_seen(runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher]) -> None:
    watcher = watch(mosquitto, "state/a")
    watcher.publish("state/old", b"kept", retain=True)
    sink = Sink()
    started(mosquitto.address, "state/#", decode=lambda delivery: (delivery.address, delivery.retained))
    assert sink.wait_for(1) == [("state/old", True)]
    sender().send_pyobj(("state/a", b"1", {"retain": True}))
    watcher.wait_for(1)
    assert sink.wait_for(2)[1] == ("state/a", False)
    assert watch(mosquitto, "state/a").wait_for(1)[0].retain


def test_the_birth_message_announces_and_the_last_will_takes_it_back(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher], fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(mosquitto.port)
    watcher = watch(mosquitto, "status/#")
    subscriber = started(
        f"mqtt://{proxy.address}", sink_url=None, birth=Will("status/me", b"on"), last_will=Will("status/me", b"off")
    )
    assert [m.payload for m in watcher.wait_for(1)] == [b"on"]
    proxy.reset()  # gone without a goodbye: the broker says it; and back again
    assert sorted(m.payload for m in watcher.wait_for(3)[1:]) == [b"off", b"on"]
    subscriber.close()  # gone by the book: it says so itself
    assert watcher.wait_for(4)[3].payload == b"off"
    (kept,) = watch(mosquitto, "status/me").wait_for(1)
    assert (kept.payload, kept.retain) == (b"off", True)


def test_what_arrives_while_the_subscriber_is_away_waits_for_it(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher]
) -> None:
    watcher = watch(mosquitto, "none")
    sink = Sink()
    started(mosquitto.address, "sensor/#", client_id="stays").close()
    for n in range(5):
        watcher.publish("sensor/door", b"%d" % n)
    started(mosquitto.address, "sensor/#", client_id="stays")
    assert sink.wait_for(5) == [{"sensor/door": n} for n in range(5)]


def test_a_shared_subscription_divides_the_work(runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher]) -> None:
    watcher = watch(mosquitto, "none")
    sinks = [Sink("inproc://one"), Sink("inproc://two")]
    for n, url in enumerate(("inproc://one", "inproc://two")):
        started(mosquitto.address, "$share/workers/job/#", client_id=f"worker-{n}", sink_url=url,
                publish_urls=[f"inproc://publish-{n}"])  # fmt: skip
    for n in range(20):
        watcher.publish("job/x", b"%d" % n)
    deadline = time.monotonic() + PATIENCE
    while sum(len(sink.got) for sink in sinks) < 20:
        assert time.monotonic() < deadline
        sinks[0].join(0.01)
    assert all(sink.got for sink in sinks), "one of the two did all the work"
    assert sorted(n for sink in sinks for message in sink.got for n in message.values()) == list(range(20))


def test_malformed_messages_are_set_aside_with_topic_and_reason_and_the_good_ones_pass(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher], caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watch(mosquitto, "none")
    sink = Sink()
    subscriber = started(mosquitto.address, "sensor/#")
    bad = {
        "sensor/cut": b'{"a": ',
        "sensor/not-utf8": b"\xff\xfe",
        "sensor/deep": b"[" * (1 << 20),
        "sensor/deep-closed": b"[" * 5000 + b"]" * 5000,
        "sensor/trailing": b'{"a": 1} x',
        "sensor/nan": b'{"a": NaN}',
    }
    good = [b'{"a": 1}', b"7", b"null", b"ON", b"", b"true"]
    for (topic, payload), fine in zip(bad.items(), good, strict=True):
        watcher.publish(topic, payload)
        watcher.publish("sensor/good", fine)
    assert sink.wait_for(len(good)) == [{"sensor/good": value} for value in ({"a": 1}, 7, None, "ON", None, True)]
    said = [r.getMessage() for r in caplog.records if "set aside" in r.getMessage()]
    for topic in bad:
        assert len([text for text in said if f"on {topic} " in text]) == 1, (topic, said)
    assert all(len(text) < 500 for text in said), "a reason, not the payload"
    assert subscriber.is_alive()
    assert not runtime.stopping


class Unsendable:
    """Travels between threads and has no form on a wire."""


def test_what_cannot_be_published_is_set_aside_with_its_topic_and_reason_and_the_good_ones_pass(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher], caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watch(mosquitto, "good/#")
    subscriber = started(mosquitto.address, sink_url=None)
    pipe = sender()
    bad: list[Any] = [
        ("bad/nul\0", "x"), ("bad/+/x", "x"), ("bad/hash/#", "x"), ("", "x"), ("bad/long" + "x" * 70_000, "x"),
        ("bad/surrogate\ud800", "x"), ("bad/object", Unsendable()), ("bad/payload", "\ud800"), "no tuple", None, (1, 2),
        ("bad/qos", "x", {"qos": 7}), ("bad/how", "x", 5), ("bad/qos-word", "x", {"qos": "high"}), ("a",),
        ("bad/expiry", "x", {"expires_at": "soon"}), ("bad/four", 1, {}, 4),
    ]  # fmt: skip
    for n, message in enumerate(bad):
        pipe.send_pyobj(message)
        pipe.send_pyobj((f"good/{n}", str(n)))
    pipe.send(b"not a pickle")
    pipe.send_pyobj(("good/last", "x"))
    topics = [message.topic for message in watcher.wait_for(len(bad) + 1)]
    assert topics == [*(f"good/{n}" for n in range(len(bad))), "good/last"]
    said = [r.getMessage() for r in caplog.records if "set aside" in r.getMessage()]
    assert len(said) == len(bad) + 1, said
    for topic in ("bad/nul", "bad/+/x", "bad/hash/#", "bad/long", "bad/surrogate", "bad/object", "bad/payload",
                  "bad/qos", "bad/how", "bad/qos-word", "bad/expiry"):  # fmt: skip
        assert [text for text in said if topic in text], (topic, said)
    assert all(len(text) < 500 for text in said)
    assert "reconnect" not in caplog.text
    assert len([r for r in caplog.records if "lost" in r.getMessage()]) == 0, "a bad message cost the connection"
    assert subscriber.is_alive()
    assert not runtime.stopping


def test_tls_with_a_private_authority_user_password_and_permissions(
    runtime: Runtime, mosquitto_factory: MosquittoFactory, certificate_authority: CertificateAuthority
) -> None:
    broker = mosquitto_factory(
        tls=certificate_authority.server_tls(), users={"hub": "pa%ss"},
        acl=["user hub", "topic readwrite sensor/#", "topic write device/#"],
    )  # fmt: skip
    sink = Sink()
    address = f"mqtts://hub:pa%25ss@localhost:{broker.port}"
    started(address, ["sensor/#", "secret/#"], tls=TlsOptions(ca_file=certificate_authority.ca))
    pipe = sender()
    pipe.send_pyobj(("secret/door", 1))
    pipe.send_pyobj(("sensor/door", 2))
    assert sink.wait_for(1) == [{"sensor/door": 2}], "the broker's ACL keeps the other topic from us"


def test_a_publish_that_the_broker_forbids_is_named(
    runtime: Runtime, mosquitto_factory: MosquittoFactory, caplog: pytest.LogCaptureFixture,
    watch: Callable[..., Watcher],
) -> None:  # fmt: skip
    broker = mosquitto_factory(acl=["topic readwrite open/#"])
    watcher = watch(broker, "open/#")
    started(broker.address, sink_url=None)
    pipe = sender()
    pipe.send_pyobj(("forbidden/door", 1))
    pipe.send_pyobj(("open/door", 2))
    watcher.wait_for(1)
    runtime.stop()  # every outcome is in once the bridge has ended
    said = [r.getMessage() for r in caplog.records if "set aside" in r.getMessage()]
    assert len(said) == 1
    assert "forbidden/door" in said[0]
    assert "uthori" in said[0]


def test_the_pings_go_on_while_every_pipe_is_idle(
    runtime: Runtime, mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    Sink()
    started(mosquitto.address, "sensor/#", keepalive=1)
    assert not threading.Event().wait(4.0)  # Mosquitto hangs up after one and a half keep-alives of silence
    assert "exceeded timeout" not in mosquitto.log_text()
    assert not [r for r in caplog.records if "lost" in r.getMessage()]


def test_a_message_keeps_what_travels_beside_it_and_expires_in_the_broker(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher]
) -> None:
    watcher = watch(mosquitto, "out/#")
    deliveries: list[Delivery] = []

    def keep(delivery: Delivery) -> object:
        deliveries.append(delivery)
        return by_topic(delivery)

    sink = Sink()
    started(mosquitto.address, "in/#", decode=keep)
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = 60
    properties.ContentType = "application/json"
    properties.UserProperty = [("a", "b"), ("message-id", "m1")]
    watcher.publish("in/x", b"1", properties=properties)
    sink.wait_for(1)
    (delivery,) = deliveries
    assert (delivery.content_type, delivery.message_id, delivery.headers) == ("application/json", "m1", {"a": "b"})
    assert delivery.expires_at is not None
    assert 50 < delivery.expires_at - time.time() <= 60
    now = time.time()
    sender().send_pyobj(Outgoing("out/x", b"1", message_id="m2", created_at=now, expires_at=now + 30, headers={"c": 1}))
    (message,) = watcher.wait_for(1)
    beside: Any = message.properties
    assert 25 <= beside.MessageExpiryInterval <= 30
    assert ("c", "1") in beside.UserProperty


@contextmanager
def deprecated_callbacks() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def test_pahos_old_callbacks_keep_working_for_listings_that_use_the_client_themselves(mosquitto: Mosquitto) -> None:
    heard: list[str] = []
    arrived = threading.Event()

    class Listing:
        """The post's shape: methods with paho 1's signatures."""

        def on_connect(self, client: Any, userdata: Any, flags: Any, rc: int) -> None:
            heard.append(f"connect {rc}")
            client.subscribe([("sensor/#", 1)])

        def on_disconnect(self, client: Any, userdata: Any, rc: int) -> None:
            heard.append(f"disconnect {rc}")

        def on_message(self, client: Any, userdata: Any, msg: Any) -> None:
            heard.append(f"{msg.topic} {msg.payload!r}")
            arrived.set()

    import pylib.mqtt  # noqa: F401  # the listing imports pylib first: what works here works there

    with deprecated_callbacks():
        client = paho.Client()
    listing = Listing()
    client.on_connect, client.on_disconnect = listing.on_connect, listing.on_disconnect
    client.on_message = listing.on_message
    client.connect(mosquitto.host, mosquitto.port)
    deadline = time.monotonic() + PATIENCE
    sent = False
    while not arrived.is_set():
        assert time.monotonic() < deadline
        client.loop(0.05)
        if heard and not sent:
            sent = client.publish("sensor/x", b"1", qos=1).rc == paho.MQTT_ERR_SUCCESS
    client.disconnect()
    while len(heard) < 3:
        assert time.monotonic() < deadline
        client.loop(0.05)
    assert heard == ["connect 0", "sensor/x b'1'", "disconnect 0"]


def test_what_is_subscribed_to_later_is_heard_and_is_asked_for_again_after_a_reconnect(
    runtime: Runtime, mosquitto: Mosquitto, watch: Callable[..., Watcher], fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(mosquitto.port)
    watcher = watch(mosquitto, "nothing")
    watcher.publish("late/150/kept", b"kept", retain=True)
    sink = Sink()
    ups: list[float] = []
    changed = threading.Condition()

    def up() -> None:
        with changed:
            ups.append(time.monotonic())
            changed.notify_all()

    # Without a session nothing but the asking again can bring the later ones back.
    subscriber = MqttSubscriber(
        f"mqtt://{proxy.address}", "first/#", session_expiry=0, on_ready=up, decode=lambda delivery: delivery.address
    )
    subscriber.subscribe([f"late/{n}/+" for n in range(250)])  # before it has started, and more than one packet of them
    subscriber.start()
    assert sink.wait_for(1) == ["late/150/kept"]
    subscriber.subscribe("later/a")
    subscriber.subscribe("later/b")
    subscriber.unsubscribe("later/a")
    watcher.publish("later/kept", b"")
    watcher.publish("later/b", b"kept", retain=True)
    assert sink.wait_for(2)[1] == "later/b"
    proxy.reset()
    with changed:
        assert changed.wait_for(lambda: len(ups) == 2, PATIENCE)
    assert sorted(sink.wait_for(4)[2:]) == ["late/150/kept", "later/b"]  # a fresh session: what is kept comes again
    watcher.publish("later/a", b"nobody")
    watcher.publish("first/x", b"end")
    assert sink.wait_for(5)[4] == "first/x"
