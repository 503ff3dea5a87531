"""Pictures from devices to the disk, the store, the pages and the people: real brokers, and the hub as its user starts it."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pika
import pytest

from event_processor.domain.pictures import MOST_BYTES
from event_processor.simulator import picture
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.processes import run_program
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import READY, SOURCE, Home, publish
from tests.system.web_kit import WebHub
from tests.unit.notify.service import Service

pytestmark = [pytest.mark.timeout(110), pytest.mark.slow]

RULES = """
[[rule]]
id = "camera"
trigger = {device = "* picture", retained = true}
action = {do = "notify", to = ["phone"], title = "Camera", text = "{device}", image = true}

[[rule]]
id = "bell"
trigger = {device = "Front bell"}
action = {do = "notify", to = ["phone"], title = "Bell", text = "{device}", image = true}

[[rule]]
id = "door"
trigger = {device = "Back Door"}
action = {do = "notify", to = ["phone"], title = "Door", text = "{device}", image = "Front picture"}

[[rule]]
id = "first"
trigger = {device = "First Camera"}
action = {do = "notify", to = ["phone"], title = "First", text = "{device} {value}", image = true}
"""
DEVICE = {"identifiers": ["front"], "name": "Front"}
AWAY = "../../../../../../tmp/evil <script>alert(1)</script>"


def announce(broker: Mosquitto) -> None:
    camera = {"unique_id": "f1", "name": "picture", "image_topic": "front/picture", "device": DEVICE}
    bell = {"unique_id": "f2", "name": "bell", "state_topic": "front/bell", "device": DEVICE}
    strange = {"unique_id": "x1", "name": "picture", "topic": "away/picture", "image_encoding": "b64",
               "device": {"identifiers": [AWAY], "name": AWAY}}  # fmt: skip
    fetched = {"unique_id": "u1", "url_topic": "front/url", "device": DEVICE}
    for name, config in (
        ("image/front", camera),
        ("binary_sensor/front", bell),
        ("camera/away", strange),
        ("image/url", fetched),
    ):
        publish(broker, f"homeassistant/{name}/config", json.dumps(config), "-r")


def drawn(hour: int) -> bytes:
    return picture.draw(datetime(2026, 11, 24, hour, tzinfo=UTC), 0.8, person=True)


@contextmanager
def hub(home: Home, folder: Path) -> Iterator[tuple[WebHub, httpx.Client]]:
    """The hub with its dashboard, and a browser that is logged in."""
    with home.hub(env={"WEB_ENABLED": "yes", "WEB_PORT": "0"}) as program:
        if not (folder / "password").exists():
            web = WebHub(program, folder)
            with web.set_up() as browser:
                (folder / "password").touch()
                program.wait_for(READY, timeout=30)
                yield web, browser
        else:
            program.wait_for(READY, timeout=30)
            address = program.wait_for(r"(http://127\.0\.0\.1:\d+)")[1]
            web = WebHub.__new__(WebHub)
            web.program, web.folder, web.address, web.code = program, folder, address, ""
            with web.log_in("ada") as browser:
                yield web, browser


def snapshots(browser: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = browser.get("/api/snapshots").json()["items"]
    return items


def test_a_picture_reaches_the_disk_the_store_the_pages_and_the_people(
    tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    images = tmp_path / "state" / "images"
    with Service().running() as service:
        home = Home.of(tmp_path, mosquitto, rabbitmq)
        (tmp_path / "rules.toml").write_text(RULES)
        with (tmp_path / "app.conf").open("a") as conf:
            conf.write(f"\n[notify:phone]\nurl = {service.url}\nrate_s = 0\n")
        with hub(home, tmp_path) as (web, browser):
            announce(mosquitto)
            web.program.wait_for("pictures are not fetched from addresses")

            # A camera, as it is.
            morning = drawn(8)
            publish(mosquitto, "front/picture", morning, "-r")
            service.wait(sent=1)
            assert (service.sent[0].text, service.sent[0].pictures) == ("Front picture", (morning,))
            (entry,) = snapshots(browser)
            assert (entry["device"], entry["size"], entry["content_type"]) == ("Front picture", len(morning), "image/png")
            assert entry["sha256"] == hashlib.sha256(morning).hexdigest()
            assert (images / entry["name"]).read_bytes() == morning
            assert browser.get(f"/api/snapshots/{entry['name']}").content == morning
            page = browser.get("/snapshots").text
            assert f'src="/snapshots/{entry["name"]}"' in page
            assert browser.get(f"/snapshots/{entry['name']}").content == morning
            # Its cause is the event, which the page leads to.
            event = browser.get(f"/api/events/{entry['cause']}").json()
            assert event["event"]["event"]["device"] == "Front picture"
            assert event["event"]["event"]["value"] == entry["name"]
            assert browser.get(f"/events/{entry['cause']}").status_code == 200

            # A bell of the same device has the camera's latest, and so has a door that names it.
            evening = drawn(19)
            publish(mosquitto, "front/picture", base64.b64encode(evening), "-r")
            service.wait(sent=2)
            publish(mosquitto, "front/bell", "ON")
            service.wait(sent=3)
            assert (service.sent[2].title, service.sent[2].pictures) == ("Bell", (evening,))
            back = {"input_location": "Back", "input_1": {"input_label": "Door", "sample_value": 9, "active": True}}
            publish(mosquitto, "sensor/back", json.dumps(back))
            service.wait(sent=4)
            assert (service.sent[3].title, service.sent[3].pictures) == ("Door", (evening,))

            # An application on RabbitMQ.
            noon = drawn(12)
            _over_rabbitmq(rabbitmq, noon)
            service.wait(sent=5)
            first = snapshots(browser)[0]
            assert (first["device"], service.sent[4].pictures) == ("First Camera", (noon,))
            assert service.sent[4].text == "First Camera 7", "its own value is not the picture's name"

            # What is none is refused with a line, and costs nothing else.
            publish(mosquitto, "front/picture", b"\xff\xd8\xff" + bytes(MOST_BYTES))
            web.program.wait_for(r"front/picture was set aside: the picture is too large: 10 MiB are the limit")
            publish(mosquitto, "front/picture", b"<svg onload=alert(1)>")
            web.program.wait_for(r"front/picture was set aside: this is no picture")

            # No word of a device is in a path.
            publish(mosquitto, "away/picture", base64.b64encode(morning))
            service.wait(sent=6)
            assert (service.sent[5].text, service.sent[5].pictures) == (f"{AWAY} picture", (morning,))
            page = browser.get("/snapshots").text
            assert "evil &lt;script&gt;" in page
            assert "<script>alert" not in page
            entries = snapshots(browser)
            assert len(entries) == 4
        on_disk = {path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file()}
        assert len(on_disk) == 4
        assert not list(Path("/tmp").glob("evil*"))

        # The broker gives out what it retained once more; it is the same picture.
        with hub(home, tmp_path) as (_, browser):
            service.wait(sent=7)
            assert (service.sent[6].title, service.sent[6].pictures) == ("Camera", (evening,))
            assert snapshots(browser) == entries, "with the time and the event of its first coming"
        logged = (tmp_path / "state").rglob("*.log")
        assert not any(b"PNG" in path.read_bytes() for path in logged)


def _over_rabbitmq(vhost: Vhost, data: bytes) -> None:
    body = {"data": {"active_devices": [{"device_key": "First Camera", "type": "camera", "sample_value": 7,
                                         "image": base64.b64encode(data).decode()}]}}  # fmt: skip
    connection = pika.BlockingConnection(pika.URLParameters(vhost.address))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("test_home", "event.notify.snapshot.First Camera.image", msgspec.msgpack.encode(body))
    finally:
        connection.close()


def test_the_simulated_home_s_camera_is_on_the_snapshots_page(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    env = {"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp"), "WEB_PORT": "0"}
    with run_program([sys.executable, "-m", "event_processor.cli", "demo"], env=env, folder=tmp_path) as program:
        web = WebHub(program, tmp_path)
        web.wait_until_ready()
        with web.set_up() as browser, browser.stream("GET", "/api/stream") as stream:
            for line in stream.iter_lines():  # the camera takes one every ten minutes of its home: ten seconds
                if line.startswith("data: ") and (json.loads(line[6:]).get("event") or {}).get("type") == "picture":
                    break
            (name, *_) = [entry["name"] for entry in snapshots(browser) if entry["device"] == "Entrance Camera picture"]
            assert f'src="/snapshots/{name}"' in browser.get("/snapshots").text
            assert browser.get(f"/snapshots/{name}").content.startswith(b"\x89PNG")
            assert "/snapshots?device=Entrance%20Camera%20picture" in browser.get("/devices?text=Entrance+Camera").text
