"""Cameras in Home Assistant's discovery, and pictures that a mapping describes."""

from __future__ import annotations

import base64
import json

import pytest

from event_processor.discovery.discovery import Discovery
from event_processor.discovery.mappings import FreeMapping, free_mapping
from event_processor.domain import pictures
from event_processor.domain.entities import Found
from pylib.errors import ConfigError

NOW = 1_790_000_000.0
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256))
DEVICE = {"identifiers": ["cam-1"], "name": "Front Camera"}


def read(discovery: Discovery, topic: str, body: bytes, *, retained: bool = False) -> Found:
    return discovery.read(topic, body, retained=retained, now=NOW)


def announced(component: str, **config: object) -> tuple[Discovery, Found]:
    discovery = Discovery()
    body = {"unique_id": "cam-1-picture", "name": "picture", "device": DEVICE, **config}
    return discovery, read(discovery, f"homeassistant/{component}/cam/config", json.dumps(body).encode(), retained=True)


@pytest.mark.parametrize(
    ("component", "config"),
    [
        ("camera", {"topic": "cam/1"}),
        ("camera", {"t": "~/1", "~": "cam"}),
        ("image", {"image_topic": "cam/1", "content_type": "image/jpeg"}),
        ("image", {"img_t": "cam/1"}),
    ],
)
def test_a_camera_is_a_device_whose_messages_are_pictures(component: str, config: dict[str, object]) -> None:
    discovery, found = announced(component, **config)
    assert [(entity.key, entity.role, entity.type, entity.component) for entity in found.entities] == [
        ("Front Camera picture", "input", "picture", component)
    ]
    assert found.subscribe == ("cam/1",)
    found = read(discovery, "cam/1", JPEG)
    (event,) = found.events
    assert (event.device, event.kind, event.type, event.value, event.active, event.retained) == (
        "Front Camera picture", "input", "picture", None, True, False,
    )  # fmt: skip
    assert found.pictures == ((0, JPEG),)


@pytest.mark.parametrize("component", ["camera", "image"])
@pytest.mark.parametrize("encoding", [{"image_encoding": "b64"}, {"img_e": "b64"}, {}])
def test_a_picture_may_come_in_base64(component: str, encoding: dict[str, object]) -> None:
    discovery, _ = announced(component, topic="cam/1", image_topic="cam/1", **encoding)
    for body in (base64.b64encode(JPEG), base64.encodebytes(JPEG), b"data:image/jpeg;base64," + base64.b64encode(JPEG)):
        assert read(discovery, "cam/1", body).pictures == ((0, JPEG),)


def test_a_camera_has_an_availability_and_is_taken_back_as_any_other_entity() -> None:
    discovery, _ = announced("camera", topic="cam/1", availability_topic="cam/online")
    (word,) = read(discovery, "cam/online", b"offline").availability
    assert (word.device, word.online) == ("cam-1", False)
    assert read(discovery, "cam/1", b"", retained=True) == Found(), "a retained picture was taken away"
    assert read(discovery, "homeassistant/camera/cam/config", b"").removed == ("Front Camera picture",)
    assert read(discovery, "cam/1", JPEG).events == ()


def test_pictures_are_not_fetched_from_addresses() -> None:
    discovery, found = announced("image", url_topic="cam/url")
    (problem,) = found.problems
    assert problem.startswith("homeassistant/image/cam/config: url_topic: pictures are not fetched from addresses")
    assert (found.entities, found.subscribe) == ((), ())
    assert read(discovery, "cam/url", b"http://192.168.1.1/shutdown").events == ()


def test_a_camera_without_a_topic_is_named_by_what_it_lacks() -> None:
    assert "topic: there has to be one" in announced("camera")[1].problems[0]
    assert "image_topic: there has to be one" in announced("image")[1].problems[0]


@pytest.mark.parametrize(
    "body",
    [b"offline", b'{"state": "ON"}', b"<svg/>", b"\x00" * 50, base64.b64encode(b"%PDF-1.4 and more"), b"/9j/4AAQ!", b"data:"],
)
def test_what_is_no_picture_is_a_problem_and_no_event(body: bytes) -> None:
    discovery, _ = announced("camera", topic="cam/1")
    found = read(discovery, "cam/1", body)
    assert (found.events, found.pictures) == ((), ())
    assert found.problems == (
        "cam/1: this is no picture: neither JPEG nor PNG, GIF or WebP, as it is or in Base64 (Front Camera picture).",
    )


def test_pictures_that_are_too_large_give_one_and_the_same_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    discovery, _ = announced("camera", topic="cam/1")
    largest = JPEG + bytes(pictures.MOST_BYTES - len(JPEG))
    assert read(discovery, "cam/1", largest).pictures == ((0, largest),)
    assert read(discovery, "cam/1", base64.encodebytes(largest)).pictures == ((0, largest),)
    problems = {
        problem
        for body in (largest + b"0", base64.b64encode(largest + b"0"), base64.b64encode(largest * 2))
        for problem in read(discovery, "cam/1", body).problems
    }
    assert problems == {"cam/1: the picture is too large: 10 MiB are the limit (Front Camera picture)."}


# -- a mapping --


def mapped(**options: str) -> Discovery:
    mapping: FreeMapping = free_mapping("camera", topic="frigate/{camera}/person/snapshot", device="{camera}", type="picture",
                                        **options)  # type: ignore[arg-type]  # fmt: skip
    return Discovery(mappings=[mapping])


def test_a_mapping_of_type_picture_takes_what_comes_as_it_is_or_in_base64() -> None:
    discovery = mapped()
    for body in (JPEG, base64.b64encode(JPEG)):
        found = read(discovery, "frigate/Front Door/person/snapshot", body)
        (event,) = found.events
        assert (event.device, event.type, event.value, event.active) == ("Front Door", "picture", None, True)
        assert found.pictures == ((0, JPEG),)
    entity = discovery.registry.entity("Front Door")
    assert entity is not None
    assert (entity.role, entity.type) == ("input", "picture")


def test_a_mapping_finds_the_picture_in_json() -> None:
    discovery = mapped(value="after.thumbnail")
    large = JPEG + bytes(300_000)
    body = {"after": {"thumbnail": base64.b64encode(large).decode()}}
    assert read(discovery, "frigate/a/person/snapshot", json.dumps(body).encode()).pictures == ((0, large),)
    without: tuple[object, ...] = ({"after": {}}, {"after": {"thumbnail": None}}, {"after": [1]})
    for nothing in without:
        assert read(discovery, "frigate/a/person/snapshot", json.dumps(nothing).encode()) == Found()
    for broken, why in ((b'{"after": {"thumbnail": 7}}', "expected a picture"), (JPEG, "not JSON")):
        found = read(discovery, "frigate/a/person/snapshot", broken)
        assert found.events == ()
        assert why in found.problems[0]


@pytest.mark.parametrize(
    "option", [{"expression": "{{ value }}"}, {"kind": "meter"}, {"command_topic": "a"}, {"role": "output"}]
)
def test_a_picture_has_no_expression_and_is_told_nothing(option: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="type: a picture is an input"):
        mapped(**option)


def test_a_name_from_a_topic_that_no_device_can_have_is_refused() -> None:
    found = read(mapped(), "frigate/\x07/person/snapshot", JPEG)
    assert (found.events, found.pictures) == ((), ())
    assert "printable characters only" in found.problems[0]
