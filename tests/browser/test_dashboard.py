"""The dashboard as a person meets it: from the first visit to a rule that fires, a message that failed, a thread that died."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyotp
import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]  # it has no types

from tests.browser.kit import LOOKS, PASSWORD, SIZES, WCAG, Browser, House, requested

PAGES = (
    "/", "/devices", "/devices/Hall Light", "/events", "/rules", "/rules/text", "/rules/welcome", "/schedules", "/meters",
    "/snapshots", "/dead-letters", "/wiring", "/wiring/threads/EventProcessor", "/settings", "/settings/audit", "/no/page",
)  # fmt: skip
RULE = """
[[rule]]
id = "welcome"
name = "Light when the front door opens"
trigger = {device = "Front Door"}
action = {do = "command", entity = "Hall Light", what = "on"}
"""


def test_the_first_visit_asks_for_the_code_and_makes_an_account(chrome: Browser, house: House) -> None:
    chrome.base = house.base
    chrome.size(1440, 900)
    chrome.open("/", live=False)
    assert chrome.text("h1") == "Welcome"
    for field, text in (("#code", "AAAA-BBBB-CCCC"), ("#name", "ada"), ("#password", PASSWORD), ("#again", PASSWORD)):
        chrome.write(field, text)
    chrome.press("button.primary")
    chrome.sees("not the code")
    chrome.base = ""
    chrome.sign_in(house)
    chrome.sees("No device has been heard yet")


def test_pages_with_nothing_on_them_say_what_is_so(page: Browser) -> None:
    page.open("/devices?text=no+such+thing", live=False)
    page.sees("No device fits these filters")
    page.open("/no/page", live=False)
    assert page.text("h1") == "This page does not exist"
    page.sees("Nothing is at this address")
    page.open("/devices/Nobody", live=False)
    page.sees("No device is called Nobody")
    page.open("/dead-letters", live=False)
    assert "0 more" not in page.text("main")
    page.wrong()  # the browser complains of the 404, which is what was asked for


def test_a_device_appears_by_itself_and_its_values_change_on_the_page(page: Browser, house: House) -> None:
    page.open("/")
    house.furnish()
    page.sees("Front Door")
    page.sees("closed", "[data-key='Front Door']")
    house.publish("things/0", "ON")
    page.sees("open", "[data-key='Front Door']")
    page.until(lambda: "Front Door" in page.text("#latest"), "it is in the list of what has just happened")
    house.publish("things/0", "OFF")
    page.sees("closed", "[data-key='Front Door']")
    assert page.wrong() == []


def test_a_camera_leads_to_its_pictures_and_a_picture_to_its_event(page: Browser) -> None:
    page.open("/devices/Front Camera")
    page.press("a[href^='/snapshots?device=']")
    page.sees("Snapshots", "h1")
    page.until(
        lambda: page.driver.execute_script("return document.querySelector('.pictures img').naturalWidth") == 160, "it is shown"
    )
    page.press(".pictures a[href^='/events/']")
    page.sees("Front Camera: picture", "h1")
    page.until(
        lambda: page.driver.execute_script("return document.querySelector('.pictures img').naturalWidth") == 160, "here too"
    )


def test_a_wrong_rule_is_explained_while_it_is_written_and_a_right_one_fires_and_is_explained(
    page: Browser, house: House
) -> None:
    page.open("/rules/text")
    page.write("#rules-text", RULE.replace("trigger = {device", "trigger = {divice"))
    page.sees("to mend", "#problems")
    page.sees("divice", "#problems")
    page.write("#rules-text", RULE)
    page.sees("Nothing is wrong", "#problems")
    page.press("button[hx-post='/rules/try']")
    page.sees("looked at", "#tried")
    page.press("#rules-form button.primary")
    page.sees("goes by these rules now", "#toasts")

    page.open("/events")
    house.publish("things/0", "ON")
    row = "#events > li:first-child"
    page.until(
        lambda: "Front Door" in page.text("#events") and "set off welcome" in page.text("#events"), "the rule has fired"
    )
    assert page.text(row)
    for line in page.all("#events > li"):
        if "set off welcome" in line.text:
            line.find_element("css selector", "a").click()
            break
    page.sees("What the rules concluded")
    page.sees("fired", ".evaluation")
    page.sees("Light when the front door opens", ".evaluation")
    page.sees("things/2/set")
    page.open("/rules")
    page.sees("Hall Light", "#links-drawing")


def test_a_message_that_failed_is_looked_at_changed_and_replayed(page: Browser, house: House) -> None:
    house.send("event.trigger.garden", b"{this is no JSON")

    def listed() -> bool:
        page.driver.get(f"{house.base}/dead-letters")
        return "event.trigger.garden" in page.text("main")

    page.until(listed, "the dead letter is listed")
    page.press("ul.rows a")
    page.sees("Why it was given up")
    gate = '{"device_key": "Garden Gate", "type": "gate", "sample_value": 1, "active": true}'
    page.write("#body-text", f'{{"data": {{"device_info": {{"inputs": [{gate}]}}, "active_devices": [{gate}]}}}}')
    page.press("button[value=edit]")
    page.sees("There are none")
    page.open("/devices")
    page.sees("Garden Gate")


def test_a_mode_a_switch_and_maintenance_are_one_press_away(page: Browser) -> None:
    page.open("/")
    page.press("form input[value=night] + button")
    page.until(lambda: page.text("#mode-name") == "night", "the mode is night")
    page.press("form input[value=home] + button")
    page.until(lambda: page.text("#mode-name") == "home", "the mode is home")
    page.press("input[value=maintenance] ~ button")
    page.sees("Outputs stay quiet", "#mode")
    page.press("input[value=maintenance] ~ button")
    page.until(lambda: "Outputs stay quiet" not in page.text("#mode"), "maintenance is over")
    page.press("form[data-yes=Panic] button")
    page.until(lambda: page.one("#ask").is_displayed(), "it asks first")
    page.press("#ask-yes")
    page.sees("panic", "#toasts")


def test_a_thread_that_was_killed_stands_out_with_its_error_and_recovers_on_the_page(page: Browser, house: House) -> None:
    page.open("/wiring")
    page.sees("EventProcessor", "#wiring-drawing")
    page.until(lambda: "/s" in page.text("#wiring-pipes tbody"), "the pipes have rates")
    house.kill_victim()
    page.until(lambda: page.all("#wiring-drawing .sick[data-box=Victim]"), "the dead thread stands out")
    assert "ended" in page.text("#wiring-drawing [data-box=Victim]"), "not by its colour alone"
    page.sees("ZeroDivisionError", "#wiring-threads")
    page.sees("thread Victim", "#banners")
    assert page.text("#wiring-threads li:first-child a") == "Victim", "who is ill comes first"
    page.until(lambda: not page.all("#wiring-drawing .sick"), "it was started again")
    page.until(lambda: not page.text("#banners"), "the banner goes by itself")
    page.press("#wiring-threads a[href='/wiring/threads/EventProcessor']")
    page.sees("EventProcessor is right now", "#stack")
    assert ".py" in page.text("#stack pre"), "its stack"


def test_a_second_factor_is_scanned_put_in_force_asked_for_at_the_login_and_taken_away(page: Browser, house: House) -> None:
    page.open("/settings")
    page.driver.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.write("#offer-password", PASSWORD)
    page.press("form[data-show='#offer'] button")
    page.until(lambda: page.text("[data-field=secret]"), "the secret is shown")
    assert page.driver.execute_script("return document.querySelector('#offer img').naturalWidth") > 0, "and drawn"
    app = pyotp.TOTP(page.text("[data-field=secret]"))
    page.write("#totp-code", app.now())
    page.press("form[data-show='#codes'] button")
    page.until(lambda: page.text("[data-lines=recovery_codes]"), "the recovery codes are shown")
    recovery = page.text("[data-lines=recovery_codes]").split()[0]
    page.press("form[action='/logout'] button")
    page.write("#name", "ada")
    page.write("#password", PASSWORD)
    page.press("button.primary")
    page.sees("six digits")
    page.write("#code", "no code")
    page.press("button.primary")
    page.sees("wrong")
    page.write("#code", recovery)
    page.press("button.primary")
    page.until(lambda: page.text("h1") == "Home", "the home page comes")

    page.open("/settings")
    page.driver.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.write("#token-name", "the thermostat")
    page.press("form[data-show='#token'] button")
    page.until(lambda: page.text("#token [data-field=token]"), "the token is shown")
    page.write("#totp-password", PASSWORD)
    page.press("form[data-api='DELETE /settings/totp'] button")
    page.until(lambda: page.all("#offer-password"), "it is taken away")
    page.sees("the thermostat")


def test_names_topics_and_values_from_outside_are_text_on_every_page(page: Browser, house: House) -> None:
    nasty = "<img src=x onerror=window.hit=1>"
    device = {"identifiers": ["nasty"], "name": nasty, "suggested_area": nasty}
    config = {"name": None, "unique_id": "nasty", "state_topic": "nasty/<b>", "device": device}
    page.open("/")
    house.publish("homeassistant/sensor/nasty/config", config, retain=True)
    house.publish("nasty/<b>", nasty, retain=True)
    page.sees(nasty, "#rooms")
    for path in ("/", "/devices", "/devices/nasty", "/events"):
        page.open(path)
        page.sees(nasty)
        house.publish("nasty/<b>", nasty + path)
        page.sees(nasty + path)
        assert page.driver.execute_script("return window.hit") is None
        assert page.all("main img[src=x], main script") == []
    house.publish("homeassistant/sensor/nasty/config", "", retain=True)
    assert [line for line in page.wrong() if "script" in line.lower()] == []


def test_every_page_says_that_a_broker_is_away_and_since_when_and_that_line_goes_by_itself(
    page: Browser, house: House
) -> None:
    page.open("/devices")
    assert page.text("#banners") == ""
    with house.without_rabbitmq():
        page.sees("not connected", "#banners")
        page.sees("RabbitMQ", "#banners")
        assert page.all("#banners time[datetime]"), "it says since when"
    page.until(lambda: page.text("#banners") == "", "the line is gone", seconds=30)


def test_a_page_says_when_the_hub_is_away(page: Browser) -> None:
    page.open("/")
    page.reachable(False)
    try:
        page.driver.execute_script(
            "dispatchEvent(new Event('pagehide')); document.dispatchEvent(new Event('visibilitychange'))"
        )
        page.until(lambda: page.text("#link-text") == "connecting again", "it says that it is away")
    finally:
        page.reachable(True)
    page.until(lambda: page.text("#link-text") == "live", "it is live again")
    page.wrong()


def test_everything_can_be_reached_with_the_keyboard_and_the_look_is_kept(page: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open("/")
    page.one("body").send_keys(Keys.TAB)
    seen = "const e = document.activeElement; return e.matches('.skip') && e.getBoundingClientRect().top >= 0"
    page.until(lambda: page.driver.execute_script(seen), "the first stop is the way to the content, and it is seen")
    page.press("#theme")
    assert page.driver.execute_script("return document.documentElement.dataset.theme") == "dark"
    page.open("/events")
    assert page.driver.execute_script("return document.documentElement.dataset.theme") == "dark"
    page.press("#theme")
    page.driver.execute_script("localStorage.clear()")
    page.size(360, 740)
    page.open("/")
    assert not page.one("nav a[href='/wiring']").is_displayed()
    page.press("#more")
    assert page.one("nav a[href='/wiring']").is_displayed()
    assert page.one("#more").get_attribute("aria-expanded") == "true"
    page.press("nav a[href='/wiring']")
    page.sees("Wiring", "h1")


@pytest.mark.parametrize("theme", LOOKS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_page_fits_has_no_violation_of_wcag_and_asks_nobody_else(
    page: Browser, house: House, theme: str, width: int, height: int, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.size(width, height)
    page.look(theme)
    requested(page.driver)
    axe, wrong = Axe(), []
    for path in PAGES:
        page.open(path)
        if path in ("/meters", "/devices/Hall Light"):
            page.until(lambda: not page.all("[data-chart]:not([data-points])"), "the charts are drawn")
        wide = page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            wrong.append(f"{path} is {wide} px wider than the screen")
        page.picture(folder, path, theme, width)
        if (theme == "dark") == (width > 800):
            continue  # both looks and both layouts have been looked at with the two others
        found = axe.run(page.driver, options={"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]})
        wrong += [f"{path}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]
    assert wrong == []
    assert {re.sub(r"(?<=\d)/.*", "", address) for address, _ in requested(page.driver)} == {house.base}
    assert [line for line in page.wrong() if "404" not in line] == []


@pytest.mark.parametrize("path", ["/login", "/setup"])
def test_the_pages_before_the_login_have_no_violation_either(page: Browser, path: str) -> None:
    cookies = page.driver.get_cookies()
    page.driver.delete_all_cookies()
    try:
        page.open(path, live=False)
        found = Axe().run(page.driver, options={"runOnly": {"type": "tag", "values": WCAG}})
        assert [each["id"] for each in found["violations"]] == []
        assert len(found["passes"]) > 5
    finally:
        for cookie in cookies:
            page.driver.add_cookie(cookie)
