"""What the dashboard reads and writes is the same on SQLite and on PostgreSQL, whatever devices and strangers send."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from sqlalchemy import insert, select, text

from event_processor.store import tables as t
from event_processor.store.database import make_engine, parse_url
from event_processor.web.auth.sealing import KEY_FILE
from tests.system.web_kit import PASSWORD, WebHub, csrf_for, csrf_of, start_hub, token_for, web_hub
from tests.unit.store.postgresql import Server

PAGES = (
    "/", "/home/rooms", "/devices", "/events", "/rules", "/rules/text", "/schedules", "/meters", "/snapshots", "/dead-letters",
    "/wiring", "/settings", "/settings/audit",
)  # fmt: skip
PATIENCE = 20.0


class Place:
    """A hub, its admin's browser, a program of that one, and the address of its store."""

    def __init__(self, hub: WebHub, admin: httpx.Client, program: httpx.Client, database: str) -> None:
        self.hub = hub
        self.admin = admin
        self.program = program
        self.database = database or str(hub.folder / "state" / "hub.db")

    def say(self, topic: str, *bodies: object) -> None:
        """What devices say."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", int(self.hub.program.wait_for(r"Publish to 127\.0\.0\.1:(\d+)")[1]))
        client.loop_start()
        for body in bodies:
            client.publish(topic, json.dumps(body), qos=1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline, pause = time.monotonic() + PATIENCE, threading.Event()
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come to be"
            pause.wait(0.02)

    def events(self, **asked: object) -> list[dict[str, Any]]:
        answer = self.program.get("/api/events", params={key: str(value) for key, value in asked.items()})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def change(self, method: str, path: str, browser: httpx.Client | None = None, **body: object) -> httpx.Response:
        browser = browser or self.admin
        return browser.request(method, path, json=body or None, headers={"x-csrf-token": csrf_for(browser)})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, hub_database: str) -> Iterator[Place]:
    with web_hub(tmp_path_factory.mktemp("databases"), database=hub_database) as hub:
        hub.wait_until_ready()
        with hub.set_up() as admin, hub.program_with(token_for(admin, "admin")) as program:
            yield Place(hub, admin, program, hub_database)
        assert hub.program.running
        assert "Traceback" not in hub.program.output
        assert '"level":"ERROR"' not in hub.program.output


def sensor(label: str, value: object, location: str = "Hall") -> object:
    return {"input_location": location, "input_1": {"input_label": label, "sample_value": value, "active": True}}


def test_a_nul_and_other_signs_of_a_device_cost_nothing(place: Place) -> None:
    odd = "Odd '\"%_\\ \U0001f6aa"
    place.say("sensor/hall/1", sensor("Name\0", 1), sensor(odd, "a\0b"), sensor("Odd \ud800", 1), sensor("After", 1))
    place.until(lambda: bool(place.events(device="Hall After")), "the event after it")
    found = [each for each in place.events(text="Odd") if each["kind"] == "input"]
    assert [each["event"]["value"] for each in found] == ["a\0b"], "a name needs signs that can be seen; a value does not"
    assert place.program.get(f"/api/events/{found[0]['cause']}").json()["steps"], "and the rule that it set off"
    assert place.program.get("/health/ready").status_code == 200
    for page in (*PAGES, "/events?text=Odd", "/events?text=%00", f"/events/{found[0]['cause']}"):
        answer = place.admin.get(page)
        assert answer.status_code == 200, (page, answer.text[-500:])


def test_what_is_searched_for_is_found_as_it_is_written(place: Place) -> None:
    place.say("sensor/hall/1", *(sensor("Search", value) for value in ("Half 50%", "under_score", "UPPER", "back\\slash")))
    place.until(lambda: len(place.events(device="Hall Search")) == 4, "the events")
    for words, count in (("50%", 1), ("%", 1), ("r_s", 1), ("n_e", 0), ("upper", 1), ("' OR 1=1 --", 0)):
        found = place.events(text=words, device="Hall Search", kind="input")
        values = [each["event"] for each in found if words.lower() in json.dumps(each["event"]).lower()]
        assert len(found) == count, (words, values)


@pytest.mark.parametrize("after", ["nan_1", "inf_1", "-1_1", "1_-1", "1_99999999999999999999", "1_x", "1e400_1", "%00", "'"])
@pytest.mark.parametrize("where", ["/api/events", "/api/evaluations", "/api/audit", "/events", "/settings/audit"])
def test_a_place_in_a_list_that_is_none_is_refused_in_the_same_way(place: Place, where: str, after: str) -> None:
    answer = place.admin.get(f"{where}?after={after}")
    assert answer.status_code == (200 if where[1:4] != "api" and after == "-1_1" else 400), answer.text[-300:]


def test_the_audit_comes_in_pages_and_by_who_and_what(place: Place) -> None:
    for number in range(5):
        place.change("POST", "/api/tokens", name=f"t{number}", scope="read")
    with place.hub.browser() as guesser:
        form = {"name": "ad\0a", "password": "wrong wrong wrong", "csrf": csrf_of(guesser, "/login")}
        assert guesser.post("/login", data=form).status_code == 403
        assert guesser.post("/login", data={**form, "name": "my secret password"}).status_code == 403
    found, after = [], None
    while True:
        asked = {"limit": "3", "who": "ada"} | ({"after": after} if after else {})
        page = place.program.get("/api/audit", params=asked).json()
        found += page["items"]
        after = page["next"]
        if after is None:
            break
    assert [each["id"] for each in found] == sorted({each["id"] for each in found}, reverse=True)
    assert [each["subject"] for each in found if each["action"] == "token.add"][:5] == ["t4", "t3", "t2", "t1", "t0"]
    failed = place.program.get("/api/audit", params={"action": "login.failed"}).json()["items"]
    assert [each["subject"] for each in failed] == ["a name that nobody has"] * 2, "it may be a password in the wrong field"
    assert place.program.get("/api/audit", params={"who": "\0"}).status_code == 400
    assert place.admin.get("/settings/audit?who=%00").status_code == 200
    assert "my secret" not in place.hub.program.output
    assert place.admin.get("/settings/audit?who=ada").text.count("token.add") >= 5


def test_meters_are_drawn_and_added_up(place: Place) -> None:
    began = time.time()
    place.say("meter/Water", *({"register_reading": 100 + n, "last_minute_metered": 1} for n in range(5)))
    where = "/api/meters/Water Meter"
    asked = {"since": began - 10, "until": began + 60, "points": 1}
    place.until(
        lambda: sum(each["samples"] for each in place.program.get(f"{where}/readings", params=asked).json()["items"]) == 5,
        "the readings",
    )
    point = place.program.get(f"{where}/readings", params=asked).json()["items"][0]
    assert (point["lowest"], point["highest"], point["used"]) == (100, 104, 4)
    totals = place.program.get(f"{where}/totals", params={"span": "day", "since": 0, "until": began + 60}).json()["items"]
    assert [each["amount"] for each in totals] == [4]
    assert place.admin.get("/meters/Water Meter/chart").status_code == 200


def test_pictures_are_listed_in_pages(place: Place) -> None:
    engine = make_engine(parse_url(place.database))
    with engine.begin() as connection:
        connection.execute(insert(t.images), [
            {"name": f"2026/11/24/{number:064x}.png", "device": f"Cam {number % 2}", "at": 1000.0 + number, "size": 12,
             "sha256": f"{number:064x}", "content_type": "image/png"} for number in range(7)
        ])  # fmt: skip
    engine.dispose()
    first = place.program.get("/api/snapshots", params={"limit": 4}).json()
    second = place.program.get("/api/snapshots", params={"limit": 4, "before": first["next"]}).json()
    assert [each["at"] for each in first["items"] + second["items"]] == [1006.0 - n for n in range(7)]
    only = place.program.get("/api/snapshots", params={"device": "Cam 1"}).json()["items"]
    assert [each["at"] for each in only] == [1005.0, 1003.0, 1001.0]
    assert place.admin.get("/snapshots").status_code == 200


@pytest.mark.parametrize("name", ["", " ", "Ada Lovelace", "ada\n", "a\0", "\u0430da", "a" * 65, ".ada"])
def test_a_name_that_is_none_is_no_account(place: Place, name: str) -> None:
    answer = place.change("POST", "/api/users", name=name, password=PASSWORD)
    assert answer.status_code == 422, answer.text


def test_a_login_ends_the_one_that_the_browser_had(place: Place) -> None:
    assert place.change("POST", "/api/users", name="fix", password=PASSWORD, role="viewer").status_code == 201
    with place.hub.log_in("fix") as browser:
        before = next(value for name, value in browser.cookies.items() if name == "event_processor_session")
        form = {"name": "fix", "password": PASSWORD}
        answer = browser.post("/login", data=form, headers={"x-csrf-token": csrf_for(browser)})
        assert answer.status_code == 303
        after = answer.cookies["event_processor_session"]
        assert after != before
    with place.hub.browser() as other:
        sent = {name: other.get("/api/me", headers={"cookie": f"event_processor_session={name}"}) for name in (before, after)}
    assert [each.status_code for each in sent.values()] == [401, 200]
    assert len([each for each in place.program.get("/api/sessions").json()["items"] if each["user"] == "fix"]) == 1


def _ask_for_code(hub: WebHub, name: str, code: str) -> httpx.Response:
    with hub.browser() as browser:
        csrf = csrf_of(browser, "/login")
        asked = browser.post("/login", data={"name": name, "password": PASSWORD, "csrf": csrf})
        ticket = re.search(r'name="ticket" value="([^"]+)"', asked.text)
        assert ticket is not None, asked.text
        return browser.post("/login", data={"ticket": ticket[1], "code": code, "csrf": csrf})


def test_a_second_factor_is_kept_encrypted_and_without_its_key_nobody_gets_in(place: Place) -> None:
    assert place.change("POST", "/api/users", name="sec", password=PASSWORD, role="viewer").status_code == 201
    ident = next(each["id"] for each in place.program.get("/api/users").json()["items"] if each["name"] == "sec")
    with place.hub.log_in("sec") as sec, place.hub.log_in("sec") as stolen:
        secret = place.change("POST", "/settings/totp", sec, password=PASSWORD).json()["secret"]
        app = pyotp.TOTP(secret)
        answer = place.change("POST", "/settings/totp/confirm", sec, code=app.at(int(time.time()) - 30))
        recovery = answer.json()["recovery_codes"]
        assert sec.get("/api/me").status_code == 200
        assert stolen.get("/api/me").status_code == 401, "a login that was made without it ends"
    engine = make_engine(parse_url(place.database))
    with engine.connect() as connection:
        kept = connection.execute(select(t.users.c.totp_secret, t.users.c.totp_encrypted).where(t.users.c.id == ident)).one()
    engine.dispose()
    assert kept.totp_encrypted
    assert secret not in kept.totp_secret
    key = place.hub.folder / "state" / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().split()[-1] not in place.hub.program.output
    aside = key.rename(key.with_suffix(".aside"))
    lost = _ask_for_code(place.hub, "sec", app.now())
    assert lost.status_code == 403
    assert "Two-factor of sec must be set up again" in lost.text
    assert _ask_for_code(place.hub, "sec", recovery[0]).status_code == 303
    aside.rename(key)
    assert _ask_for_code(place.hub, "sec", app.now()).status_code == 303, "a key that is put back works at once"
    assert place.change("PATCH", f"/api/users/{ident}", reset_second_factor=True).status_code == 200
    noted = place.program.get("/api/audit", params={"action": "user.change"}).json()["items"]
    assert noted[0]["detail"] == "second factor taken away"
    with place.hub.log_in("sec"):
        pass


def test_what_an_earlier_version_kept_in_plain_text_is_encrypted_at_the_start(tmp_path: Path, postgresql: str) -> None:
    secret = pyotp.random_base32()
    with web_hub(tmp_path, database=postgresql) as hub:
        with hub.browser() as stranger:  # nor is the first account one without a name
            form = {"code": hub.code, "name": " ", "password": PASSWORD, "again": PASSWORD}
            answer = stranger.post("/setup", data={**form, "csrf": csrf_of(stranger, "/setup")})
            assert (answer.status_code, "small letters" in answer.text) == (422, True)
        with hub.set_up():
            pass
    engine = make_engine(parse_url(postgresql))
    with engine.begin() as connection:
        connection.execute(t.users.update().values(totp_secret=secret, totp_encrypted=False))
    with start_hub(tmp_path, {"HUB_DATABASE": postgresql}) as program:
        program.wait_for("1 secrets of second factors are encrypted now", timeout=30)
    with engine.connect() as connection:
        kept = connection.execute(select(t.users.c.totp_secret, t.users.c.totp_encrypted)).one()
    engine.dispose()
    assert kept.totp_encrypted
    assert secret not in kept.totp_secret


def test_the_dashboard_says_that_the_database_is_away_and_goes_on_when_it_is_back(
    tmp_path: Path, postgresql: str, postgresql_server: Server
) -> None:
    with web_hub(tmp_path, database=postgresql) as hub:
        hub.wait_until_ready()
        with hub.set_up() as admin:
            engine = make_engine(parse_url(postgresql_server.url("postgres")))
            name = postgresql.split("/")[3].split("?")[0]
            with engine.connect() as connection:
                cut = (
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
                )
                assert len(connection.execute(text(cut), {"name": name}).all()) >= 2, "the writer and readers"
            engine.dispose()
            assert admin.get("/api/events").status_code == 200, "a connection that was cut is made anew"
            postgresql_server.stop()
            try:
                away = admin.get("/api/events")
                assert away.status_code == 503
                assert int(away.headers["retry-after"]) > 0
                page = admin.get("/events")
                assert (page.status_code, "cannot be read" in page.text) == (503, True), "a person is told in a page"
                with hub.browser() as stranger:
                    assert stranger.get("/login").status_code == 200
                    assert stranger.get("/health/live").status_code == 200
            finally:
                postgresql_server.start()
            deadline, pause = time.monotonic() + PATIENCE, threading.Event()
            while admin.get("/api/events").status_code != 200 or admin.put("/api/mode", json={"mode": "night"}, headers={
                "x-csrf-token": csrf_for(admin)}).status_code != 200:  # fmt: skip
                assert time.monotonic() < deadline
                pause.wait(0.1)
