"""The disk under the spool fails while the whole bridge runs: nothing is acknowledged that is not stored; it recovers."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pylib.brokers.identity import forward
from pylib.brokers.port import Delivery, Outgoing
from pylib.brokers.topics import topic_to_key
from pylib.mqtt import MqttSubscriber
from pylib.rabbit import RabbitMQRelay
from pylib.runtime.runtime import Runtime
from pylib.testing.faults import FaultProxy
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import FaultProxyFactory
from pylib.testing.rabbitmq import Vhost

pytestmark = pytest.mark.timeout(90)

PATIENCE = 30.0
RELAY = "inproc://rabbit-mq-publisher"
FULL_DISK = "2m"
SIZE = 4000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, which takes root to mount. What fails in a file itself is tested without."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; tests/unit/test_spool_faults.py limits the pages instead")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FULL_DISK}", "spool-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class Route:
    """Mosquitto, the bridge with a spool, a line that can be cut, and RabbitMQ with a durable queue behind it."""

    def __init__(self, mosquitto: Mosquitto, rabbitmq: Vhost, proxy: FaultProxy, spool: Path) -> None:
        self.mosquitto = mosquitto
        self.rabbitmq = rabbitmq
        self.proxy = proxy
        self.spool = spool
        with closing(rabbitmq.connect()) as connection:
            channel = connection.channel()
            channel.exchange_declare("home", "topic", durable=True)
            channel.queue_declare("kept", durable=True)
            channel.queue_bind("kept", "home", "#")
        self.relay_up = threading.Event()
        subscribed = threading.Event()
        address = f"amqp://{rabbitmq.user}:{rabbitmq.password}@{proxy.address}/{rabbitmq.name}"
        self.relay = RabbitMQRelay(RELAY, address, "home", wait=True, spool=spool, on_ready=self.relay_up.set)
        self.subscriber = MqttSubscriber(
            mosquitto.address, "bench/#", sink_url=RELAY, client_id="bridge", decode=_to_rabbit, on_ready=subscribed.set
        )
        self.relay.start()
        self.subscriber.start()
        assert subscribed.wait(PATIENCE)
        assert self.relay_up.wait(PATIENCE)
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.connect(mosquitto.host, mosquitto.port)
        self.client.loop_start()
        self.sent = 0

    def send(self, count: int, size: int = SIZE) -> None:
        infos = []
        for _ in range(count):
            infos.append(self.client.publish("bench/one", self.sent.to_bytes(8, "big") + bytes(size), qos=1))
            self.sent += 1
        for info in infos:
            info.wait_for_publish(PATIENCE)

    def acknowledged(self) -> int:
        """PUBACKs that Mosquitto has got from the bridge."""
        return self.mosquitto.log_text().count("Received PUBACK from bridge")

    def stored(self) -> list[int]:
        """The numbers of the messages in the spool, as another reader of the file sees them."""
        with closing(sqlite3.connect(f"file:{self.spool}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT data FROM spool ORDER BY row").fetchall()
        decode = msgspec.msgpack.Decoder(Outgoing).decode
        return [int.from_bytes(decode(row[0]).body[:8], "big") for row in rows]

    def delivered(self, count: int) -> list[int]:
        """The first deliveries of so many different messages, in order."""
        found: dict[int, None] = {}
        with closing(self.rabbitmq.connect()) as connection:
            for method, _, body in connection.channel().consume("kept", auto_ack=True, inactivity_timeout=PATIENCE):
                assert method is not None, f"{len(found)} of {count} come"
                found[int.from_bytes((body or b"")[:8], "big")] = None
                if len(found) == count:
                    break
        return list(found)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, what
            self.relay.join(0.02)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        del self.client  # paho closes its pair of sockets with the object


def _to_rabbit(delivery: Delivery) -> tuple[str, bytes, dict[str, object]]:
    return forward(delivery, topic_to_key(delivery.address))


@pytest.fixture
def bridge_on(
    runtime: Runtime, mosquitto: Mosquitto, rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory
) -> Iterator[Callable[[Path], Route]]:
    made: list[Route] = []

    def make(spool: Path) -> Route:
        made.append(Route(mosquitto, rabbitmq, fault_proxy_factory(rabbitmq.node.port), spool))
        return made[-1]

    yield make
    while made:
        made.pop().close()


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def test_what_a_full_disk_cannot_hold_is_not_acknowledged_and_comes_when_there_is_room(
    bridge_on: Callable[[Path], Route], disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = bridge_on(disk / "spool.db")
    path.proxy.refuse()
    path.until(lambda: bool(said(caplog, "connection refused")), "nobody says that RabbitMQ is away")
    path.send(900)  # 3.6 MB, and the disk holds 2
    path.until(lambda: bool(said(caplog, "Nothing more is taken in")), "nobody says that the disk is full")
    settled_down = path.acknowledged()
    path.relay.join(1.5)  # longer than one more attempt to write
    stored = path.stored()
    assert settled_down <= path.acknowledged() <= len(stored) < path.sent, "acknowledged what is not stored"
    assert stored == list(range(len(stored))), "not in order, or not whole"
    assert len(said(caplog, "Nothing more is taken in")) == 1, "said more than once"
    assert path.relay.is_alive()
    assert path.subscriber.is_alive()
    subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
    path.until(lambda: path.acknowledged() == path.sent, "it does not come back when there is room")
    path.proxy.heal()
    assert path.delivered(path.sent) == list(range(path.sent))


def test_a_locked_spool_acknowledges_nothing_and_goes_on_when_the_lock_is_gone(
    bridge_on: Callable[[Path], Route], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = bridge_on(tmp_path / "spool.db")
    path.proxy.refuse()
    path.until(lambda: bool(said(caplog, "connection refused")), "nobody says that RabbitMQ is away")
    path.send(10)
    path.until(lambda: path.acknowledged() == 10, "a sound spool does not take it")
    with closing(sqlite3.connect(path.spool, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        path.send(10)
        path.until(lambda: bool(said(caplog, "Nothing more is taken in")), "nobody says that the spool is locked")
        assert path.acknowledged() == 10, "acknowledged what is not stored"
        other.execute("ROLLBACK")
    path.until(lambda: path.acknowledged() == 20, "it does not come back")
    path.proxy.heal()
    assert path.delivered(20) == list(range(20))


def test_a_truncated_spool_is_set_aside_with_a_word_and_everything_later_is_delivered(
    bridge_on: Callable[[Path], Route], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = bridge_on(tmp_path / "spool.db")
    path.proxy.refuse()
    path.until(lambda: bool(said(caplog, "connection refused")), "nobody says that RabbitMQ is away")
    path.send(300)
    path.until(lambda: path.acknowledged() == 300, "a sound spool does not take it")
    with closing(sqlite3.connect(path.spool)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(path.spool, 20480)
    path.send(100)
    path.until(lambda: path.acknowledged() >= 300, "it has stopped")
    path.proxy.heal()
    path.send(1, 10)
    # What the cut has taken is gone and said to be; what was accepted after it, and not into the damaged file, is there.
    path.until(lambda: path.acknowledged() == path.sent, "what came after the damage is never acknowledged")
    arrived: set[int] = set()
    with closing(path.rabbitmq.connect()) as connection:
        for method, _, body in connection.channel().consume("kept", auto_ack=True, inactivity_timeout=PATIENCE):
            assert method is not None, f"the last does not come; {len(arrived)} came"
            arrived.add(int.from_bytes((body or b"")[:8], "big"))
            if path.sent - 1 in arrived:
                break
    assert set(range(300, path.sent)) <= arrived
    assert [text for text in said(caplog, str(path.spool)) if "damaged" in text or "malformed" in text or "lost" in text]
    assert path.relay.is_alive()


def test_what_is_reclaimed_from_a_lost_connection_is_stored_and_delivered_in_order(
    bridge_on: Callable[[Path], Route], tmp_path: Path
) -> None:
    path = bridge_on(tmp_path / "spool.db")
    path.proxy.freeze("to_client")  # confirms do not come back
    path.send(50)
    path.until(lambda: path.relay_up.is_set(), "not up")
    path.proxy.refuse()
    path.until(lambda: path.acknowledged() == 50, "what was under way is neither stored nor delivered")
    path.send(10)
    path.until(lambda: path.acknowledged() == 60, "what came after it is not stored")
    path.proxy.heal()
    assert path.delivered(60) == list(range(60))
