"""Days on which not everything works: maintenance mode, and a store that is damaged, full or read-only. The hub relays on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from event_processor.domain.outcome import Evaluation
from event_processor.store.reader import Reader
from pylib.observe.control import ask, running
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.ports import free_port
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import DOOR, Home, publish, watching

RULES = """
[[rule]]
id = "open"
trigger = {device = "Front Door", on = "report"}
action = {do = "output", output = "bell"}
"""
BELL = "\n[output:bell]\ntopic = cmnd/bell\npayload = {value}\n"
KEPT = "is kept as"

pytestmark = [pytest.mark.timeout(100), pytest.mark.slow]


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    made = Home.of(tmp_path, mosquitto, rabbitmq)
    conf = tmp_path / "app.conf"
    conf.write_text(conf.read_text() + BELL)
    (tmp_path / "rules.toml").write_text(RULES)
    made.env |= {"WEB_ENABLED": "yes", "WEB_PORT": str(free_port())}
    return made


@pytest.fixture
def small_disk(home: Home) -> Iterator[Path]:
    """The hub's state folder is a disk of its own, of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; the store's own tests limit the pages instead")
    folder = home.folder / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "hub-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def asked(home: Home, **request: object) -> dict[str, Any]:
    """What the hub answers through its control socket."""
    return cast(dict[str, Any], ask(running(home.folder / "state")[0], request))


def door(mosquitto: Mosquitto, value: int) -> None:
    publish(mosquitto, "sensor/front/door", DOOR.replace("97", str(value)))


def decided(home: Home, count: int) -> list[Evaluation]:
    """Wait until the rule has looked at so many events, and all of that is stored."""
    reader = Reader(home.folder / "state" / "hub.db")
    deadline, pause = time.monotonic() + 20, threading.Event()
    while len(looked := reader.evaluations(rule="open").rows) < count:
        assert time.monotonic() < deadline, looked
        pause.wait(0.05)
    reader.close()
    return [stored.evaluation for stored in looked]


def ready(home: Home) -> bool:
    """What the health endpoint says."""
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{home.env['WEB_PORT']}/health/ready", timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        found: bool = json.loads(answer.read())["ok"]
        assert answer.status == (200 if found else 503)
    return found


def test_in_maintenance_mode_everything_is_decided_and_explained_and_nothing_leaves(home: Home, mosquitto: Mosquitto) -> None:
    with watching(mosquitto, "cmnd/#") as bell:
        with home.running_hub() as hub:
            door(mosquitto, 1)
            bell.wait_for("^cmnd/bell 1$")
            assert asked(home, ask="request", what="maintenance", value=True)["done"] is True
            door(mosquitto, 2)
            decided(home, 2)
            hub.kill()
        with home.running_hub():  # it goes on with it
            door(mosquitto, 3)
            decided(home, 3)
            assert asked(home, ask="request", what="maintenance", value=False)["done"] is True
            door(mosquitto, 4)
            bell.wait_for("^cmnd/bell 4$")
        assert "cmnd/bell 2" not in bell.output
        assert "cmnd/bell 3" not in bell.output
    looked = decided(home, 4)
    quiet = [each for each in looked if "maintenance mode is on" in each.explanation]
    assert len(looked) == 4
    assert len(quiet) == 2


def test_a_damaged_store_is_set_aside_and_said_and_the_hub_relays(home: Home, mosquitto: Mosquitto) -> None:
    with home.running_hub() as hub, watching(mosquitto, "cmnd/#") as bell:
        door(mosquitto, 1)
        bell.wait_for("^cmnd/bell 1$")
        assert hub.stop() == 0
    file = home.folder / "state" / "hub.db"
    with file.open("r+b") as damaging:
        damaging.seek(4096)
        damaging.write(os.urandom(file.stat().st_size - 4096))
    with home.running_hub() as hub, watching(mosquitto, "cmnd/#") as bell:
        assert KEPT in hub.output
        assert not ready(home)
        found = asked(home, ask="health")["problems"]
        assert ["set aside" in problem["what"] for problem in found if problem["part"] == "store"] == [True]
        door(mosquitto, 2)
        bell.wait_for("^cmnd/bell 2$")
        assert hub.stop(signal.SIGTERM) == 0
        assert "Traceback" not in hub.output
    assert [path for path in file.parent.iterdir() if ".damaged-" in path.name]


def test_a_full_disk_is_said_and_the_hub_relays_and_stores_again_when_there_is_room(
    home: Home, mosquitto: Mosquitto, small_disk: Path
) -> None:
    filling = small_disk / "filling"
    with filling.open("wb") as file:
        _fill(file.fileno())
    with home.running_hub() as hub, watching(mosquitto, "cmnd/#") as bell:
        door(mosquitto, 1)
        bell.wait_for("^cmnd/bell 1$")
        assert "Until then nothing is stored" in hub.output
        assert not ready(home)
        filling.unlink()
        hub.wait_for("can be written again", timeout=30)
        assert ready(home)
        door(mosquitto, 2)
        bell.wait_for("^cmnd/bell 2$")
        assert hub.stop() == 0
        assert "Traceback" not in hub.output
    reader = Reader(small_disk / "hub.db")
    assert {stored.event.value for stored in reader.events(device="Front Door").rows if stored.event} == {1, 2}
    reader.close()


def test_a_read_only_folder_is_said_and_the_hub_relays(home: Home, mosquitto: Mosquitto, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with home.running_hub() as hub, watching(mosquitto, "cmnd/#") as bell:
        door(mosquitto, 1)
        bell.wait_for("^cmnd/bell 1$")
        assert "Until then nothing is stored" in hub.output
        assert hub.stop() == 0
        assert "Traceback" not in hub.output


def _fill(file: int) -> None:
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError:
        pass
