"""The API of a running hub: what programs do with it."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import DATABASE_NAME, Letter
from tests.system.web_kit import WebHub, token_for, web_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, hub_database: str) -> Iterator[WebHub]:
    with web_hub(tmp_path_factory.mktemp("api"), database=hub_database) as hub:
        hub.wait_until_ready()
        yield hub


@pytest.fixture(scope="module")
def api(hub: WebHub) -> Iterator[httpx.Client]:
    with hub.set_up() as admin, hub.program_with(token_for(admin, "admin")) as program:
        yield program


@pytest.fixture(scope="module")
def sensor(hub: WebHub) -> Iterator[Callable[[str, object], None]]:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(hub.program.wait_for(r"Publish to 127\.0\.0\.1:(\d+)")[1]))
    client.loop_start()

    def publish(label: str, value: object) -> None:
        body = {"input_location": "Hall", "input_1": {"input_label": label, "sample_value": value, "active": True}}
        client.publish("sensor/hall/1", json.dumps(body), qos=1).wait_for_publish(10)

    yield publish
    client.disconnect()
    client.loop_stop()


def _follow(hub: WebHub, api: httpx.Client, until: Callable[[dict[str, Any]], bool]) -> tuple[threading.Thread, list[Any]]:
    """Read the stream until something comes. Returns when the stream is open."""
    seen: list[Any] = []
    opened = threading.Event()

    def read() -> None:
        with httpx.stream("GET", f"{hub.address}/api/stream", headers=api.headers, timeout=20) as stream:
            for line in stream.iter_lines():
                if line.startswith(": you are"):
                    opened.set()
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    if until(seen[-1]):
                        return

    thread = threading.Thread(target=read)
    thread.start()
    assert opened.wait(20)
    return thread, seen


def test_what_a_sensor_says_comes_over_the_stream_and_is_there_to_look_up(
    hub: WebHub, api: httpx.Client, sensor: Callable[[str, object], None]
) -> None:
    reader, seen = _follow(hub, api, lambda each: (each["event"] or {}).get("value") == 41)
    sensor("Lux", 41)
    reader.join(20)
    happening = next(each for each in seen if (each["event"] or {}).get("value") == 41)
    assert [each["rule"] for each in happening["evaluations"] if each["fired"]] == ["hall-lamp"]
    explained = api.get(f"/api/events/{happening['cause']}").json()
    assert explained["event"]["event"]["device"] == "Hall Lux"
    assert {each["evaluation"]["rule"]: each["evaluation"]["fired"] for each in explained["evaluations"]}["hall-lamp"]
    assert [step["address"] for step in explained["steps"]] == ["cmnd/lamp/POWER"]
    assert api.get("/api/entities/Hall Lux").json()["value"] == 41
    assert "Hall Lux" in [each["key"] for each in api.get("/api/entities").json()["items"]]


def test_events_come_in_pages_that_neither_repeat_nor_leave_out(
    api: httpx.Client, hub: WebHub, sensor: Callable[[str, object], None]
) -> None:
    reader, _ = _follow(hub, api, lambda each: (each["event"] or {}).get("value") == 1024)
    for number in range(1000, 1025):
        sensor("Pages", number)
    reader.join(20)
    found, after = [], None
    while True:
        asked = {"device": "Hall Pages", "limit": "4"} | ({"after": after} if after else {})
        page = api.get("/api/events", params=asked).json()
        found += [each["event"]["value"] for each in page["items"]]
        after = page["next"]
        if after is None:
            break
        assert len(page["items"]) == 4
    assert found == list(range(1024, 999, -1))
    assert api.get("/api/events", params={"text": "Pages", "limit": 1}).json()["items"][0]["event"]["value"] == 1024
    assert api.get("/api/events", params={"after": "x"}).status_code == 400


def test_the_same_key_twice_is_once(api: httpx.Client) -> None:
    body = {"name": "cleo", "password": "four words are better", "role": "viewer"}
    first, second = (api.post("/api/users", json=body, headers={"idempotency-key": "k1"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert len([each for each in api.get("/api/users").json()["items"] if each["name"] == "cleo"]) == 1
    other = api.post("/api/users", json=body | {"name": "dora"}, headers={"idempotency-key": "k1"})
    assert other.status_code == 422
    shown = [api.post("/api/tokens", json={"name": "t"}, headers={"idempotency-key": "k2"}).status_code for _ in range(2)]
    assert shown == [201, 409]  # a secret is not kept to be shown again


def test_the_hub_is_asked_once_for_one_key(api: httpx.Client) -> None:
    answers = [api.post("/api/signals", json={"button": "bell"}, headers={"idempotency-key": "ring"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    found = api.get("/api/events", params={"kind": "request", "text": "bell"}).json()["items"]
    assert [each["about"] for each in found] == ["ada asked for signal bell"]


def test_the_mode_is_changed_and_the_change_is_seen_at_once(api: httpx.Client) -> None:
    assert api.put("/api/mode", json={"mode": "night"}).status_code == 200
    assert api.get("/api/mode").json()["current"] == "night"
    refused = api.put("/api/mode", json={"mode": "nowhere"})
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert "there is no mode nowhere" in refused.json()["detail"]
    api.put("/api/mode", json={"mode": "home"})


def test_rules_are_checked_tried_written_and_followed(hub: WebHub, api: httpx.Client) -> None:
    old = api.get("/api/rules-file").json()
    wrong = api.post("/api/rules-file/check", json={"text": '[[rule]]\nid = "a b"\n'}).json()
    assert not wrong["ok"]
    refused = api.put("/api/rules-file", json={"text": "[[rule]]\n", "version": old["version"]})
    assert refused.status_code == 422
    assert refused.json()["errors"]
    text = f"""{old["text"]}
# why
[[rule]]
id = "bell"
trigger = {{signal = "bell"}}
action = {{do = "mode", mode = "away", at_once = true}}
"""
    tried = api.post("/api/rules-file/try", json={"text": text, "since": 1_700_000_000})
    assert tried.status_code == 200, tried.text
    assert tried.json()["fired_after"].get("bell", 0) >= 1  # the bell was rung before
    saved = api.put("/api/rules-file", json={"text": text, "version": old["version"]})
    assert saved.status_code == 200, saved.text
    assert "# why" in (hub.folder / "rules.toml").read_text()
    stale = api.put("/api/rules-file", json={"text": "", "version": old["version"]})
    assert stale.status_code == 412
    api.post("/api/signals", json={"button": "bell"})
    assert api.get("/api/mode").json()["current"] == "away"
    assert api.put("/api/switches/rule/bell", json={"on": False}).status_code == 200
    assert api.get("/api/rules/bell").json()["on"] is False
    assert api.delete("/api/rules/bell").status_code == 204
    assert api.get("/api/rules/bell").status_code == 404
    rule = {"id": "added", "trigger": [{"device": "Hall *"}], "action": [{"do": "mode", "mode": "night"}]}
    assert api.put("/api/rules/added", json=rule).json()["editable"] is True
    assert api.put("/api/rules/other", json=rule).status_code == 422
    assert "added" in [each["rule"]["id"] for each in api.get("/api/rules").json()["items"]]
    api.put("/api/mode", json={"mode": "home", "at_once": True})


def test_dead_letters_are_looked_at_changed_replayed_and_dropped(hub: WebHub, api: httpx.Client) -> None:
    letters = DeadLetters(hub.folder / "state" / DATABASE_NAME)
    letter = Letter(
        origin="nobody",
        broker="mqtt://x",
        address="sensor/a",
        key="k",
        body=b"{oops",
        received_at=1.0,
        parked_at=2.0,
        error="E",
    )
    first, second = (letters.add(letter) for _ in range(2))
    letters.close()
    assert [each["ident"] for each in api.get("/api/dead-letters").json()["items"]] == [second, first]
    assert api.get(f"/api/dead-letters/{first}").json()["text"] == "{oops"
    changed = api.put(f"/api/dead-letters/{first}/body", json={"text": "{}"}).json()["id"]
    assert api.get(f"/api/dead-letters/{first}").status_code == 404
    assert api.get(f"/api/dead-letters/{changed}").json()["text"] == "{}"
    assert api.post(f"/api/dead-letters/{changed}/replay", json={}).status_code == 204
    assert api.delete(f"/api/dead-letters/{second}").status_code == 204
    assert api.get("/api/dead-letters").json()["total"] == 0


def test_a_backup_holds_the_accounts_and_no_session(api: httpx.Client, hub: WebHub) -> None:
    answer = api.post("/api/backup")
    assert answer.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert "users.jsonl" in names
    assert "sessions.jsonl" not in names
    assert not list((hub.folder / "state").glob(".backup-*"))


def test_the_hub_shows_its_threads_and_where_one_is(api: httpx.Client) -> None:
    wiring = api.get("/api/wiring").json()
    assert {"EventProcessor", "StoreWriter", "WebServer"} <= {thread["name"] for thread in wiring["threads"]}
    assert "_run" in api.get("/api/wiring/EventProcessor/stack").json()["stack"]
    assert api.get("/api/health").json()["live"] is True
    assert api.get("/health/ready").json()["live"] is True  # with a login the probe says more


def test_a_picture_is_shown_as_what_it_is(api: httpx.Client, hub: WebHub) -> None:
    name = f"2026/11/24/{'ab' * 32}.png"
    file = hub.folder / "state" / "images" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x89PNG\r\n\x1a\n...")
    answer = api.get(f"/api/snapshots/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == file.read_bytes()
    assert api.get(f"/api/snapshots/{name.replace('ab', 'cd')}").status_code == 404


def test_prometheus_gets_its_figures_with_a_token_and_nobody_without(api: httpx.Client, hub: WebHub) -> None:
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert "pylib_" in answer.text
    with hub.browser() as stranger:
        assert "pylib_" not in stranger.get("/metrics").text


def test_schedules_and_meters_are_listed_and_a_schedule_is_switched(api: httpx.Client) -> None:
    evening = api.get("/api/schedules").json()["items"][0]
    assert (evening["id"], evening["on"]) == ("evening", True)
    assert evening["next"] > 1_700_000_000
    assert api.put("/api/switches/schedule/evening", json={"on": False}).status_code == 200
    assert api.get("/api/schedules").json()["items"][0]["on"] is False
    assert api.get("/api/meters").json()["items"][0]["unit"] == "l"
    assert api.get("/api/meters/Water Meter/readings").json() == {"items": []}
    assert api.put("/api/meters/Water Meter/register", json={"value": 5}).status_code == 409  # it has no topic for that


def test_what_cannot_be_understood_is_a_problem_with_its_place(api: httpx.Client) -> None:
    for sent, status in (
        (api.get("/api/events", params={"limit": "many"}), 400),
        (api.put("/api/mode", content=b"{", headers={"content-type": "application/json"}), 400),
        (api.put("/api/mode", content=b"mode=x"), 415),
        (api.put("/api/mode", json={"mode": 7}), 422),
        (api.put("/api/mode", json={"mode": "home", "more": 1}), 422),
        (api.get("/api/nothing"), 404),
        (api.delete("/api/mode"), 404),
        (api.get("/api/devices/nothing"), 404),
    ):
        assert sent.status_code == status, sent.text
        assert sent.headers["content-type"] == "application/problem+json"
        assert sent.json()["status"] == status
    assert api.put("/api/mode", json={"mode": 7}).json()["errors"][0]["where"] == "$.mode"
