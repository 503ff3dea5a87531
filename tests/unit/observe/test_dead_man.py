"""The ping to somebody outside: what is called when, and that its address stays a secret."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pylib.config import AppConfig
from pylib.errors import ConfigError
from pylib.observe.dead_man import DeadMan, dead_man, style_of, url_for
from pylib.observe.health import Health, Problem
from pylib.observe.observing import Observing
from pylib.runtime.runtime import Runtime

HEALTHCHECKS = "https://hc-ping.com/eb095278-aaaa"
OWN_HEALTHCHECKS = "https://checks.home/ping/eb095278-aaaa/"
CRONITOR = "https://cronitor.link/p/k3y/hub"
KUMA = "http://kuma.home:3001/api/push/t0ken?status=up&msg=OK&ping="
PLAIN = "http://nas.home/i-am-alive?who=hub"

WELL = Health(live=True, ready=True, at=0.0)
AWAY = Health(live=True, ready=False, at=0.0, problems=(Problem(part="RabbitMQ", what="not connected", since=0.0),))
HUNG = Health(live=False, ready=False, at=0.0, problems=(Problem(part="thread x", what="hangs", since=0.0, fatal=True),))


@pytest.mark.parametrize(
    ("url", "style", "start", "success", "fail"),
    [
        (HEALTHCHECKS, "healthchecks", f"{HEALTHCHECKS}/start", HEALTHCHECKS, f"{HEALTHCHECKS}/fail"),
        (OWN_HEALTHCHECKS, "healthchecks", f"{OWN_HEALTHCHECKS}start", OWN_HEALTHCHECKS[:-1], f"{OWN_HEALTHCHECKS}fail"),
        (CRONITOR, "cronitor", None, CRONITOR, f"{CRONITOR}?state=fail&message=why"),
        (KUMA, "uptime-kuma", None, "http://kuma.home:3001/api/push/t0ken?status=up&msg=OK",
         "http://kuma.home:3001/api/push/t0ken?status=down&msg=why"),
        (PLAIN, "plain", None, PLAIN, None),
    ],
)  # fmt: skip
def test_each_service_is_spoken_to_in_its_own_words(
    url: str, style: str, start: str | None, success: str, fail: str | None
) -> None:
    kind = style_of(url)
    assert kind == style
    assert url_for(url, kind, "start") == start
    assert url_for(url, kind, "success") == success
    assert url_for(url, kind, "fail", "why") == fail


class Service:
    """Somebody outside, who may be away."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.away = False

    def get(self, url: str) -> None:
        if self.away:
            raise OSError(f"cannot reach {url}")
        self.called.append(url.removeprefix(HEALTHCHECKS))


def test_it_pings_while_all_is_well_says_once_that_it_is_not_and_goes_on_by_itself() -> None:
    service, state = Service(), [WELL]
    ping = DeadMan(lambda: state[0], HEALTHCHECKS, get=service.get)
    ping()
    ping()
    state[0] = AWAY
    ping()
    ping()
    ping()
    state[0] = WELL
    ping()
    state[0] = HUNG
    ping()
    assert service.called == ["/start", "", "", "/fail", "", "/fail"]


def test_it_may_be_told_to_ping_as_long_as_a_restart_would_not_help() -> None:
    service, state = Service(), [AWAY]
    ping = DeadMan(lambda: state[0], HEALTHCHECKS, when="live", get=service.get)
    ping()
    state[0] = HUNG
    ping()
    assert service.called == ["/start", "", "/fail"]


def test_a_service_that_is_away_is_told_of_once_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.away = True
    ping = DeadMan(lambda: AWAY, HEALTHCHECKS, get=service.get)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            ping()
        service.away = False
        ping()
    assert service.called == ["/start", "/fail"], "what did not get through is said when it can be"
    assert len([record for record in caplog.records if "did not get through" in record.message]) == 1
    assert "eb095278" not in caplog.text
    assert "eb095278" not in repr(ping)


@pytest.mark.parametrize(
    "lines",
    ["ping_url = ftp://hunter2/x", "ping_url = hunter2", "ping_url = https://x/hunter2\nping_every_s = 1",
     "ping_url = https://x/hunter2\nping_when = never", "ping_url = https://x/hunter2\nping_style = hunter"],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused_without_repeating_the_address(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "app.conf"
    path.write_text(f"[observe]\n{lines}\n")
    with pytest.raises(ConfigError, match=r"ping_") as refused:
        dead_man(AppConfig(path, {}), lambda: WELL)
    assert "hunter2" not in str(refused.value)


def test_without_an_address_there_is_no_ping() -> None:
    assert dead_man(AppConfig(environ={}), lambda: WELL) is None


class Slow(BaseHTTPRequestHandler):
    """Answers when it is allowed to."""

    asked = threading.Event()
    allowed = threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        self.allowed.wait(20)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


def test_a_service_that_never_answers_holds_up_no_stop(runtime: Runtime) -> None:
    Slow.asked.clear()
    Slow.allowed.clear()
    server = HTTPServer(("127.0.0.1", 0), Slow)
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        environ = {"OBSERVE_PING_URL": f"http://127.0.0.1:{server.server_address[1]}/ping/x"}
        Observing(runtime, "test", config=AppConfig(environ=environ)).start()
        assert Slow.asked.wait(10)
        assert runtime.stop() == []
    finally:
        Slow.allowed.set()
        server.shutdown()
        serving.join()
        server.server_close()
