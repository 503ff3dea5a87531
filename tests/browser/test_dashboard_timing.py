"""How heavy the pages are and how quick, where nothing else runs. ``benchmarks/dashboard_live.py`` measures more."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.browser.kit import Browser, House, requested

pytestmark = pytest.mark.alone

MOST_BYTES = 200 * 1024
FIRST_PAINT_MS = 300
CHANGE_MS = 100
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def test_what_a_sensor_says_is_on_the_page_within_a_tenth_of_a_second(page: Browser, house: House) -> None:
    house.furnish()
    page.open("/")
    page.sees("Kitchen Climate")
    page.driver.execute_script(
        "const value = document.querySelector(\"[data-key='Kitchen Climate'] .value\"); window.seen = {};"
        "new MutationObserver(() => { window.seen[value.textContent] ??= Date.now(); }).observe(value, {childList: true});"
    )
    sent: dict[str, float] = {}
    for tenths in range(301, 331):
        text = f"{tenths / 10:g} °C"
        sent[text] = time.time()
        house.publish("things/4", f"{tenths / 10:g}")
        page.sees(text, "[data-key='Kitchen Climate'] .value")
    seen = page.driver.execute_script("return window.seen")
    took = [seen[text] - 1000 * at for text, at in sent.items()]
    print(f"publish to page: p50 {statistics.median(took):.1f} ms")
    assert statistics.median(took) <= CHANGE_MS


def test_a_page_is_light_and_quickly_there_and_asks_no_other_host(page: Browser, house: House) -> None:
    house.furnish()
    for path in ("/", "/meters", "/wiring"):
        paints: list[float] = []
        for _ in range(5):
            page.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
            page.driver.get("about:blank")
            requested(page.driver)
            page.open(path)
            page.until(lambda: page.driver.execute_script(PAINT), "the page is painted")
            paints.append(page.driver.execute_script(PAINT))
            found = requested(page.driver)
            assert sum(size for _, size in found) <= MOST_BYTES, path
            assert [address for address, _ in found if not address.startswith(house.base)] == []
        print(f"{path}: first paint {min(paints):.0f} to {max(paints):.0f} ms")
        assert min(paints) <= FIRST_PAINT_MS, f"{path}: also the one that was disturbed least by what else this machine does"
