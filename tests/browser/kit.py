"""What the tests of the pages share: a house with brokers and a hub, and a browser that has logged in."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

import event_processor
from event_processor.simulator.picture import draw
from pylib.embedded.amqp import AmqpBroker
from pylib.embedded.mqtt import MqttBroker
from pylib.testing.processes import Program, run_program

SOURCE = Path(event_processor.__file__).parents[1]
READY = "The event processor is ready"
ADDRESS = r"The dashboard is at (http://[\d.:]+)\."
CODE = r"enter the code ([A-Z0-9-]+)"
PASSWORD = "a lamp for every room"
SIZES = ((1440, 900), (360, 740))
LOOKS = ("light", "dark")
#: Of WCAG 2.2, level A and AA.
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

APP_CONF = """
[rabbitmq]
mq_exchange = browser_home

[mqtt]
subscribe = sensor/#, meter/#

[hub]
timezone = Europe/Berlin
latitude = 52.5
longitude = 13.4

[web]
port = 0

[output:siren]
type = siren

[meter:Water Meter]
unit = L
high = 500
of = minute

[schedule:evening]
at = 22:30
do = mode night

[schedule:sunrise light]
sun = sunrise + 00:30
days = mon-fri
do = command Hall Light = off
"""


class House:
    """Both brokers, a hub and a client for each broker. Use it with ``with``."""

    def __init__(self, folder: Path, conf: str = APP_CONF) -> None:
        self.folder = folder
        self._conf = conf
        self._stack = ExitStack()
        self.base = self.code = ""

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.mqtt = stack.enter_context(MqttBroker())
            self.amqp = stack.enter_context(AmqpBroker())
            (self.folder / "app.conf").write_text(self._conf)
            os.mkfifo(self.folder / "victim")
            self.state = self.folder / "state"
            env = {
                "APP_CONFIG": str(self.folder / "app.conf"),
                "DEVICE_NAME": "test-device",
                "MQTT_SERVER_ADDRESS": self.mqtt.url,
                "RABBITMQ_SERVER_ADDRESS": self.amqp.url,
                "PYTHONPATH": str(SOURCE),
                "STATE_DIRECTORY": str(self.state),
                "VICTIM": str(self.folder / "victim"),
            }
            command = [sys.executable, str(Path(__file__).with_name("hub_process.py"))]
            self.hub: Program = stack.enter_context(run_program(command, env=env, folder=self.folder))
            self.base = self.hub.wait_for(ADDRESS, timeout=40)[1]
            self.code = self.hub.wait_for(CODE, timeout=20)[1]
            self.hub.wait_for(READY, timeout=40)
            self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="house")
            connected = threading.Event()
            self._client.on_connect = lambda *_: connected.set()
            self._client.connect(self.mqtt.host, self.mqtt.port)
            self._client.loop_start()
            stack.callback(self._leave)
            assert connected.wait(10)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def publish(self, topic: str, body: object, *, retain: bool = False) -> None:
        """Publish at QoS 1, and return when the broker has it. What is no text goes as JSON."""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        self._client.publish(topic, data, qos=1, retain=retain).wait_for_publish(10)

    def tell(self, topic: str, text: str) -> None:
        """Publish at QoS 0, and go on at once."""
        self._client.publish(topic, text)

    def send(self, key: str, body: bytes) -> None:
        """Send to the exchange on which the hub listens."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp.url))
        with connection, connection.channel() as channel:
            channel.confirm_delivery()
            channel.basic_publish("browser_home", key, body, pika.BasicProperties(content_type="application/json"))

    @contextmanager
    def without_rabbitmq(self) -> Iterator[None]:
        """The broker is away, and comes back at the same address."""
        port = self.amqp.port
        self.amqp.close()
        try:
            yield
        finally:
            self.amqp = self._stack.enter_context(AmqpBroker(port=port))

    def kill_victim(self) -> None:
        """Have the hub's thread ``Victim`` die."""
        (self.folder / "victim").write_bytes(b"")

    def furnish(self) -> None:
        """Some devices that announce themselves, and what they say."""
        for number, (kind, name, room, more, state) in enumerate(FURNITURE):
            topic = f"homeassistant/{kind}/thing{number}/config"
            device = {
                "identifiers": [f"thing{number}"],
                "name": name,
                "suggested_area": room,
                "manufacturer": "Acme",
                "model": kind,
            }
            base = f"things/{number}"
            config = {"name": None, "unique_id": f"thing{number}", "state_topic": base, "device": device, **more}
            if kind in ("switch", "light"):
                config |= {"command_topic": f"{base}/set"}
            self.publish(topic, config, retain=True)
            self.publish(base, state, retain=True)
        for register in (1000.0, 1004.5, 1011.0):
            self.publish("meter/water", {"register_reading": register, "last_minute_metered": 4})

    def _leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


FURNITURE: tuple[tuple[str, str, str, Mapping[str, object], str | bytes], ...] = (
    ("binary_sensor", "Front Door", "Hall", {"device_class": "door"}, "OFF"),
    ("binary_sensor", "Hall Motion", "Hall", {"device_class": "motion"}, "ON"),
    ("light", "Hall Light", "Hall", {}, "OFF"),
    ("switch", "Coffee Machine", "Kitchen", {"device_class": "outlet"}, "ON"),
    ("sensor", "Kitchen Climate", "Kitchen", {"device_class": "temperature", "unit_of_measurement": "°C"}, "21.5"),
    ("binary_sensor", "Kitchen Window", "Kitchen", {"device_class": "window"}, "ON"),
    ("sensor", "House Power", "Cellar", {"device_class": "power", "unit_of_measurement": "W"}, "430"),
    ("sensor", "Garden Thermometer", "Garden", {"device_class": "temperature", "unit_of_measurement": "°C"}, "7.2"),
    (
        "image",
        "Front Camera",
        "Hall",
        {"image_topic": "things/8"},
        draw(datetime(2026, 11, 24, 8, tzinfo=UTC), 0.8, person=True),
    ),
)


def find(program: str, *others: str) -> str:
    """The path of an installed program. A missing one fails the test, and says how to get it."""
    for name in (program, *others):
        if (found := shutil.which(name)) is not None:
            return found
    raise AssertionError(f"{program} is not installed: apt-get install chromium chromium-driver, or scripts/ensure-brokers")


class Browser:
    """Chromium without a window, for one person."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.base = ""

    def open(self, path: str, *, live: bool = True) -> None:
        """Go to a page, and wait until it is told of changes."""
        self.driver.get(self.base + path)
        if live:
            self.until(lambda: self.text("#link-text") == "live", "the page is live")

    def one(self, selector: str) -> WebElement:
        """The element, once it is there: the page before it may not have gone yet."""
        self.until(lambda: self.all(selector), f"{selector} is there")
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of an element as it is in the document, "" where there is none. One step: the page may change meanwhile."""
        script = "const found = document.querySelector(arguments[0]); return found ? found.textContent.trim() : ''"
        return str(self.driver.execute_script(script, selector))

    def write(self, selector: str, text: str) -> None:
        """Type into a field, over what is there."""
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def press(self, selector: str) -> None:
        """Press a button, wherever on the page it is."""
        element = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def until(self, true: Callable[[], object], what: str, seconds: float = 15.0) -> None:
        """Wait until something holds."""
        wait = WebDriverWait(self.driver, seconds, poll_frequency=0.03)
        wait.until(lambda _: true(), f"waited {seconds:g} s until {what}; the page is {self.driver.current_url}")

    def sees(self, text: str, within: str = "main") -> None:
        """Wait until a text can be read on the page."""
        self.until(lambda: text in self.text(within), f"{text!r} is on the page")

    def size(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        )

    def look(self, theme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def reachable(self, yes: bool) -> None:
        """Whether the network is there."""
        speed = -1 if yes else 0
        asked = {"offline": not yes, "latency": 0, "downloadThroughput": speed, "uploadThroughput": speed}
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", asked)

    def wrong(self) -> list[str]:
        """What the page has complained of since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def signed_in(self, house: House) -> bool:
        """Whether it is logged in there."""
        if self.base != house.base:
            return False
        self.open("/", live=False)
        return urlsplit(self.driver.current_url).path == "/"

    def picture(self, folder: Path, path: str, theme: str, width: int) -> None:
        """A picture of the page, with SCREENSHOTS=docs/images for the documentation."""
        name = re.sub(r"\W+", "-", path.strip("/").lower()) or "home"
        high = self.driver.execute_script("return document.documentElement.scrollHeight")
        before = self.driver.execute_script("return innerHeight")
        self.size(width, min(max(high, before), 1600))
        data = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 80})["data"]
        self.size(width, before)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{theme}-{width}.webp").write_bytes(base64.b64decode(data))

    def sign_in(self, house: House) -> None:
        """Make the first account where there is none, else log in."""
        self.base = house.base
        self.driver.delete_all_cookies()
        self.open("/login", live=False)
        if urlsplit(self.driver.current_url).path == "/setup":
            self.write("#code", house.code)
            self.write("#again", PASSWORD)
        self.write("#name", "ada")
        self.write("#password", PASSWORD)
        self.press("button.primary")
        self.until(lambda: urlsplit(self.driver.current_url).path == "/", "the home page comes")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in ``folder``. It reaches this machine only."""
    options = Options()
    options.binary_location = find("chromium", "chromium-browser")
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={folder}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "--lang=en-GB",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(find("chromedriver")))
    try:
        driver.set_script_timeout(20)
        driver.set_page_load_timeout(20)
        yield Browser(driver)
    finally:
        driver.quit()


def requested(driver: Chrome) -> list[tuple[str, float]]:
    """What was asked for since the last call: the address, and the bytes of its answer as they came over the wire."""
    addresses: dict[str, str] = {}
    sizes: dict[str, float] = {}
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        params = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            addresses[params["requestId"]] = params["request"]["url"]
        elif message["method"] == "Network.loadingFinished":
            sizes[params["requestId"]] = params["encodedDataLength"]
    return [(address, sizes.get(ident, 0.0)) for ident, address in addresses.items() if re.match(r"\w+://", address)]
