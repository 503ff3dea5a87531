"""Schedules as a person makes them: with the form, which says what is wrong and when it will be, and with the keyboard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]  # it has no types
from selenium.webdriver.common.keys import Keys

from tests.browser.kit import LOOKS, SIZES, WCAG, Browser, House, requested

MOST_KIB = 200


def shown(page: Browser, selector: str) -> bool:
    return page.one(selector).is_displayed()


def test_a_schedule_is_made_in_the_page_is_due_and_is_seen_in_the_events(page: Browser, house: House) -> None:
    page.open("/schedules")
    page.press("a[href='/schedules/new']")
    page.until(lambda: page.text("h1") == "New schedule", "the form is open")
    page.write("#name", "Every second")
    page.write("#at", "26:00")
    page.sees("no time of the day", "#checked")
    page.until(lambda: "no time of the day" in page.text("#wrong-at"), "it is said at the field too")
    assert page.one("#at").get_attribute("aria-invalid") == "true"
    page.write("#at", "6:00")
    page.press("#add")
    page.sees("tomorrow 06:00", "#checked .times")
    assert page.one("#do").get_attribute("value") == "mode home"
    page.press("input[value=cron]")
    assert [shown(page, each) for each in ("#cron", "#at", "#side", "#days")] == [True, False, False, False]
    page.write("#cron", "* * * * * *")
    page.until(lambda: len(page.all("#checked .times li")) == 5, "the next times are said")
    page.press("#schedule-form button.primary")
    page.until(lambda: page.driver.current_url.endswith("/schedules#schedule-every-second"), "the list comes")
    page.sees("by cron: * * * * * *", "#schedule-every-second")
    page.until(lambda: page.all("#schedule-every-second dd a"), "it was due")
    page.press("#schedule-every-second dd a")
    page.sees("Every second")
    page.open("/events")
    page.sees("a schedule was due", "#events")

    page.open("/schedules/every-second/change")
    page.press("form[data-yes='Delete it'] button")
    page.until(lambda: shown(page, "#ask"), "it asks first")
    page.press("#ask-yes")
    page.until(lambda: page.driver.current_url.endswith("/schedules"), "the list comes")
    page.until(lambda: not page.all("#schedule-every-second"), "it is gone")
    assert page.wrong() == []


def test_a_schedule_by_the_sun_is_made_and_switched_with_the_keyboard_alone(page: Browser, house: House) -> None:
    page.open("/schedules/new")
    page.one("#name").send_keys("Dusk", Keys.TAB, Keys.RIGHT)  # the second of the ways to say when
    page.until(lambda: shown(page, "#side"), "the fields of the sun are there")
    page.driver.switch_to.active_element.send_keys(Keys.TAB, "before", Keys.TAB, "sunset", Keys.TAB, "00:45")
    page.one("#by").clear()
    page.one("#by").send_keys("00:45")
    page.one("#do").send_keys("mode night")
    page.sees("When it is due next", "#checked")
    page.one("#name").send_keys(Keys.ENTER)
    page.until(lambda: page.all("#schedule-dusk"), "the list comes")
    page.sees("45 min before sunset every day", "#schedule-dusk")
    page.until(lambda: page.text("#link-text") == "live", "the page is live")
    page.one("#switch-dusk").send_keys(Keys.SPACE)
    page.until(lambda: "not while it is off" in page.text("#schedule-dusk"), "it is off, and the page says so")
    assert page.one("#switch-dusk").get_attribute("aria-checked") == "false"
    assert "app.conf" in page.text("#schedule-evening")
    assert not page.all("#schedule-evening a[href$=change]")


@pytest.mark.parametrize("theme", LOOKS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_form_fits_is_light_and_has_no_violation_of_wcag(
    page: Browser, house: House, theme: str, width: int, height: int, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.size(width, height)
    page.look(theme)
    axe, wrong = Axe(), []
    for path, kind in (("/schedules/new", "at"), ("/schedules/new", "sun"), ("/schedules/dusk/change", "cron")):
        requested(page.driver)
        page.open(path)
        page.driver.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
        page.press(f"input[value={kind}]")
        page.write("#zone", "Nowhere")
        page.until(lambda: page.all("#checked .problem"), "what is wrong is said")
        kib = sum(size for address, size in requested(page.driver) if "/live" not in address) / 1024
        if kib > MOST_KIB:
            wrong.append(f"{path} weighs {kib:.0f} KiB")
        if (wide := page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")) > 0:
            wrong.append(f"{path} with {kind} is {wide} px wider than the screen")
        page.picture(folder, f"{path}-{kind}", theme, width)
        found = axe.run(page.driver, options={"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]})
        wrong += [f"{path}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]
    page.open("/schedules")
    page.picture(folder, "/schedules-list", theme, width)
    assert wrong == []
    assert page.wrong() == []
