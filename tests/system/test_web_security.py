"""Who gets in, and what an attacker gets: each attack against a running hub, as it would come over the wire."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pyotp
import pytest

from pylib.testing.certificates import CertificateAuthority
from pylib.testing.processes import run_program
from tests.system.web_kit import APP_CONF, PASSWORD, SOURCE, WebHub, csrf_for, csrf_of, token_for, web_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, hub_database: str) -> Iterator[WebHub]:
    with web_hub(tmp_path_factory.mktemp("security"), database=hub_database) as hub:
        yield hub


@pytest.fixture(scope="module")
def admin(hub: WebHub) -> Iterator[httpx.Client]:
    with hub.set_up() as browser:
        yield browser


def _change(browser: httpx.Client, method: str, path: str, **body: object) -> httpx.Response:
    headers = {"x-csrf-token": csrf_for(browser)}
    return browser.request(method, path, json=body or None, headers=headers)


def _user(admin: httpx.Client, name: str, role: str) -> None:
    answer = _change(admin, "POST", "/api/users", name=name, password=PASSWORD, role=role)
    assert answer.status_code == 201, answer.text


def test_the_first_visit_needs_the_code_of_the_console_and_works_once(hub: WebHub, admin: httpx.Client) -> None:
    with hub.browser() as stranger:
        assert stranger.get("/").headers["location"] == "/login"  # nobody is sent to the set-up any more
        form = {"code": hub.code, "name": "eve", "password": PASSWORD, "again": PASSWORD}
        again = stranger.post("/setup", data={**form, "csrf": csrf_of(stranger, "/login")})
        assert again.headers.get("location") == "/login"
        assert stranger.get("/").headers["location"] == "/login"


def test_nothing_can_be_reached_without_a_login_but_the_door_and_the_probes(hub: WebHub, admin: httpx.Client) -> None:
    with hub.browser() as stranger:
        paths = admin.get("/api/openapi.json").json()["paths"]
        for path in paths:
            assert stranger.get(path.replace("{", "").replace("}", "")).status_code == 401, path
        for page in ("/", "/devices", "/events", "/rules", "/settings", "/wiring", "/live", "/dead-letters", "/nothing"):
            assert stranger.get(page).status_code in (303, 401), page
        assert stranger.get("/health/live").text == '{"ok":true}'
        assert set(stranger.get("/health/ready").json()) == {"ok"}


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebHub]:
    """Another hub: after the guessing nobody gets in from this address for a while."""
    with web_hub(tmp_path_factory.mktemp("besieged")) as hub, hub.set_up():
        yield hub


@pytest.mark.parametrize("name", ["ada", "nobody-of-that-name"])
def test_guessing_passwords_is_slowed_down_and_tells_nothing(besieged: WebHub, name: str) -> None:
    with besieged.browser() as guesser:
        csrf = csrf_of(guesser, "/login")
        answers = [
            guesser.post("/login", data={"name": name, "password": f"guess number {number}", "csrf": csrf})
            for number in range(7)
        ]
        assert {answer.status_code for answer in answers[:5]} == {403}
        assert "Name and password do not go together" in answers[0].text
        assert answers[-1].status_code == 429
        # However right it is: the wait is not over.
        assert guesser.post("/login", data={"name": name, "password": PASSWORD, "csrf": csrf}).status_code == 429


def test_a_form_of_another_site_changes_nothing(hub: WebHub, admin: httpx.Client) -> None:
    body = {"button": "panic"}
    csrf = csrf_for(admin)
    refused = [
        admin.post("/api/signals", json=body),  # a browser would send the cookie along, and nothing else
        admin.post("/api/signals", json=body, headers={"x-csrf-token": "0" * 48}),
        admin.post("/api/signals", json=body, headers={"x-csrf-token": csrf, "origin": "https://evil.example"}),
        admin.post("/api/signals", json=body, headers={"x-csrf-token": csrf, "sec-fetch-site": "cross-site"}),
        admin.post("/api/signals", json=body, headers={"x-csrf-token": csrf, "referer": "http://evil.example/x"}),
        admin.post("/ask", data={"what": "signal", "about": "panic"}, headers={"origin": hub.address}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    with hub.browser() as other:
        strange = csrf_of(other, "/login")  # of another session
        assert admin.post("/api/signals", json=body, headers={"x-csrf-token": strange}).status_code == 403
    own = admin.post("/api/signals", json=body, headers={"x-csrf-token": csrf, "origin": hub.address})
    assert own.status_code == 200
    with hub.browser() as other:  # nor does one log somebody in who did not ask for it
        sent = other.post("/login", data={"name": "ada", "password": PASSWORD}, headers={"origin": "https://evil.example"})
        assert sent.status_code == 403


def test_forged_sessions_and_tokens_are_nobodys(hub: WebHub, admin: httpx.Client) -> None:
    secret = next(value for name, value in admin.cookies.items() if name == "event_processor_session")
    stored = admin.get("/api/sessions").json()["items"][0]["id"]
    for forged in ("", "x", secret[:-1], f"{secret}x", secret.swapcase(), stored, "a" * 5000, "' OR 1=1 --"):
        with hub.browser() as stranger:
            answer = stranger.get("/api/me", headers={"cookie": f"event_processor_session={forged}"})
            assert answer.status_code == 401, forged
    token = token_for(admin, "read")
    for forged in (token[:-1], f"{token}A", token.upper(), "ep_", secret, "null"):
        with hub.program_with(forged) as stranger:
            assert stranger.get("/api/me").status_code in (401, 429), forged
    with hub.browser(authorization="Basic YWRhOnNlY3JldA==") as stranger:
        assert stranger.get("/api/me").status_code == 401
    # A wrong token is not made good by a cookie that comes with it.
    assert admin.get("/api/me", headers={"authorization": "Bearer wrong"}).status_code in (401, 429)


def test_what_is_revoked_is_over_at_once(hub: WebHub, admin: httpx.Client) -> None:
    _user(admin, "bob", "operator")
    with hub.log_in("bob") as bob, hub.program_with(token_for(bob, "operate")) as program:
        assert (bob.get("/api/me").json()["role"], program.get("/api/me").json()["role"]) == ("operator", "operator")
        number = next(each["id"] for each in admin.get("/api/tokens").json()["items"] if each["user"] == "bob")
        assert _change(admin, "DELETE", f"/api/tokens/{number}").status_code == 204
        assert program.get("/api/me").status_code == 401
        session = next(each["id"] for each in admin.get("/api/sessions").json()["items"] if each["user"] == "bob")
        assert _change(admin, "DELETE", f"/api/sessions/{session}").status_code == 204
        assert bob.get("/api/me").status_code == 401


def test_a_new_password_or_a_switched_off_account_ends_its_sessions(hub: WebHub, admin: httpx.Client) -> None:
    _user(admin, "carol", "viewer")
    ident = next(each["id"] for each in admin.get("/api/users").json()["items"] if each["name"] == "carol")
    with hub.log_in("carol") as carol:
        assert _change(admin, "PATCH", f"/api/users/{ident}", password="another long password").status_code == 200
        assert carol.get("/api/me").status_code == 401
    with hub.log_in("carol", "another long password") as carol:
        assert _change(admin, "PATCH", f"/api/users/{ident}", disabled=True).status_code == 200
        assert carol.get("/api/me").status_code == 401


def test_the_last_admin_stays(admin: httpx.Client) -> None:
    ada = next(each["id"] for each in admin.get("/api/users").json()["items"] if each["name"] == "ada")
    assert _change(admin, "DELETE", f"/api/users/{ada}").status_code == 409
    assert _change(admin, "PATCH", f"/api/users/{ada}", role="viewer").status_code == 409
    assert _change(admin, "PATCH", f"/api/users/{ada}", disabled=True).status_code == 409


def test_roles_and_scopes_hold_for_every_operation(hub: WebHub, admin: httpx.Client) -> None:
    rank = ("viewer", "operator", "admin")
    document = admin.get("/api/openapi.json").json()
    for scope, role in (("read", "viewer"), ("operate", "operator")):
        with hub.program_with(token_for(admin, scope)) as program:
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    above = rank.index(operation["x-role"]) > rank.index(role)
                    if above:
                        sent = program.request(method, path.replace("{", "").replace("}", ""), json={})
                        assert sent.status_code == 403, (role, method, path, sent.text)


def test_a_token_gives_no_more_than_its_maker_has(hub: WebHub, admin: httpx.Client) -> None:
    _user(admin, "vera", "viewer")
    with hub.log_in("vera") as vera:
        assert _change(vera, "POST", "/api/tokens", name="more", scope="admin").status_code == 403
    for scope in ("read", "operate"):  # nor does a stolen one make others, which would outlive it
        with hub.program_with(token_for(admin, scope)) as program:
            assert program.post("/api/tokens", json={"name": "more", "scope": "read"}).status_code == 403
    with hub.program_with(token_for(admin, "read")) as program:
        session = program.get("/api/sessions").json()["items"][0]["id"]
        assert program.delete(f"/api/sessions/{session}").status_code == 403


@pytest.mark.parametrize(
    "name",
    [
        "../../hub.db", "..%2f..%2fhub.db", "%2e%2e/%2e%2e/hub.db", "/etc/passwd", "2026/11/24/../../../../hub.db",
        "....//....//hub.db", "2026/11/24/" + "a" * 64 + ".jpg%00.txt", "2026/11/24/" + "a" * 64 + ".jpg/../../../../hub.db",
        "..\\..\\hub.db", "%252e%252e/hub.db", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_a_picture_is_never_another_file(hub: WebHub, admin: httpx.Client, name: str) -> None:
    for place in ("/api/snapshots/", "/snapshots/", "/static/"):
        request = httpx.Request("GET", "http://x/")
        request.url = httpx.URL(hub.address).copy_with(raw_path=f"{place}{name}".encode())
        request.headers = httpx.Headers(
            {"host": urlsplit(hub.address).netloc, "cookie": "; ".join(f"{k}={v}" for k, v in admin.cookies.items())}
        )
        answer = admin.send(request)
        assert answer.status_code in (400, 404), (place, name, answer.status_code)
        assert b"SQLite" not in answer.content
        assert b"root:" not in answer.content


def test_a_name_that_points_here_is_not_answered(hub: WebHub) -> None:
    with hub.browser() as stranger:
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "x:y:z"):
            assert stranger.get("/login", headers={"host": host}).status_code in (400, 421), host
        port = urlsplit(hub.address).port
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert stranger.get("/login", headers={"host": host}).status_code == 200, host


def test_every_answer_keeps_the_browser_to_our_own_pages(hub: WebHub, admin: httpx.Client) -> None:
    for path in ("/", "/login", "/api/me", "/nothing", "/static/nothing"):
        headers = admin.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "server" not in headers
    first, second = (admin.get("/login").headers["content-security-policy"] for _ in range(2))
    assert first != second  # a nonce is used once


def test_the_session_cookie_is_out_of_reach_for_scripts_and_other_sites(hub: WebHub, admin: httpx.Client) -> None:
    with hub.browser() as browser:
        form = {"name": "vera", "password": PASSWORD, "csrf": csrf_of(browser, "/login")}
        cookies = browser.post("/login", data=form).headers.get_list("set-cookie")
    session = next(cookie for cookie in cookies if cookie.startswith("event_processor_session="))
    assert "httponly" in session.lower()
    assert "samesite=lax" in session.lower()
    assert "path=/" in session.lower()
    assert "domain" not in session.lower()


def test_every_change_is_written_down_with_who_and_where(hub: WebHub, admin: httpx.Client) -> None:
    _change(admin, "PUT", "/api/maintenance", on=False)
    with hub.browser() as stranger:
        form = {"name": "ada", "password": "wrong password", "csrf": csrf_of(stranger, "/login")}
        assert stranger.post("/login", data=form).status_code == 403
    with hub.program_with(token_for(admin, "admin")) as program:
        assert program.put("/api/log-level", json={"level": "INFO"}).status_code == 200
    entries = admin.get("/api/audit").json()["items"]
    actions = {(each["action"], each["who"].partition(" ")[0]) for each in entries}
    assert {("hub.maintenance", "ada"), ("token.add", "ada"), ("log.level", "ada"), ("login.failed", "")} <= actions
    assert all(each["address"] == "127.0.0.1" for each in entries)
    assert any(each["who"].startswith("ada (token ") for each in entries)


def test_no_secret_is_in_an_answer_or_in_the_log(hub: WebHub, admin: httpx.Client) -> None:
    token = token_for(admin, "read")
    secret = next(value for name, value in admin.cookies.items() if name == "event_processor_session")
    pages = [admin.get(path).text for path in ("/api/users", "/api/tokens", "/api/sessions", "/api/audit", "/settings")]
    for text in (*pages, hub.program.output):
        for hidden in (token, secret, PASSWORD, "argon2", "another long password"):
            assert hidden not in text


def test_too_large_a_body_is_refused_before_it_is_read(hub: WebHub, admin: httpx.Client) -> None:
    with hub.browser() as stranger:
        assert stranger.post("/login", content=b"x" * 20_000).status_code == 413
    headers = {"x-csrf-token": csrf_for(admin), "content-type": "application/json"}
    assert admin.put("/api/rules-file", content=b"x" * 5_000_000, headers=headers).status_code == 413


def _log_in_with(hub: WebHub, name: str, code: str) -> int:
    """Log in with the password and a code; the status of the second step."""
    with hub.browser() as browser:
        csrf = csrf_of(browser, "/login")
        asked = browser.post("/login", data={"name": name, "password": PASSWORD, "csrf": csrf})
        ticket = asked.text.partition('name="ticket" value="')[2].partition('"')[0]
        assert ticket
        assert browser.get("/api/me").status_code == 401  # the password alone is no login
        return browser.post("/login", data={"ticket": ticket, "code": code, "csrf": csrf}).status_code


def test_a_second_factor_is_asked_for_and_each_code_works_once(hub: WebHub, admin: httpx.Client) -> None:
    _user(admin, "tom", "viewer")
    with hub.log_in("tom") as tom:
        assert _change(tom, "POST", "/settings/totp", password="not his password").status_code == 403
        asked = admin.get("/api/audit", params={"action": "login.failed", "who": "tom"}).json()["items"]
        assert [each["detail"] for each in asked] == ["asked for the password once more"]
        secret = _change(tom, "POST", "/settings/totp", password=PASSWORD).json()["secret"]
        assert _change(tom, "POST", "/settings/totp/confirm", code="000000").status_code == 422
        first = pyotp.TOTP(secret).now()
        recovery = _change(tom, "POST", "/settings/totp/confirm", code=first).json()["recovery_codes"]
    following = pyotp.TOTP(secret).at(int(time.time()) + 30)
    assert [_log_in_with(hub, "tom", code) for code in ("000000", first, following)] == [403, 403, 303]
    assert [_log_in_with(hub, "tom", code) for code in (following, recovery[0], recovery[0])] == [403, 303, 403]
    for text in (hub.program.output, admin.get("/api/users").text, admin.get("/api/audit").text):
        assert secret not in text
    with hub.program_with(token_for(admin, "admin")) as program:  # a stolen token cannot lock its owner out
        assert program.post("/settings/totp", json={"password": PASSWORD}).status_code == 403


def test_a_second_step_ends_with_the_password_that_it_was_asked_for_with(hub: WebHub, admin: httpx.Client) -> None:
    _user(admin, "uma", "viewer")
    with hub.log_in("uma") as uma, hub.browser() as thief:
        assert _change(uma, "PUT", "/settings/password", old=PASSWORD, new=PASSWORD).status_code == 422
        secret = _change(uma, "POST", "/settings/totp", password=PASSWORD).json()["secret"]
        answer = _change(uma, "POST", "/settings/totp/confirm", code=pyotp.TOTP(secret).now())
        recovery = answer.json()["recovery_codes"]
        csrf = csrf_of(thief, "/login")
        asked = thief.post("/login", data={"name": "uma", "password": PASSWORD, "csrf": csrf})
        ticket = asked.text.partition('name="ticket" value="')[2].partition('"')[0]
        assert _change(uma, "PUT", "/settings/password", old=PASSWORD, new="another long password").status_code == 204
        late = thief.post("/login", data={"ticket": ticket, "code": recovery[0], "csrf": csrf})
        assert (late.status_code, "Start again with the password" in late.text) == (403, True)
        assert thief.get("/api/me").status_code == 401


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}'\"</script>"])
def test_what_a_device_says_is_text_on_every_page(hub: WebHub, admin: httpx.Client, evil: str) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    hub.wait_until_ready()
    port = int(hub.program.wait_for(r"Publish to 127\.0\.0\.1:(\d+)", timeout=20)[1])
    body = json.dumps({"input_location": evil, "input_1": {"input_label": evil, "sample_value": evil, "active": True}})
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(f"sensor/{evil.replace('/', '').replace('+', '').replace('#', '')}/1", body, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    deadline = time.monotonic() + 10
    while not any(evil in json.dumps(each, ensure_ascii=False).replace('\\"', '"')
                  for each in admin.get("/api/events", params={"limit": 50}).json()["items"]):  # fmt: skip
        assert time.monotonic() < deadline, "the event did not arrive"
    for page in ("/", "/devices", "/events", "/home/rooms"):
        text = admin.get(page).text
        assert evil not in text, page
        assert "alert(1)</script>" not in text, page
        assert "<img src=x" not in text, page


def test_open_streams_do_not_hold_up_the_stop(tmp_path: Path) -> None:
    with web_hub(tmp_path) as hub, hub.set_up() as admin:
        hub.wait_until_ready()
        with hub.program_with(token_for(admin, "read")) as program, program.stream("GET", "/api/stream") as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": you are connected"
            half_open = socket.create_connection((urlsplit(hub.address).hostname, urlsplit(hub.address).port))
            half_open.sendall(b"GET /login HTTP/1.1\r\nHost: loc")  # and then nothing
            began = time.monotonic()
            hub.program.signal(signal.SIGTERM)
            assert hub.program.wait(timeout=5) == 0
            assert time.monotonic() - began < 3
            half_open.close()
        assert "Did not stop in time" not in hub.program.output


def test_a_login_ends_with_its_time_and_with_a_rest(tmp_path: Path) -> None:
    for number, settings in enumerate(({"WEB_SESSION_HOURS": "0.0006"}, {"WEB_IDLE_HOURS": "0.0003"})):
        with web_hub(tmp_path / f"{number}", env=settings) as hub, hub.set_up() as browser:
            began = time.monotonic()
            while browser.get("/api/me").status_code == 200:  # the rest counts from the last note of a visit, not from each
                assert time.monotonic() - began < 10
            assert browser.get("/").headers["location"] == "/login"


def test_half_a_request_holds_its_place_for_seconds_only(besieged: WebHub) -> None:
    where = urlsplit(besieged.address)
    with socket.create_connection((where.hostname, where.port)) as half_open:
        half_open.sendall(b"GET /login HTTP/1.1\r\nHost: loc")
        half_open.settimeout(25)
        assert half_open.recv(1000) == b""


def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    web = f"\n[web]\nenabled = yes\nport = 0\ntls_cert = {tmp_path}/bad.pem\ntls_key = {tmp_path}/bad.pem\n"
    (tmp_path / "app.conf").write_text(APP_CONF + web)
    env = {"APP_CONFIG": str(tmp_path / "app.conf"), "PYTHONPATH": str(SOURCE), "STATE_DIRECTORY": str(tmp_path / "state")}
    with run_program([sys.executable, "-m", "event_processor.cli", "demo"], env=env, folder=tmp_path) as program:
        assert program.wait(timeout=20) == 1
        assert "tls_cert and tls_key" in program.output.strip().splitlines()[-1]


def test_over_tls_cookies_and_headers_say_so(tmp_path: Path, certificate_authority: CertificateAuthority) -> None:
    files = certificate_authority.server()
    conf = f"[web]\nhost = 0.0.0.0\ntls_cert = {files.certificate}\ntls_key = {files.key}\n"
    with web_hub(tmp_path, conf=conf) as hub:
        assert hub.address.startswith("https://localhost:")
        context = ssl.create_default_context(cafile=str(certificate_authority.ca))
        context.check_hostname = False
        with httpx.Client(base_url=hub.address, verify=context) as browser:
            form = {"code": hub.code, "name": "ada", "password": PASSWORD, "again": PASSWORD}
            answer = browser.post("/setup", data={**form, "csrf": csrf_of(browser, "/setup")})
            assert answer.status_code == 303
            cookie = next(each for each in answer.headers.get_list("set-cookie") if "session" in each)
            assert cookie.startswith("__Host-")
            assert "secure" in cookie.lower()
            assert "max-age=" in answer.headers["strict-transport-security"]
            assert browser.get("/api/me").json()["name"] == "ada"


def test_a_proxy_is_believed_only_where_it_is_named(tmp_path: Path) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    form = {"name": "ada", "password": PASSWORD, "again": PASSWORD}
    conf = "[web]\ntrusted_proxies = 127.0.0.1\nhosts = home.example\n"
    with web_hub(tmp_path / "named", conf=conf) as hub, hub.browser(**forwarded, host="home.example") as browser:
        csrf = csrf_of(browser, "/setup")
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        headers = {"origin": "https://home.example", "cookie": cookies}
        answer = browser.post("/setup", data={**form, "code": hub.code, "csrf": csrf}, headers=headers)
        assert answer.status_code == 303, answer.text
        session = next(each for each in answer.headers.get_list("set-cookie") if "session" in each).partition(";")[0]
        assert session.startswith("__Host-")
        entries = browser.get("/api/audit", headers={"cookie": session}).json()["items"]
        assert {each["address"] for each in entries} == {"203.0.113.7"}
    with web_hub(tmp_path / "unnamed") as hub, hub.browser(**forwarded) as browser:
        answer = browser.post("/setup", data={**form, "code": hub.code, "csrf": csrf_of(browser, "/setup")})
        assert answer.status_code == 303
        assert "strict-transport-security" not in answer.headers
        assert {each["address"] for each in browser.get("/api/audit").json()["items"]} == {"127.0.0.1"}


def test_others_are_let_in_over_tls_or_a_proxy_only(tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(APP_CONF + "\n[web]\nhost = 0.0.0.0\nport = 0\n")
    env = {"APP_CONFIG": str(tmp_path / "app.conf"), "PYTHONPATH": str(SOURCE), "STATE_DIRECTORY": str(tmp_path / "state")}
    with run_program([sys.executable, "-m", "event_processor.cli", "demo"], env=env, folder=tmp_path) as program:
        assert program.wait(timeout=20) == 1
        complaint = program.output.strip().splitlines()[-1]
        assert "[web]" in complaint
        assert "could read passwords on the way" in complaint
