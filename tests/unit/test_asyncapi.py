"""The AsyncAPI document of an application, held against the rules of AsyncAPI 3.0.0 that tools rely on."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pydantic
import pytest

from pylib.application import Application, Delivery
from pylib.application.asyncapi import asyncapi
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime
from tests.system.hub_kit import ROOT, SOURCE

KEY = re.compile(r"[A-Za-z0-9_.-]+")  # the specification's, of the keys of components


class Place(msgspec.Struct):
    room: str
    floor: int = 0


class Reading(msgspec.Struct):
    moisture: float
    place: Place | None = None


@dataclasses.dataclass
class Door:
    open: bool


class Model(pydantic.BaseModel):
    class Inner(pydantic.BaseModel):
        watts: float

    inner: Inner


@pytest.fixture
def app(runtime: Runtime) -> Application:
    """An application with a handler of every kind."""
    app = Application("garden")
    mqtt = app.mqtt("mqtts://anna:secret@one:8883, mqtts://anna:secret@two:8883")
    rabbit = app.rabbitmq("amqp://anna:secret@rabbit:5673/house", exchange="home")

    @mqtt.on("soil/+/state")
    def water(reading: Reading, topic: str) -> None:
        """Water what is dry.

        For twenty seconds.
        """

    @mqtt.on("soil/+/state")
    async def note(reading: Reading) -> None: ...

    @mqtt.on("door/#")
    def door(door: Door) -> None: ...

    @mqtt.on("raw/+/+")
    def raw(body: bytes) -> None: ...

    @mqtt.on("say")
    def say(text: str) -> None: ...

    @mqtt.on("tick")
    def tick(topic: str) -> None: ...

    @mqtt.on("any")
    def anything(body) -> None: ...  # type: ignore[no-untyped-def]

    @rabbit.on("event.*.pump.#")
    def pump(model: Model) -> None: ...

    @rabbit.on("event.all", name="event.all")
    def everything(delivery: Delivery) -> None: ...

    @rabbit.on("list")
    def several(rows: list[tuple[int, str]]) -> None: ...

    return app


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(document: dict, reference: str) -> Any:
    assert reference.startswith("#/"), reference
    found: Any = document
    for step in reference[2:].split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def conforms(document: dict) -> None:
    """Holds a document against the specification, section by section."""
    assert document["asyncapi"] == "3.0.0"
    assert document.keys() <= {
        "asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"
    }  # fmt: skip
    assert isinstance(document["info"]["title"], str)
    assert isinstance(document["info"]["version"], str)
    for reference in references(document):
        resolved(document, reference)
    for server in document["servers"].values():
        assert server["host"]
        assert "://" not in server["host"]
        assert server["protocol"] in ("mqtt", "secure-mqtt", "amqp", "amqps")
    addresses = []
    for channel in document["channels"].values():
        known = {"address", "messages", "servers", "parameters", "bindings", "title", "summary", "description"}
        assert all(name in known or name.startswith("x-") for name in channel)
        assert set(re.findall(r"\{([^{}]+)\}", channel["address"])) == set(channel.get("parameters", {}))
        assert not set("?#") & set(channel["address"])  # no query and no fragment
        assert channel["messages"]
        assert all(each["$ref"].startswith("#/servers/") for each in channel["servers"])
        addresses.append((channel["address"], json.dumps(channel["servers"])))
    assert len(set(addresses)) == len(addresses)
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert operation["channel"]["$ref"].startswith("#/channels/")
        # The messages of an operation are a part of its channel's, and point there, not into components.
        mine = operation["channel"]["$ref"] + "/messages/"
        assert operation["messages"]
        assert all(each["$ref"].startswith(mine) for each in operation["messages"])
    for kind in ("messages", "schemas"):
        assert all(KEY.fullmatch(key) for key in document["components"][kind])
    for message in document["components"]["messages"].values():
        assert message["contentType"]
        whole = {"components": document["components"], **message["payload"]}
        jsonschema_rs.Draft202012Validator(whole)  # raises where it is no schema


def test_the_document_of_an_application_follows_the_specification(app: Application) -> None:
    document = asyncapi(app, version="2.1")
    conforms(document)
    assert json.loads(json.dumps(document)) == document
    assert document["info"] == {"title": "garden", "version": "2.1"}


def test_it_says_what_each_handler_is_registered_on_and_takes(app: Application) -> None:
    document = asyncapi(app)
    channels = document["channels"]
    assert [channel["address"] for channel in channels.values()] == [
        "soil/{level_2}/state", "door/{levels_from_2}", "raw/{level_2}/{level_3}", "say", "tick", "any",
        "event.{word_2}.pump.{words_from_4}", "event.all", "list",
    ]  # fmt: skip
    soil = channels["mqtt-soil-any-state"]
    assert list(soil["messages"]) == ["mqtt-water", "mqtt-note"]  # two handlers, one channel
    assert document["operations"]["mqtt-water"]["summary"] == "Water what is dry."
    assert document["operations"]["mqtt-water"]["description"] == "For twenty seconds."
    messages = document["components"]["messages"]
    assert messages["mqtt-water"]["payload"] == {"$ref": "#/components/schemas/Reading"}
    assert messages["mqtt-water"]["contentType"] == "application/json"
    assert messages["mqtt-raw"]["contentType"] == "application/octet-stream"
    assert messages["mqtt-say"]["contentType"] == "text/plain"
    assert messages["rabbitmq-pump"]["contentType"] == "application/msgpack"
    reading = document["components"]["schemas"]["Reading"]
    assert reading["required"] == ["moisture"]
    assert {"Place", "Reading", "Door", "Inner"} <= document["components"]["schemas"].keys()
    pump = channels["rabbitmq-event-any-pump-all"]
    assert pump["bindings"]["amqp"]["exchange"] == {"name": "home", "type": "topic", "durable": True, "vhost": "house"}


def test_a_schema_of_it_says_yes_to_what_the_handler_takes_and_no_to_the_rest(app: Application) -> None:
    document = asyncapi(app)
    schema = document["components"]["messages"]["mqtt-water"]["payload"]
    validator = jsonschema_rs.Draft202012Validator({"components": document["components"], **schema})
    assert validator.is_valid({"moisture": 12, "place": {"room": "Hall"}})
    assert not validator.is_valid({"place": None})
    assert not validator.is_valid({"moisture": 12, "place": {"floor": 1}})


def test_servers_are_named_without_user_and_password(app: Application) -> None:
    document = asyncapi(app)
    assert {name: server["host"] for name, server in document["servers"].items()} == {
        "mqtt-1": "one:8883", "mqtt-2": "two:8883", "rabbitmq": "rabbit:5673"
    }  # fmt: skip
    assert document["servers"]["mqtt-1"]["protocol"] == "secure-mqtt"
    assert document["servers"]["rabbitmq"]["pathname"] == "/house"
    assert "secret" not in json.dumps(document)
    assert "anna" not in json.dumps(document)


def test_two_patterns_that_look_alike_are_two_channels(runtime: Runtime) -> None:
    app = Application("alike")
    mqtt = app.mqtt("localhost")

    @mqtt.on("a/b")
    def one(body: bytes) -> None: ...

    @mqtt.on("a-b")
    def two(body: bytes) -> None: ...

    document = asyncapi(app)
    conforms(document)
    assert [channel["address"] for channel in document["channels"].values()] == ["a/b", "a-b"]


def test_an_application_without_handlers_has_a_document_too(runtime: Runtime) -> None:
    app = Application("empty")
    app.mqtt("localhost")
    conforms(asyncapi(app))


def test_a_type_without_a_schema_is_told_by_the_handler_s_name(runtime: Runtime) -> None:
    app = Application("odd")
    mqtt = app.mqtt("localhost")

    class Odd:
        pass

    @mqtt.on("odd")
    def handler(body: Any) -> None: ...

    mqtt.registrations[0].binding.body = Odd
    with pytest.raises(ConfigError, match="handler handler: its body's type has no JSON schema"):
        asyncapi(app)


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pylib.tools.cli", "asyncapi", *arguments]
    env = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin", "HOME": str(folder), "MQTT_SERVER_ADDRESS": "localhost"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("target", ["garden.py:app", "garden:app"])
def test_the_command_prints_the_document_of_a_module_that_runs_without_a_guard(tmp_path: Path, target: str) -> None:
    readme = (ROOT / "README.md").read_text()
    code = readme.partition("<!-- first example -->")[2].partition("```python\n")[2].partition("```")[0]
    assert "\napp.run()\n" in code
    (tmp_path / "garden.py").write_text(code)
    done = run(target, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    conforms(document)
    assert document["channels"]["mqtt-soil-any-state"]["address"] == "soil/{level_2}/state"
    assert document["components"]["schemas"]["Reading"]["required"] == ["moisture"]


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("garden", "", "say module:name or file.py:name"),
        ("nowhere:app", "", "nowhere: there is no such module here"),
        ("nowhere.py:app", "", "nowhere.py: there is no such module here"),
        ("mine:app", "1 / 0", "mine cannot be imported: ZeroDivisionError"),
        ("mine:app", "x = 5", "mine has no application named 'app'; there is none in it"),
        ("mine:app", "from pylib.application import Application\nother = Application('a')", "; there is other."),
    ],
)
def test_the_command_says_in_one_line_what_it_cannot_describe(tmp_path: Path, target: str, code: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    done = run(target, folder=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
