"""Schedules are made, changed and deleted while the hub runs: over the API, in the page's form, and in their file."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from event_processor.domain.schedule_file import ScheduleFile, ScheduleSpec, export
from pylib.errors import PylibError
from pylib.observe.control import ask, running
from tests.system.web_kit import WebHub, csrf_of, start_hub, token_for, web_hub

FILE = """# What the house does by itself.

[[schedule]]
id = "morning"
at = 07:00:00  # not too early
do = "mode home"
"""
NIGHT = {"id": "night", "at": "23:15", "days": "mon-fri", "do": ["mode night"]}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHub]:
    folder = tmp_path_factory.mktemp("schedules")
    (folder / "schedules.toml").write_text(FILE)
    with web_hub(folder) as hub:
        hub.wait_until_ready()
        yield hub
        assert '"level":"ERROR"' not in hub.program.output


@pytest.fixture(scope="module")
def admin(hub: WebHub) -> Iterator[httpx.Client]:
    with hub.set_up() as browser:
        yield browser


@pytest.fixture(scope="module")
def api(hub: WebHub, admin: httpx.Client) -> Iterator[httpx.Client]:
    with hub.program_with(token_for(admin, "admin")) as program:
        yield program


@pytest.fixture(autouse=True)
def as_it_was(hub: WebHub, api: httpx.Client) -> Iterator[None]:
    """The file of schedules is the same before each test, and the hub goes by it."""
    yield
    for each in api.get("/api/schedules").json()["items"]:
        if each["editable"] and each["id"] != "morning":
            assert api.delete(f"/api/schedules/{each['id']}").status_code == 204
    assert (hub.folder / "schedules.toml").read_text().rstrip() == FILE.rstrip()


@contextmanager
def due(hub: WebHub, api: httpx.Client, ident: str) -> Iterator[threading.Event]:
    """Is set when a schedule is due from now on."""
    seen, opened = threading.Event(), threading.Event()

    def read() -> None:
        with httpx.stream("GET", f"{hub.address}/api/stream", headers=api.headers, timeout=20) as stream:
            for line in stream.iter_lines():
                if line.startswith(": you are"):
                    opened.set()
                if line.startswith("data: ") and json.loads(line[6:])["cause"].startswith(f"schedule:{ident}:"):
                    seen.set()
                    return

    reader = threading.Thread(target=read)
    reader.start()
    assert opened.wait(20)
    yield seen
    reader.join(20)


def audit(api: httpx.Client, action: str) -> list[str]:
    return [each["subject"] for each in api.get("/api/audit").json()["items"] if each["action"] == action]


def test_a_schedule_is_checked_made_due_changed_and_deleted(hub: WebHub, api: httpx.Client) -> None:
    often = {"id": "often", "name": "Every second", "cron": "* * * * * *", "do": ["mode away"]}
    checked = api.post("/api/schedules/often/check", json=often).json()
    assert (checked["ok"], checked["problems"], len(checked["next"])) == (True, [], 5)
    assert api.get("/api/schedules/often").status_code == 404, "checking saves nothing"
    with due(hub, api, "often") as seen:
        made = api.put("/api/schedules/often", json=often)
        assert made.status_code == 200, made.text
        assert made.json()["schedule"] == often
        assert (made.json()["on"], made.json()["editable"], made.json()["name"]) == (True, True, "Every second")
        assert seen.wait(10)
    assert api.get("/api/schedules/often").json()["last"] is not None

    later = api.put("/api/schedules/often", json={**often, "cron": "0 0 1 1 *"})
    assert datetime.fromtimestamp(later.json()["next"], UTC).strftime("%d %B %H:%M") == "01 January 00:00"
    again = (hub.folder / "schedules.toml").stat()
    assert api.put("/api/schedules/often", json={**often, "cron": "0 0 1 1 *"}).status_code == 200
    assert (hub.folder / "schedules.toml").stat() == again, "the same once more writes nothing"
    assert FILE.strip() in (hub.folder / "schedules.toml").read_text(), "what else stands there stays as it was"

    assert api.delete("/api/schedules/often").status_code == 204
    assert api.get("/api/schedules/often").status_code == 404
    assert api.delete("/api/schedules/often").status_code == 404
    assert audit(api, "schedule.save")[:3] == ["often"] * 3
    assert audit(api, "schedule.delete")[0] == "often"
    assert "schedule.check" not in api.get("/api/audit").text


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"at": "25:00", "do": ["mode night"]}, "at", "no time of the day"),
        ({"at": "07:00", "cron": "* * * * *", "do": ["mode night"]}, "cron", "one of at, cron and sun"),
        ({"cron": "* * * * * * * *", "do": ["mode night"]}, "cron", "no cron expression"),
        ({"at": "07:00", "do": []}, "do", "does nothing"),
        ({"at": "07:00", "do": ["explode"]}, "do", "not understood"),
        ({"at": "07:00", "do": ["mode night"], "zone": "Mars/Olympus"}, "zone", "no time zone"),
        ({"at": "07:00", "do": ["mode night"], "days": "someday"}, "days", "no day of the week"),
        ({"sun": "sunset", "do": ["mode night"]}, "sun", "does not know where it is"),
        ({"at": "07:00", "do": ["mode night"], "name": "a\nb"}, "name", "cannot be printed"),
    ],
)
def test_what_is_wrong_is_said_with_its_field_and_nothing_is_saved(
    hub: WebHub, api: httpx.Client, body: dict[str, object], field: str, told: str
) -> None:
    before = (hub.folder / "schedules.toml").read_text()
    refused = api.put("/api/schedules/wrong", json={"id": "wrong", **body})
    assert refused.status_code == 422
    checked = api.post("/api/schedules/wrong/check", json={"id": "wrong", **body}).json()
    for errors in (refused.json()["errors"], checked["problems"]):
        assert [each["where"] for each in errors] == [field]
        assert told in errors[0]["what"]
    assert not checked["ok"]
    assert (hub.folder / "schedules.toml").read_text() == before
    assert api.get("/api/schedules/wrong").status_code == 404


def test_a_schedule_of_app_conf_is_shown_and_switched_but_changed_there(api: httpx.Client) -> None:
    evening = api.get("/api/schedules/evening").json()
    assert evening["schedule"] == {"id": "evening", "name": "evening", "at": "22:00", "do": ["mode night"]}
    assert not evening["editable"]
    for answer in (api.put("/api/schedules/evening", json={**NIGHT, "id": "evening"}), api.delete("/api/schedules/evening")):
        assert answer.status_code == 409
        assert "app.conf" in answer.json()["detail"]
    twice = api.post("/api/schedules/Evening/check", json={**NIGHT, "id": "Evening"}).json()
    assert not twice["ok"]
    assert [each["where"] for each in twice["problems"]] == ["id"]
    assert api.put("/api/schedules/other", json=NIGHT).status_code == 422, "the address names another one"
    assert [each["where"] for each in api.post("/api/schedules/other/check", json=NIGHT).json()["problems"]] == ["id"]


def test_a_switch_outlasts_a_change_but_not_the_schedule(api: httpx.Client) -> None:
    api.put("/api/schedules/night", json=NIGHT)
    assert api.put("/api/switches/schedule/night", json={"on": False}).status_code == 200
    changed = api.put("/api/schedules/night", json={**NIGHT, "at": "23:30"}).json()
    assert (changed["on"], changed["next"]) == (False, None)
    api.delete("/api/schedules/night")
    assert api.put("/api/schedules/night", json=NIGHT).json()["on"], "another one of that name starts anew"


def test_names_that_mean_nothing_here_are_doubted_and_saved_all_the_same(api: httpx.Client) -> None:
    body = {**NIGHT, "do": ["mode siesta", "run nothing", "disable schedule evening", "enable rule hall*"]}
    checked = api.post("/api/schedules/night/check", json=body).json()
    assert checked["ok"]
    assert [each["what"] for each in checked["problems"]] == [
        "there is no mode siesta: there are home, away, night",
        "there is no rule nothing",
    ]
    assert api.put("/api/schedules/night", json=body).status_code == 200


def test_who_may_only_look_or_operate_changes_no_schedule(hub: WebHub, admin: httpx.Client) -> None:
    for scope in ("read", "operate"):
        with hub.program_with(token_for(admin, scope)) as program:
            assert program.get("/api/schedules").status_code == 200
            assert program.post("/api/schedules/night/check", json=NIGHT).json()["ok"]
            assert program.put("/api/schedules/night", json=NIGHT).status_code == 403
            assert program.delete("/api/schedules/morning").status_code == 403


def test_a_file_with_errors_is_not_written_over_and_the_hub_goes_on_as_before(hub: WebHub, api: httpx.Client) -> None:
    path = hub.folder / "schedules.toml"
    path.write_text(f"{FILE}\n[[schedule]\n")
    refused = api.put("/api/schedules/night", json=NIGHT)
    assert refused.status_code == 409
    assert "mend it" in refused.json()["detail"]
    assert [each["id"] for each in api.get("/api/schedules").json()["items"]] == ["evening", "morning"]
    assert "[[schedule]\n" in path.read_text()
    path.write_text(FILE)


def test_the_form_works_without_any_script(hub: WebHub, admin: httpx.Client, api: httpx.Client) -> None:
    form = {
        "csrf": csrf_of(admin, "/schedules/new"), "id": "", "version": "", "enabled": "yes", "name": "Gute Nacht!",
        "kind": "at", "at": "23:15", "day": ["mon", "tue", "wed", "thu", "fri"], "do": "mode night\r\n\r\nrun hall-lamp\r\n",
        "missed": "once", "zone": "",
    }  # fmt: skip
    wrong = admin.post("/schedules/save", data={**form, "at": "quarter past eleven"})
    assert wrong.status_code == 422
    assert "no time of the day" in wrong.text
    assert "quarter past eleven" in wrong.text, "what was written is still there"
    saved = admin.post("/schedules/save", data=form)
    assert (saved.status_code, saved.headers["location"]) == (303, "/schedules#schedule-gute-nacht")
    spec = api.get("/api/schedules/gute-nacht").json()["schedule"]
    assert spec == {
        "id": "gute-nacht", "name": "Gute Nacht!", "at": "23:15", "days": "mon, tue, wed, thu, fri",
        "do": ["mode night", "run hall-lamp"], "missed": "once",
    }  # fmt: skip
    assert "there is a schedule gute-nacht already" in admin.post("/schedules/save", data=form).text

    waits = {"id": "waits", "trigger": [{"schedule": "gute*"}], "action": [{"do": "mode", "mode": "night"}]}
    assert api.put("/api/rules/waits", json=waits).status_code == 200
    page = admin.get("/schedules/gute-nacht/change").text
    assert api.delete("/api/rules/waits").status_code == 204
    assert "These rules wait for it" in page
    assert 'href="/rules/waits"' in page
    version = re.search(r'name="version" value="(\w+)"', page)
    assert version is not None
    change = {**form, "id": "gute-nacht", "version": version[1], "kind": "cron", "cron": "15 23 * * *"}
    assert admin.post("/schedules/save", data=change).status_code == 303
    assert api.get("/api/schedules/gute-nacht").json()["schedule"]["cron"] == "15 23 * * *"
    assert admin.post("/schedules/save", data=change).status_code == 412, "it was written for the one before"
    assert admin.get("/schedules/evening/change").status_code == 409
    assert admin.post("/schedules/gute-nacht/delete", data={"csrf": form["csrf"]}).status_code == 303
    assert api.get("/api/schedules/gute-nacht").status_code == 404


def reload(hub: WebHub) -> object:
    """Have the hub read its files again, as ``event-processor ask reload`` does."""
    (socket,) = running(hub.folder / "state")
    return ask(socket, {"ask": "reload"})


def test_a_file_that_was_edited_by_hand_is_taken_over_whole_or_not_at_all(hub: WebHub, api: httpx.Client) -> None:
    path = hub.folder / "schedules.toml"
    path.write_text(f"{FILE}{export(ScheduleFile((ScheduleSpec(id='noon', cron='* * * * * *', do=('mode away',)),)))}")
    with due(hub, api, "noon") as seen:
        assert reload(hub) == {"rules": 2, "schedules": 3, "said": []}
        assert seen.wait(10)
    path.write_text(FILE.replace("mode home", "fly away"))
    with pytest.raises(PylibError, match="schedule morning: do: 'fly away' is not understood"):
        reload(hub)
    with due(hub, api, "noon") as seen:
        assert seen.wait(10), "the hub goes on with those that it had"
    path.write_text(FILE)
    assert reload(hub) == {"rules": 2, "schedules": 2, "said": []}


def test_a_hub_that_is_killed_goes_by_what_its_file_says_and_forgets_what_is_gone(tmp_path: Path) -> None:
    often = {"id": "often", "cron": "* * * * * *", "do": ["mode away"], "missed": "fire"}
    with web_hub(tmp_path) as hub:
        hub.wait_until_ready()
        with hub.set_up() as admin:
            token = token_for(admin, "admin")
        with hub.program_with(token) as api:
            for each in (often, NIGHT):
                assert api.put(f"/api/schedules/{each['id']}", json=each).status_code == 200
            api.put("/api/switches/schedule/night", json={"on": False})
            with due(hub, api, "often") as seen:
                assert seen.wait(10)
        hub.program.kill()
    yearly = ScheduleSpec(id="often", cron="0 0 1 1 *", do=("mode home",), missed="fire")
    (tmp_path / "schedules.toml").write_text(export(ScheduleFile((yearly,))))
    with again(tmp_path) as address, httpx.Client(base_url=address, headers={"authorization": f"Bearer {token}"}) as api:
        assert [each["id"] for each in api.get("/api/schedules").json()["items"]] == ["evening", "often"]
        last = api.get("/api/schedules/often").json()["last"]
        assert api.put("/api/schedules/night", json=NIGHT).json()["on"], "that it was switched off is forgotten"
        assert api.get("/api/schedules/often").json()["last"] == last, "no time of the other one was made up for"


@contextmanager
def again(folder: Path) -> Iterator[str]:
    """The address of a hub that is started where one has run before."""
    with start_hub(folder, {}) as program:
        address = program.wait_for(r"The dashboard is at (http\S+?)\.[\s\"]", timeout=30)[1]
        program.wait_for("The event processor is ready", timeout=30)
        yield address
