"""The heartbeat filter: knows who is there, passes on what they say, and notices silence by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import pytest
import zmq

from event_processor.discovery.discovery import Discovery
from event_processor.domain.entities import DeviceInfo, Entity, Found
from event_processor.domain.events import Event
from event_processor.domain.heard import Heard, Raw
from event_processor.domain.liveness import Liveness
from event_processor.domain.outcome import Change
from event_processor.domain.registry import Registry
from event_processor.heartbeat import HeartbeatFilter
from pylib.errors import DecodeError
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import Link
from pylib.testing.clock import VirtualClock
from pylib.zmq import Closable, zmq_socket

PLUG = DeviceInfo(id="plug", name="Plug", convention="seed")
POWER = Entity(key="Plug power", device="plug", name="power", expire_after_s=30.0)


class Reads:
    """A convention of one device: the body is its value. It keeps the registry, as the hub's own does."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def read(self, topic: str, body: bytes, *, retained: bool, now: float) -> Found:
        if topic == "bad":
            return Found(problems=("bad: it makes no sense.",))
        event = Event(device="Plug power", kind="input", created_at=now, source="mqtt", topic=topic, value=float(body),
                      retained=retained)  # fmt: skip
        if not self.registry.put_device(PLUG):
            return Found(events=(event,))
        self.registry.put_entity(POWER)
        return Found(devices=(PLUG,), entities=(POWER,), events=(event,), subscribe=("plug/#",))

    def noticed(self, where: str, events: Iterable[Event]) -> Found:
        return Found()

    def start(self) -> Found:
        return Found()

    def due(self, now: float) -> Found:
        return Found()

    def next_due(self) -> float | None:
        return None

    def take_changes(self) -> tuple[Change, ...]:
        return ()


def raw(topic: str = "plug/power", body: bytes = b"1", *, retained: bool = False) -> Raw:
    return Raw(topic=topic, body=body, at=10.0, message_id="m", origin="1.a", retained=retained)


def keeper(subscribe: Callable[[tuple[str, ...]], None] | None = None) -> HeartbeatFilter:
    registry = Registry()
    return HeartbeatFilter(Reads(registry), registry, Liveness(0.0), subscribe=subscribe, source_zmq_url="inproc://in",
                           sink_zmq_url="inproc://out")  # fmt: skip


def test_what_a_device_says_goes_on_with_who_it_is_and_what_it_needs_is_subscribed_to(runtime: Runtime) -> None:
    asked: list[tuple[str, ...]] = []
    heard = keeper(asked.append).process(raw())
    assert isinstance(heard, Heard)
    assert (heard.message_id, heard.origin, heard.again) == ("m", "1.a", False)
    assert [event.value for event in heard.events] == [1.0]
    assert {change.scope for change in heard.changes} >= {"device", "entity"}
    assert asked == [("plug/#",)]


def test_a_message_that_makes_no_sense_is_said_once_and_goes_nowhere(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    filter = keeper()
    assert filter.process(raw("bad")) is None
    assert filter.process(raw("bad")) is None
    assert caplog.messages == ["HeartbeatFilter: a message on bad was set aside: it makes no sense."]


def test_the_first_listings_form_is_understood_and_what_is_none_is_refused(runtime: Runtime) -> None:
    filter = keeper()
    heard = filter.process({"front": {"data": {"active_devices": [{"device_key": "Front Door"}]}}})
    assert isinstance(heard, Heard)
    assert [(event.device, event.active) for event in heard.events] == [("Front Door", True)]
    with pytest.raises(DecodeError):
        filter.process(["no", "origin"])


def test_a_value_that_holds_no_longer_is_told_without_the_devices_help_and_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "event_processor.heartbeat")
    runtime = Runtime()
    clock = VirtualClock()
    runtime.clock = clock
    with runtime.active():
        out = Closable("inproc://out")
        registry = Registry()
        filter = HeartbeatFilter(Reads(registry), registry, Liveness(clock.time()), source_zmq_url="inproc://in",
                                 sink_zmq_url="inproc://out")  # fmt: skip
        filter.start()
        with zmq_socket(zmq.PUSH) as sender:
            sender.connect("inproc://in")
            sender.send_pyobj(raw())
            assert out.socket.recv_pyobj().events[0].value == 1.0
            clock.advance(31.0)
            assert filter.member.loop is not None
            filter.member.loop.post(lambda: None)  # a sleeping loop does not see a virtual clock move
            gone = out.socket.recv_pyobj()
            assert [(each.entity, each.online) for each in gone.said] == [("Plug power", False)]
            sender.send_pyobj(raw(body=b"2"))
            assert [(each.entity, each.online) for each in out.socket.recv_pyobj().said] == [("Plug power", True)]
        out.close()
        runtime.trip()
        assert runtime.stop() == []
    assert "Plug power is gone" in caplog.text
    assert "Plug power is there" in caplog.text


def test_nobody_dies_of_a_broker_that_is_away(runtime: Runtime) -> None:
    link = Link(thread="t", name="broker", up=False, since=5.0)
    liveness = Liveness(0.0)
    registry = Registry()
    filter = HeartbeatFilter(Reads(registry), registry, liveness, link=lambda: link, source_zmq_url="inproc://in",
                             sink_zmq_url="inproc://out")  # fmt: skip
    filter.process(raw())
    filter._look()  # what its timer calls
    assert liveness.due(10_000.0) == ()


MOTION = (
    b'{"name": "Motion", "uniq_id": "m1", "stat_t": "hall/motion", "off_delay": 30, "dev": {"ids": ["m"], "name": "Hall"}}'
)


def test_a_motion_sensor_that_only_says_on_is_off_again_though_the_hub_was_killed_in_between(runtime: Runtime) -> None:
    clock = VirtualClock()
    runtime.clock = clock
    before = Discovery()
    filter = HeartbeatFilter(
        before, before.registry, Liveness(clock.time()), source_zmq_url="inproc://a", sink_zmq_url="inproc://b"
    )
    stored: list[Change] = []
    for topic, body in (("homeassistant/binary_sensor/m1/config", MOTION), ("hall/motion", b"ON")):
        heard = filter.process(Raw(topic=topic, body=body, at=clock.time(), message_id=topic, origin="1.a"))
        assert isinstance(heard, Heard)
        stored += heard.changes
    # That hub is killed; another one starts with what was stored.
    registry = Registry()
    registry.restore(stored)
    after = Discovery(registry)
    after.restore(stored)
    out = Closable("inproc://out")
    filter = HeartbeatFilter(
        after, registry, Liveness(clock.time()), source_zmq_url="inproc://in", sink_zmq_url="inproc://out"
    )
    clock.advance(31.0)
    filter.start()
    off = out.socket.recv_pyobj()
    assert [(event.active, event.value) for event in off.events] == [(False, "off")]
    assert [change.value for change in off.changes if change.key.startswith("off:")] == [None], "and that is over"
    assert filter.stop(5.0)
    out.close()
