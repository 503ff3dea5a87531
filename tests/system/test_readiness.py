"""While something is broken, the hub is not ready, says which part and since when, and is ready again by itself."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from event_processor.app import Hub, build
from event_processor.settings import load
from pylib.app import AppThread, RestartPolicy
from pylib.application import Application
from pylib.config import AppConfig
from pylib.observe.health import Health, Problem
from pylib.observe.observing import health_of
from pylib.runtime.runtime import Runtime
from pylib.testing.faults import FaultProxy
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import FaultProxyFactory
from pylib.testing.ports import free_port
from pylib.testing.rabbitmq import Vhost
from tests.faults.conftest import Cable, can_cut
from tests.system.hub_kit import APP_CONF, DOOR, publish

pytestmark = pytest.mark.timeout(120)

PATIENCE = 40.0
#: What is promised of a broker that does not answer any more: noticed within 7 s. The rest is this machine's.
NOTICED = 10.0
DISK = "4m"
#: Seconds that a stop may take here: how long it takes is another test's.
STOP = 5.0


def until(health: Callable[[], Health], wanted: Callable[[Health], bool], timeout: float = PATIENCE) -> Health:
    """Look until it is as wanted. Fails with what there is."""
    end, last = time.monotonic() + timeout, health()
    while not wanted(last):
        assert time.monotonic() < end, f"it is {last}"
        threading.Event().wait(0.02)
        last = health()
    return last


def is_ill(part: str) -> Callable[[Health], bool]:
    return lambda health: not health.ready and any(part in problem.part for problem in health.problems)


def is_ready(health: Health) -> bool:
    return health.ready


class House:
    """A hub in this process, with a line to each broker that can be broken."""

    def __init__(
        self, runtime: Runtime, folder: Path, mqtt: FaultProxy, amqp: FaultProxy, monkeypatch: pytest.MonkeyPatch,
        database: Path | None = None,
    ) -> None:  # fmt: skip
        self.mqtt, self.amqp = mqtt, amqp
        path = folder / "app.conf"
        path.write_text(APP_CONF.format(expiry=90) + "\n[web]\nenabled = no\n")
        self.port = free_port()
        monkeypatch.setenv("OBSERVE_METRICS_PORT", str(self.port))
        monkeypatch.setenv("STATE_DIRECTORY", str(folder))
        environ = {"MQTT_SERVER_ADDRESS": mqtt.url, "RABBITMQ_SERVER_ADDRESS": amqp.url, "DEVICE_NAME": "test-device",
                   "HUB_DATABASE": str(database or folder / "hub.db")}  # fmt: skip
        self.hub: Hub = build(load(AppConfig(path, environ)), runtime, device="test-device")
        self.hub.start()
        assert self.hub.ready.wait(PATIENCE)
        until(self.health, is_ready)

    def health(self) -> Health:
        return self.hub.observing.healthy()

    def asked(self, which: str) -> tuple[int, Health]:
        """The answer of ``/health/...``, as whoever watches the hub from outside gets it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/{which}", timeout=10) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        found = json.loads(body)
        problems = tuple(Problem(**each) for each in found.pop("problems"))
        return status, Health(**found, problems=problems)


@pytest.fixture
def house(
    runtime: Runtime, tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost, fault_proxy_factory: FaultProxyFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:  # fmt: skip
    mqtt, amqp = FaultProxy.before(mosquitto.url), FaultProxy.before(rabbitmq.address)
    with mqtt, amqp:
        yield House(runtime, tmp_path, mqtt, amqp, monkeypatch)
        assert runtime.stop(STOP) == []


def breaks_and_heals(house: House, part: str, break_it: Callable[[], object], mend_it: Callable[[], object]) -> Problem:
    """Readiness turns, the part and the moment are named, both also from outside, and it recovers by itself."""
    before = time.time()
    break_it()
    found = until(house.health, is_ill(part), NOTICED)
    now = time.time()
    problem = next(each for each in found.problems if part in each.part)
    assert before - 1 <= problem.since <= now
    assert found.live, "a restart would not help"
    status, seen = house.asked("ready")
    assert status == 503
    assert next(each for each in seen.problems if part in each.part).since == problem.since, "since when does not move"
    assert house.asked("live")[0] == 200
    mend_it()
    until(house.health, is_ready)
    assert house.asked("ready")[0] == 200
    return problem


@pytest.mark.parametrize("broker", ["mqtt", "amqp"])
def test_a_broker_that_refuses_connections_is_named(house: House, broker: str) -> None:
    line, part = (house.mqtt, "MQTT broker at") if broker == "mqtt" else (house.amqp, "RabbitMQ at")
    problem = breaks_and_heals(house, part, line.refuse, line.heal)
    assert "not connected" in problem.what


@pytest.mark.parametrize("broker", ["mqtt", "amqp"])
def test_a_broker_that_freezes_is_named_although_its_connection_stands(house: House, broker: str) -> None:
    line, part = (house.mqtt, "MQTT broker at") if broker == "mqtt" else (house.amqp, "RabbitMQ at")
    problem = breaks_and_heals(house, part, line.freeze, line.heal)
    assert "answer" in problem.what or "silent" in problem.what or "heard" in problem.what, problem.what


@pytest.mark.parametrize("broker", ["mqtt", "amqp"])
def test_a_cable_that_is_pulled_is_named(house: House, broker: str) -> None:
    if not can_cut():
        pytest.skip("losing packets takes root and iptables; a line that freezes is tested without")
    line, part = (house.mqtt, "MQTT broker at") if broker == "mqtt" else (house.amqp, "RabbitMQ at")
    cable = Cable(line.port)
    breaks_and_heals(house, part, cable.pull, cable.plug)


def test_a_broker_that_is_killed_is_named_and_taken_up_again(house: House, mosquitto: Mosquitto) -> None:
    breaks_and_heals(house, "MQTT broker at", mosquitto.kill, mosquitto.start)


def test_a_memory_alarm_is_named_as_one(house: House) -> None:
    problem = breaks_and_heals(house, "RabbitMQRelay", house.amqp.block, house.amqp.unblock)
    assert "memory and disk alarms" in problem.what


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system, which takes root to mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; tests/unit/store limits the pages instead")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "readiness-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_is_named(
    runtime: Runtime, tmp_path: Path, disk: Path, mosquitto: Mosquitto, rabbitmq: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy.before(mosquitto.url) as mqtt, FaultProxy.before(rabbitmq.address) as amqp:
        house = House(runtime, tmp_path, mqtt, amqp, monkeypatch, database=disk / "hub.db")
        filler = disk / "filler"

        def fill() -> None:
            with closing(os.fdopen(os.open(filler, os.O_CREAT | os.O_WRONLY), "wb", buffering=0)) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            for number in range(3):  # what has nowhere to go
                publish(mosquitto, f"sensor/{number}/door", DOOR.replace("97", '"' + "x" * 60_000 + '"'))

        problem = breaks_and_heals(house, "store", fill, filler.unlink)
        assert "full" in problem.what
        assert runtime.stop(STOP) == []


def test_a_thread_that_dies_is_named_until_it_runs_again(runtime: Runtime) -> None:
    runs, again = [], threading.Event()

    class Mortal(AppThread):
        def run(self) -> None:
            runs.append(1)
            if len(runs) == 1:
                raise OSError("gone")
            again.set()
            self.member.busy_since = None
            self.member.gate.wait()

    thread = Mortal("mortal", restart=RestartPolicy(limit=3, first_delay=0.5, max_delay=0.5))
    before = time.time()
    thread.start()
    health = health_of(runtime)
    found = until(health, is_ill("thread mortal"))
    assert "OSError: gone" in found.problems[0].what
    assert before <= found.problems[0].since <= time.time()
    assert again.wait(PATIENCE)
    until(health, is_ready)
    assert runtime.stop(STOP) == []


def test_a_thread_that_hangs_is_named_and_only_a_restart_helps(runtime: Runtime, mosquitto: Mosquitto) -> None:
    app, freed = Application("garden"), threading.Event()
    mqtt = app.mqtt(mosquitto.address)

    @mqtt.on("soil/+/state", deadline=0.3)
    def water(body: bytes) -> None:
        freed.wait(PATIENCE)

    app.start()
    assert app.wait_until_ready(PATIENCE)
    health = health_of(runtime)
    assert until(health, is_ready).live
    before = time.time()
    publish(mosquitto, "soil/7/state", "dry")
    found = until(health, lambda now: not now.live)
    hung = next(problem for problem in found.problems if problem.fatal)
    assert hung.part == "thread water"
    assert before - 0.1 <= hung.since <= time.time()
    assert runtime.latch.wait(PATIENCE), "and so it stops, to be started again from outside"
    freed.set()
    runtime.stop()
