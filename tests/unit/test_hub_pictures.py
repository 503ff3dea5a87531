"""Pictures on their way from a message to their file: kept once, bounded, and no burden to what they come with."""

from __future__ import annotations

import base64
import errno
import logging
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.discovery.discovery import Discovery
from event_processor.domain.events import Event
from event_processor.domain.heard import Heard, Pictured, Raw
from event_processor.domain.liveness import Liveness
from event_processor.domain.memos import Seen
from event_processor.domain.outcome import Change
from event_processor.domain.pictures import names_in
from event_processor.heartbeat import HeartbeatFilter
from event_processor.pictures import AT_ONCE, EVERY_S, Pictures
from event_processor.reading import read_rabbitmq
from event_processor.store.images import ImageFolder
from pylib.brokers.port import Delivery
from pylib.errors import DecodeError
from pylib.runtime.runtime import Runtime

NOW = 1_790_000_000.0
JPEG = b"\xff\xd8\xff\xe0" + b"somebody at the door"
PNG = b"\x89PNG\r\n\x1a\n" + b"nobody at the door"
ANNOUNCEMENT = msgspec.json.encode({"topic": "cam/1", "unique_id": "u", "name": "picture",
                                    "device": {"ids": ["cam-1"], "name": "Front"}})  # fmt: skip


def event(device: str = "Front picture", *, retained: bool = False, **more: object) -> Event:
    described: dict[str, object] = {"type": "picture", **more}
    return Event(device=device, kind="input", created_at=NOW, source="mqtt", topic="cam/1", active=True, retained=retained,
                 **described)  # type: ignore[arg-type]  # fmt: skip


def heard(*events: Event, at: float = NOW) -> Heard:
    return Heard(at=at, message_id="m", events=events or (event(),))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def keeper(tmp_path: Path) -> Pictures:
    return Pictures(ImageFolder(tmp_path / "images"))


def test_a_picture_becomes_a_file_a_name_and_an_entry(keeper: Pictures, tmp_path: Path) -> None:
    kept = keeper.keep(heard(), ((0, JPEG),), NOW)
    ((number, record),) = kept.images
    assert number == 0
    assert (record.device, record.at, record.size, record.content_type) == ("Front picture", NOW, len(JPEG), "image/jpeg")
    assert kept.events[0].value == record.name
    assert (tmp_path / "images" / record.name).read_bytes() == JPEG
    assert JPEG[4:] not in pickle.dumps(kept), "the bytes go no further"


def test_a_device_with_a_value_of_its_own_keeps_it(keeper: Pictures) -> None:
    kept = keeper.keep(heard(event("Bell", type="bell", value=7)), ((0, base64.b64encode(JPEG).decode()),), NOW)
    assert [each.value for each in kept.events] == [7]
    assert [record.device for _, record in kept.images] == ["Bell"]


def test_a_retained_picture_is_kept_once_also_across_a_restart(keeper: Pictures, tmp_path: Path) -> None:
    first = keeper.keep(heard(), ((0, JPEG),), NOW)
    name = str(first.events[0].value)
    again = heard(event(retained=True), at=NOW + 90_000)
    kept = keeper.keep(again, ((0, JPEG),), NOW + 90_000)
    assert (kept.images, kept.events[0].value) == ((), name)
    stored = Change("value", "Front picture", msgspec.json.encode(Seen(name, True, NOW, NOW, "picture", True)))
    restarted = Pictures(ImageFolder(tmp_path / "images"), names_in([stored, Change("value", "Other", b'["on"]')]))
    kept = restarted.keep(again, ((0, JPEG),), NOW + 90_000)
    assert (kept.images, kept.events[0].value) == ((), name)
    assert len(files(tmp_path)) == 1
    # Another one is new, and one whose file is gone is kept again.
    assert restarted.keep(again, ((0, PNG),), NOW + 90_000).images
    for file in files(tmp_path):
        file.unlink()
    assert restarted.keep(again, ((0, PNG),), NOW + 180_000).images


def test_two_cameras_that_send_the_same_have_a_picture_each(keeper: Pictures, tmp_path: Path) -> None:
    for device in ("A", "B"):
        assert keeper.keep(heard(event(device, retained=True)), ((0, JPEG),), NOW).images
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    "device", ["../../../etc/cron.d/x", "/etc/passwd", "..\\..\\x", "a\0b", "Küche", "~/.ssh/x", "\udcff", "x" * 10_000]
)
def test_no_word_of_a_device_is_in_a_path(keeper: Pictures, tmp_path: Path, device: str) -> None:
    ((_, record),) = keeper.keep(heard(event(device)), ((0, JPEG),), NOW).images
    assert record.device == device
    (file,) = files(tmp_path)
    assert file.relative_to(tmp_path / "images").as_posix() == record.name
    assert record.name.startswith("2026/09/21/")
    assert set(record.name[11:-4]) <= set("0123456789abcdef")


@pytest.mark.parametrize("at", [-1e300, 0.0, 1e300, NOW + 3600, float("nan")])
def test_a_picture_with_a_strange_time_is_of_now(keeper: Pictures, at: float) -> None:
    ((_, record),) = keeper.keep(heard(at=at), ((0, JPEG),), NOW).images
    assert record.at == NOW


def test_a_full_disk_costs_pictures_and_no_events_and_is_said_once(
    keeper: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patched:
        patched.setattr("event_processor.store.images.tempfile.mkstemp", full)
        for number in range(3):
            kept = keeper.keep(heard(), ((0, JPEG + bytes([number])),), NOW)
            assert [(each.value, each.active) for each in kept.events] == [(None, True)]
            assert kept.images == ()
    assert keeper.keep(heard(), ((0, JPEG),), NOW).images
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "No space left on device" in caplog.messages[0]
    assert str(tmp_path) in caplog.messages[0]


def test_a_folder_that_cannot_be_looked_into_costs_pictures_and_no_events(
    keeper: Pictures, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def closed(*args: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    retained = heard(event(retained=True))
    name = str(keeper.keep(retained, ((0, JPEG),), NOW).events[0].value)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", closed)
        kept = keeper.keep(retained, ((0, JPEG),), NOW)
        assert [(each.value, each.active) for each in kept.events] == [(None, True)]
    assert "Permission denied" in caplog.messages[0]
    assert keeper.keep(retained, ((0, JPEG),), NOW).events[0].value == name


def test_of_a_film_some_pictures_are_kept_and_nothing_is_decided_on_the_others(
    keeper: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = [keeper.keep(heard(), ((0, JPEG + n.to_bytes(2)),), NOW + n / 25) for n in range(25 * 60)]
    pictures = sum(len(each.images) for each in kept)
    assert pictures == sum(len(each.events) for each in kept) == len(files(tmp_path))
    assert AT_ONCE + 60 / EVERY_S - 1 <= pictures <= AT_ONCE + 60 / EVERY_S
    assert caplog.messages == ["Front picture sends more pictures than are kept: one in 6 s, and some more at times."]
    # What says more than that there is a picture goes on without it.
    bell = event("Front picture", type="bell")
    assert keeper.keep(heard(bell), ((0, JPEG),), NOW + 60).events == (bell,)


def test_what_is_no_picture_costs_the_picture_alone_and_is_said_once(
    keeper: Pictures, caplog: pytest.LogCaptureFixture
) -> None:
    bell = event("Bell", type="bell")
    broken = (b"<svg/>", "not base64!", 7, ["a"], "A" * 20_000_000)
    for value in broken * 2:
        assert keeper.keep(heard(bell), ((0, value),), NOW) == heard(bell)
    assert sorted(caplog.messages) == [
        "a picture of Bell is not kept: expected a picture: bytes, or text in Base64",
        "a picture of Bell is not kept: the picture is too large: 10 MiB are the limit",
        "a picture of Bell is not kept: this is no picture: neither JPEG nor PNG, GIF or WebP, as it is or in Base64",
    ]


# -- from RabbitMQ --


def delivered(key: str, body: object, content_type: str | None = None) -> Heard | Pictured:
    packed = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
    return read_rabbitmq(Delivery(key, packed, content_type=content_type))


ENCODED = base64.b64encode(JPEG).decode()
CAMERA = {"device_key": "Front Camera", "type": "camera", "image": ENCODED}


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("event.notify.snapshot.front", {"data": {"active_devices": [CAMERA]}}),
        ("event.notify.snapshot.front.image", {"timestamp": NOW, "data": {"active_devices": [CAMERA]}}),
        ("event.notify.snapshot.front", {"data": {"device_info": {"inputs": [{"device_key": "Door"}, CAMERA]},
                                                  "active_devices": [{"device_key": "Door"}]}}),
        ("event.notify.snapshot.front", {"device_info": {"inputs": [CAMERA]}}),
        ("event.notify.snapshot.front", [CAMERA]),
        ("event.notify.snapshot.front.image", {"data": CAMERA}),
        ("event.notify.snapshot.front.image", CAMERA),
        ("event.notify.snapshot.Front Camera.image", {"image": ENCODED}),
        ("event.notify.snapshot.Front Camera.image", {"data": {"image": JPEG}}),
        ("event.notify.snapshot.Front Camera.image", JPEG),
        ("event.notify.snapshot.Front Camera.image", ENCODED),
    ],
)  # fmt: skip
def test_the_first_devices_pictures_are_taken_in_every_form(keeper: Pictures, key: str, body: object) -> None:
    read = delivered(key, body)
    assert isinstance(read, Pictured)
    ((number, _),) = read.pictures
    assert (read.heard.events[number].device, read.heard.events[number].active) == ("Front Camera", True)
    kept = keeper.keep(read.heard, read.pictures, NOW)
    ((_, record),) = kept.images
    assert (record.device, record.size) == ("Front Camera", len(JPEG))
    assert kept.events[number].value == record.name


def test_no_picture_is_in_what_a_log_may_show() -> None:
    shown = repr(delivered("event.notify.snapshot.front", {"data": {"active_devices": [CAMERA]}}))
    assert "Front Camera" in shown
    assert ENCODED[:20] not in shown


def test_a_raw_picture_over_rabbitmq_may_say_what_it_is() -> None:
    assert isinstance(delivered("event.notify.snapshot.Front.image", JPEG, "image/jpeg"), Pictured)


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"active_devices": [{"device_key": "Front Camera", "label": "image"}]}},
        {"data": {"device_info": {"inputs": [{"device_key": "Front Camera", "image": None}]}}},
        {"data": {"device_info": {"outputs": [{"device_key": "Siren", "image": ENCODED}]}}},
    ],
)
def test_what_only_speaks_of_images_has_none(body: object) -> None:
    assert isinstance(delivered("event.notify.snapshot.front", body), Heard)


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 9)
    | st.binary(max_size=9)
    | st.sampled_from(["", "x", ENCODED, "Front Camera"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "image", "inputs", "active_devices", "device_info", "device_key", "label", "timestamp", "state"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=_plain, image=st.booleans())
def test_no_body_does_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, body: object, image: bool) -> None:
    keeper = Pictures(ImageFolder(tmp_path_factory.mktemp("images")))
    try:
        read = delivered("event.notify.snapshot.front.image" if image else "event.notify.snapshot.front", body)
    except DecodeError:
        return
    if isinstance(read, Pictured):
        kept = keeper.keep(read.heard, read.pictures, NOW)
        assert [each.device for each in kept.events] == [each.device for each in read.heard.events]
        assert all(kept.events[number].device == record.device for number, record in kept.images)


def test_a_heartbeat_s_picture_is_not_kept() -> None:
    body = {"data": {"device_info": {"inputs": [CAMERA]}}}
    assert isinstance(delivered("event.heartbeat.snapshot.front", body), Heard)


# -- in the thread that reads --


def filtering(pictures: Pictures | None, source: str = "inproc://in") -> HeartbeatFilter:
    discovery = Discovery()
    return HeartbeatFilter(discovery, discovery.registry, Liveness(0.0), pictures=pictures, source_zmq_url=source,
                           sink_zmq_url="inproc://out")  # fmt: skip


def raw(topic: str, body: bytes, *, retained: bool = False) -> Raw:
    return Raw(topic=topic, body=body, at=NOW, message_id="m", origin="1.a", retained=retained)


def test_what_a_camera_sends_over_mqtt_goes_on_as_a_name(runtime: Runtime, keeper: Pictures, tmp_path: Path) -> None:
    filter = filtering(keeper)
    filter.process(raw("homeassistant/camera/front/config", ANNOUNCEMENT, retained=True))
    said = filter.process(raw("cam/1", JPEG))
    assert isinstance(said, Heard)
    assert (tmp_path / "images" / str(said.events[0].value)).read_bytes() == JPEG
    assert [(number, record.name) for number, record in said.images] == [(0, said.events[0].value)]
    without = filtering(None, "inproc://another")
    without.process(raw("homeassistant/camera/front/config", ANNOUNCEMENT, retained=True))
    said = without.process(raw("cam/1", JPEG))
    assert isinstance(said, Heard)
    assert (said.events[0].value, said.images) == (None, ())


def test_pictures_of_applications_go_the_same_way(runtime: Runtime, keeper: Pictures) -> None:
    filter = filtering(keeper)
    said = filter.process(delivered("event.notify.snapshot.front", {"data": {"active_devices": [CAMERA]}}))
    assert isinstance(said, Heard)
    assert len(said.images) == 1
    body = {"data": {"active_devices": [dict(CAMERA)]}}
    said = filter.process({"front": body})  # from a thread of one's own
    assert isinstance(said, Heard)
    assert len(said.images) == 1
    assert body == {"data": {"active_devices": [CAMERA]}}, "what others may hold too is left as it was"
