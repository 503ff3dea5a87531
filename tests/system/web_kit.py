"""A hub with its dashboard, as its user starts it, and browsers and programs that log in to it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

import event_processor
from event_processor.web.auth.current import csrf_of as derived
from pylib.testing.processes import Program, run_program

SOURCE = Path(event_processor.__file__).parents[1]
PASSWORD = "correct horse battery staple"
APP_CONF = """
[rabbitmq]
mq_exchange = test_home

[links]
* Door = siren

[output:valve]
topic = cmnd/valve/set

[meter:Water Meter]
unit = l

[schedule:evening]
at = 22:00
do = mode night
"""
RULES = """
[[rule]]
id = "hall-lamp"
trigger = {device = "Hall *"}
action = {do = "command", topic = "cmnd/lamp/POWER", payload = "ON"}
"""


class WebHub:
    """A running hub: where its dashboard is, and the code for the first visit."""

    def __init__(self, program: Program, folder: Path) -> None:
        found = program.wait_for(r"open (http\S+?)/setup and enter the code ([0-9A-Z-]+)", timeout=30)
        self.program = program
        self.folder = folder
        self.address, self.code = found[1], found[2]

    def wait_until_ready(self) -> None:
        """Both brokers are connected."""
        self.program.wait_for("The event processor is ready", timeout=30)

    def browser(self, **headers: str) -> httpx.Client:
        """Somebody with a browser who is not logged in."""
        return httpx.Client(base_url=self.address, headers={"accept": "text/html", **headers}, timeout=20)

    def program_with(self, token: str) -> httpx.Client:
        """A program with a token."""
        return httpx.Client(base_url=self.address, headers={"authorization": f"Bearer {token}"}, timeout=20)

    @contextmanager
    def set_up(self, name: str = "ada", password: str = PASSWORD) -> Iterator[httpx.Client]:
        """Make the first account; its browser, logged in."""
        with self.browser() as browser:
            form = {"code": self.code, "name": name, "password": password, "again": password}
            answer = browser.post("/setup", data={**form, "csrf": csrf_of(browser, "/setup")})
            assert answer.status_code == 303, answer.text
            yield browser

    @contextmanager
    def log_in(self, name: str, password: str = PASSWORD) -> Iterator[httpx.Client]:
        """Somebody's browser, logged in."""
        with self.browser() as browser:
            answer = browser.post("/login", data={"name": name, "password": password, "csrf": csrf_of(browser, "/login")})
            assert answer.status_code == 303, answer.text
            yield browser


def csrf_of(browser: httpx.Client, page: str) -> str:
    """What the form of a page has to send back."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', browser.get(page).text)
    assert found is not None, page
    return found[1]


def csrf_for(browser: httpx.Client) -> str:
    """What the forms of a browser that is logged in have to send back."""
    return derived(next(value for name, value in browser.cookies.items() if name == "event_processor_session"))


def token_for(admin: httpx.Client, scope: str, **more: object) -> str:
    """A new token of this browser's account."""
    body = {"name": f"a {scope} token", "scope": scope, **more}
    answer = admin.post("/api/tokens", json=body, headers={"x-csrf-token": csrf_for(admin)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


@contextmanager
def web_hub(folder: Path, *, conf: str = "", env: Mapping[str, str] | None = None, database: str = "") -> Iterator[WebHub]:
    """A hub with brokers of its own and a dashboard on a free port; killed after the block when it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.conf").write_text(APP_CONF + conf)
    (folder / "rules.toml").write_text(RULES)
    with start_hub(folder, {"HUB_DATABASE": database, **(env or {})}) as program:
        yield WebHub(program, folder)


@contextmanager
def start_hub(folder: Path, env: Mapping[str, str]) -> Iterator[Program]:
    """Start the hub of a folder, with what it has kept there."""
    merged = {
        "APP_CONFIG": str(folder / "app.conf"),
        "DEVICE_NAME": "test-device",
        "PYTHONPATH": str(SOURCE),
        "APP_STATE_DIR": str(folder / "state"),
        "WEB_ENABLED": "yes",
        "WEB_PORT": "0",
        **env,
    }
    with run_program([sys.executable, "-m", "event_processor.cli", "demo"], env=merged, folder=folder) as program:
        yield program
