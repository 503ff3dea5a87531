"""What the dashboard costs, and how quick it is.

    python benchmarks/dashboard_live.py [--pages 50] [--rate 200] [--seconds 8]    CPU of the hub with and without open pages
    python benchmarks/dashboard_live.py --latency [--events 200]                     publish to the change on the page
    python benchmarks/dashboard_live.py --weight                                     bytes and first paint of each page

A hub in a process of its own with its store on disk, embedded brokers in this one, and Chromium without a window. The open
pages of the first form are connections that read all they are told; they are read by another process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.kit import PASSWORD, Browser, House, chromium, requested  # noqa: E402  # the tests are in the folder above

ROUNDS = 3
PAGES = (
    "/", "/devices", "/events", "/rules", "/rules/text", "/schedules", "/meters", "/snapshots", "/dead-letters", "/wiring",
    "/settings",
)  # fmt: skip
WATCH = """
const value = document.querySelector("[data-key='Bench Sensor'] .value");
window.seen = {};
const note = () => { window.seen[value.textContent] ??= Date.now(); };
new MutationObserver(note).observe(value, {childList: true, subtree: true, characterData: true});
"""


def cookie(house: House) -> str:
    """Make the first account, as a person would, and give the cookie of its session."""
    with httpx.Client(base_url=house.base) as client:
        form = client.get("/setup").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', form)
        assert csrf is not None
        filled = {"csrf": csrf[1], "code": house.code, "name": "ada", "password": PASSWORD, "again": PASSWORD}
        answer = client.post("/setup", data=filled)
        assert answer.status_code == 303, answer.text
        return answer.headers["set-cookie"].partition(";")[0]


def read_pages(base: str, session: str, count: int, ready: Event, stop: Event, told: multiprocessing.Queue[int]) -> None:
    """Open so many pages and read what they are told, until it is over."""
    host, port = str(urlsplit(base).hostname), int(urlsplit(base).port or 80)
    selector = selectors.DefaultSelector()
    for _ in range(count):
        connection = socket.create_connection((host, port))
        ask = f"GET /live HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {session}\r\nAccept: text/event-stream\r\n\r\n"
        connection.sendall(ask.encode())
        assert b"200 OK" in connection.recv(4096)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    ready.set()
    total = 0
    while not stop.is_set():
        for key, _ in selector.select(0.2):
            assert isinstance(key.fileobj, socket.socket)
            total += len(key.fileobj.recv(1 << 20))
    told.put(total)


class Rate(threading.Thread):
    """Publishes steadily until it is stopped."""

    def __init__(self, house: House, rate: float) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._house, self._rate, self.sent = house, rate, 0

    def run(self) -> None:
        begun = time.monotonic()
        while not self.over.wait(max(0.0, begun + self.sent / self._rate - time.monotonic())):
            self._house.tell(f"bench/{self.sent % 40}", f"{self.sent % 997}.5")
            self.sent += 1


def cost(house: House, pages: int, rate: float, seconds: float) -> None:
    session = cookie(house)
    for number in range(40):
        device = {"identifiers": [f"b{number}"], "name": f"Sensor {number}"}
        config = {"name": None, "unique_id": f"b{number}", "state_topic": f"bench/{number}", "device": device}
        house.publish(f"homeassistant/sensor/b{number}/config", config, retain=True)
    hub = psutil.Process(house.hub.pid)
    publisher = Rate(house, rate)
    publisher.start()
    quiet: list[float] = []
    busy: list[float] = []
    spawn = multiprocessing.get_context("spawn")
    bytes_told = 0
    for _ in range(ROUNDS):
        _measure(hub, publisher, 2)
        quiet.append(_measure(hub, publisher, seconds))
        ready, stop, told = spawn.Event(), spawn.Event(), spawn.Queue()
        reader = spawn.Process(target=read_pages, args=(house.base, session, pages, ready, stop, told), daemon=True)
        reader.start()
        assert ready.wait(30)
        _measure(hub, publisher, 2)
        busy.append(_measure(hub, publisher, seconds))
        stop.set()
        bytes_told += told.get(timeout=20)
        reader.join(10)
    publisher.over.set()
    publisher.join(5)
    without, with_pages = (rate * statistics.median(each) for each in (quiet, busy))
    print(f"{rate:g} events/s: hub without pages {without:.1f} %, with {pages} pages {with_pages:.1f} % of a core")
    print(f"told to each page: {bytes_told / ROUNDS / pages / (seconds + 2) / 1024:.1f} KiB/s")
    print(f"{pages} open pages cost {with_pages - without:.1f} % of a core")


def _measure(hub: psutil.Process, publisher: Rate, seconds: float) -> float:
    """Per cent of a second of CPU that one event costs: a machine that is busy with other things slows down both alike."""
    before, sent = sum(hub.cpu_times()[:2]), publisher.sent
    threading.Event().wait(seconds)
    return 100 * (sum(hub.cpu_times()[:2]) - before) / (publisher.sent - sent)


def latency(house: House, browser: Browser, events: int) -> None:
    config = {
        "name": None,
        "unique_id": "bench",
        "state_topic": "bench/one",
        "device": {"identifiers": ["bench"], "name": "Bench Sensor"},
    }
    house.publish("homeassistant/sensor/bench/config", config, retain=True)
    house.publish("bench/one", "0", retain=True)
    browser.sign_in(house)
    browser.open("/")
    browser.until(lambda: browser.text("[data-key='Bench Sensor'] .value") == "0", "the sensor is on the page")
    browser.driver.execute_script(WATCH)
    sent: dict[str, float] = {}
    for number in range(1, events + 1):
        sent[str(number)] = time.time()
        house.publish("bench/one", str(number))
        threading.Event().wait(0.1 + 0.0073 * (number % 9))
    browser.until(lambda: browser.text("[data-key='Bench Sensor'] .value") == str(events), "the last one is shown")
    seen = browser.driver.execute_script("return window.seen")
    took = sorted(seen[value] - 1000 * at for value, at in sent.items() if value in seen)
    print(f"{len(took)} of {events} changes seen: p50 {took[len(took) // 2]:.1f} ms, p95 {took[int(len(took) * 0.95)]:.1f} ms")


def weight(house: House, browser: Browser) -> None:
    browser.sign_in(house)
    house.furnish()
    browser.open("/")
    heaviest, slowest, strangers = 0.0, 0.0, set[str]()
    for path in PAGES:
        paints, sizes = [], []
        for _ in range(3):
            browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
            browser.driver.get("about:blank")
            requested(browser.driver)
            browser.open(path)
            browser.until(
                lambda: browser.driver.execute_script("return performance.getEntriesByType('paint').length") > 0, "painted"
            )
            found = requested(browser.driver)
            sizes.append(sum(size for _, size in found))
            strangers |= {address for address, _ in found if not address.startswith(house.base)}
            paints.append(
                browser.driver.execute_script("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
        print(f"{path}: {max(sizes) / 1024:.0f} KiB, first paint {statistics.median(paints):.0f} ms")
        heaviest, slowest = max(heaviest, *sizes), max(slowest, statistics.median(paints))
    print(f"heaviest page {heaviest / 1024:.1f} KiB, slowest first paint {slowest:.0f} ms, other hosts asked {len(strangers)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--weight", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, House(Path(folder)) as house:
        if not (options.latency or options.weight):
            cost(house, options.pages, options.rate, options.seconds)
            return
        with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
            browser.size(1440, 900)
            if options.latency:
                latency(house, browser, options.events)
            if options.weight:
                weight(house, browser)


if __name__ == "__main__":
    main()
