"""``event-processor demo``: the hub with brokers of its own, a simulated home, and outputs that say what reaches them.
Nothing else is needed, and nothing is left of it.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import HTTPServer
from pathlib import Path
from typing import Final

from event_processor.publish import dashboard_of, line_to_type, port_for
from event_processor.settings import HubSettings
from event_processor.settings.connecting import addresses, tls_options
from event_processor.simulator.living import home_threads, morning
from event_processor.simulator.phone import Phone, listening
from pylib.app import AppThread
from pylib.config import app_config
from pylib.errors import ConfigError
from pylib.mqtt import MqttSubscriber
from pylib.rabbit import ZMQListener
from pylib.runtime.runtime import Runtime
from pylib.zmq import Closable

__all__ = ["RULES", "WAKING", "Demo"]

RULES: Final = Path(__file__).with_name("demo_rules.toml")
"""The rules for the simulated home. A demo has a copy, which the dashboard may change."""

WAKING: Final = 6.2
"""The hour at which the simulated home's first day begins, so that there is something to see at once."""

SPEED: Final = 60.0
"""Simulated seconds in a second, where nobody says otherwise: a day in 24 minutes."""

_PORT: Final = 8080
_SINK: Final = "inproc://demo"
_SETTINGS: Final = Path(__file__).with_name("demo.conf")
_METER: Final = '{"register_reading": 1042, "last_minute_metered": 25}'


class Demo:
    """Prepares a demo, and shows in it what the hub commands. For the main thread."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._own_settings = False
        self._phone: HTTPServer | None = None
        self._rules = RULES

    def prepare(self) -> None:
        """Start the brokers whose address is not configured, and say so in this process's environment, where settings are
        looked for first. Without an ``app.conf`` the demo has its own.

        Raises ConfigError when the extra is missing that an embedded broker needs.
        """
        if app_config.env("APP_CONFIG") is None and not app_config.path.exists():
            self._own_settings = True
            os.environ["APP_CONFIG"] = str(_SETTINGS)
            app_config.reset()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="event-processor-demo-")))
        if not app_config.has_option("app", "state_dir"):
            os.environ["APP_STATE_DIR"] = str(folder)
        if self._own_settings:
            self._rules = folder / "rules.toml"
            shutil.copyfile(RULES, self._rules)
            os.environ["HUB_RULES"] = str(self._rules)
            schedules = folder / "schedules.toml"
            schedules.touch()
            os.environ["HUB_SCHEDULES"] = str(schedules)
        if not app_config.has_option("web", "port"):
            os.environ["WEB_PORT"] = str(port_for(_PORT))
        # The simulated home's devices would stay in a broker that is not ours, so there it does not move in.
        own_broker = not app_config.has_option("mqtt", "server_address")
        for section, start in (("mqtt", self._mqtt), ("rabbitmq", self._amqp)):
            if not app_config.has_option(section, "server_address"):
                os.environ[f"{section.upper()}_SERVER_ADDRESS"] = start()
        if self._own_settings and own_broker:
            self._phone = listening()
            os.environ["NOTIFY_DEFAULT_URL"] = f"json://127.0.0.1:{self._phone.server_port}"

    def attach(self, runtime: Runtime, settings: HubSettings) -> None:
        """Start the siren, the lamp and the simulated home within the hub's runtime, whose stop ends them."""
        rabbit_addresses, mqtt_addresses = addresses(settings)
        rabbit, mqtt = settings.rabbitmq, settings.mqtt
        with runtime.active():
            dashboard = _Dashboard()
            self._stack.callback(dashboard.detach)

            def tell() -> None:
                self._tell(mqtt_addresses[0].host, mqtt_addresses[0].port, settings.subscriptions[0])
                dashboard.told()

            ready = _Ready(tell)
            _Shown(ready).start()
            ZMQListener(
                zmq_url=_SINK,
                mq_server_address=rabbit_addresses,
                mq_exchange_name=rabbit.control_exchange,
                mq_topic_filter="event.control.siren",
                mq_exchange_type="direct",
                name="demo siren",
                tls=tls_options(rabbit),
                reconnect=True,
                on_ready=lambda: ready.arrived("siren"),
            ).start()
            MqttSubscriber(
                mqtt_addresses,
                # The hub says there that it listens.
                ("cmnd/#", "event_processor/+/status"),
                sink_url=_SINK,
                publish_urls=("inproc://demo-says-nothing",),
                client_id=f"{settings.client_id}-demo",
                session_expiry=0,
                name="demo lamp",
                tls=tls_options(mqtt),
                reconnect=True,
            ).start()
            if self._phone is not None:
                Phone(self._phone, _rings).start()
                for thread in home_threads(
                    mqtt_addresses, rabbit_addresses, exchange=rabbit.mq_exchange, speed=_speed(),
                    start=morning(time.time(), WAKING), prefix=settings.house.discovery_prefix,
                    tls=tls_options(mqtt), rabbitmq_tls=tls_options(rabbit),
                ):  # fmt: skip
                    thread.start()

    def close(self) -> None:
        """End the brokers, and remove what was kept on disk."""
        self._stack.close()

    def _mqtt(self) -> str:
        from pylib.embedded.mqtt import MqttBroker

        return self._stack.enter_context(MqttBroker()).url

    def _amqp(self) -> str:
        try:
            from pylib.embedded.amqp import AmqpBroker
        except ImportError as error:
            raise ConfigError(f"The demo's AMQP broker needs {error.name}: pip install 'pylib-automation[embedded]'") from None
        return self._stack.enter_context(AmqpBroker()).url

    def _tell(self, host: str, port: int, topic_filter: str) -> None:
        if self._own_settings:
            print("\nThe demo is ready. In another terminal, open a door or report a meter:\n")
            for topic, payload in (("door/front", "open"), ("meter/water", _METER)):
                print(f"    {line_to_type(host, port, topic, payload)}\n")
        else:
            print(f"\nThe demo is ready. Publish to {host}:{port} what {topic_filter} and your links stand for.\n")
        if self._phone is not None:
            print(f"A home of sixteen devices lives here at {_speed():g} times the clock (DEMO_SPEED=1: at its own pace).")
            print(f"Its rules: {self._rules}\n")
        print("The outputs say here what reaches them. Ctrl-C ends everything.\n", flush=True)


def _speed() -> float:
    written = app_config.get("demo", "speed", fallback="")
    try:
        return float(written) if written else SPEED
    except ValueError:
        raise ConfigError(f"{app_config.place('demo', 'speed')}: {written!r} is no number.") from None


def _rings(title: str, text: str) -> None:
    print(f"PHONE: {title}: {text}", flush=True)


class _Ready:
    """Calls once when the siren listens and the hub does. Any thread may say that one of them has arrived."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._missing = {"siren", "hub"}

    def arrived(self, who: str) -> None:
        with self._lock:
            last = self._missing == {who}
            self._missing.discard(who)
        if last:
            self._call()


class _Dashboard(logging.Handler):
    """Says last of all where the dashboard is, which the hub's log knows."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._said: str | None = None
        self._told = False
        # The last of the root's handlers, so that the console has the line that it comes from before.
        self._log = logging.getLogger()
        self._log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread; logging calls it with this handler's lock held."""
        said = dashboard_of(record.getMessage()) if record.name == "event_processor.web" else None
        if said is not None:
            self._said = said
            self._say()

    def told(self) -> None:
        """Everything else has been said."""
        with self.lock or threading.RLock():
            self._told = True
            self._say()

    def detach(self) -> None:
        self._log.removeHandler(self)

    def _say(self) -> None:
        if self._told and self._said is not None:
            print(f"{self._said}\n", flush=True)
            self._said = None


class _Shown(AppThread, Closable):
    """Says what reached the siren and the lamp."""

    def __init__(self, ready: _Ready) -> None:
        AppThread.__init__(self, name="demo outputs")
        Closable.__init__(self, connect_url=_SINK)
        self._ready = ready

    def run(self) -> None:
        while True:
            for name, body in self.socket.recv_pyobj().items():
                if name.endswith("/status"):
                    if body == "online":
                        self._ready.arrived("hub")
                elif name == "siren":
                    print(f"SIREN: triggered by {body['data']['active_input']['device_key']}", flush=True)
                else:
                    print(f"LAMP: {name} {body}" if "lamp" in name else f"DEVICE: {name} {body}", flush=True)
