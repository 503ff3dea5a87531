"""A door sensor over MQTT: reports its state every few seconds at QoS 1, in the JSON of the original sensors.

    APP_CONFIG=examples/app.conf python examples/door_sensor.py [--once] [--closed] [--location Front] [--label Door]

With --once it reports one time and ends: exit code 0, or 1 when no broker lets it in within 10 s.
"""

from __future__ import annotations

import argparse
import threading
import time

import zmq
from zmq.error import ContextTerminated

from pylib import app_config
from pylib.errors import ConnectFailed
from pylib.mqtt import MqttSubscriber
from pylib.observe.logging import configure_logging
from pylib.process import SignalHandler
from pylib.threads import bye, die, interruptable_sleep, shutting_down
from pylib.zmq import URL_MQTT_PUBLISH, zmq_socket, zmq_term

SECONDS_TO_CONNECT = 10


def main() -> None:
    options = arguments()
    configure_logging()
    SignalHandler()
    topic = f"sensor/{options.location}/{options.label}".lower()
    connected = threading.Event()
    mqtt = MqttSubscriber(
        app_config.get("mqtt", "server_address"),
        sink_url=None,  # it only publishes
        client_id=f"{topic.replace('/', '-')}-{app_config.device_name()}",
        session_expiry=0,
        reconnect="after_first" if options.once else "unless_refused",
        on_ready=connected.set,
    )
    mqtt.start()
    try:
        with zmq_socket(zmq.PUSH) as publisher:
            publisher.connect(URL_MQTT_PUBLISH)
            while not shutting_down:
                publisher.send_pyobj((topic, report(options), {"qos": 1}))
                if options.once:
                    break
                interruptable_sleep.wait(options.every)
        if options.once and not shutting_down and not connected.wait(SECONDS_TO_CONNECT):
            die(ConnectFailed(f"No MQTT broker within {SECONDS_TO_CONNECT} s, so nothing was reported."))
    except ContextTerminated:
        pass  # asked to stop while it was sending
    finally:
        die()
        zmq_term()  # publishes what waits, within its time
    bye()


def report(options: argparse.Namespace) -> dict[str, object]:
    door = {"input_label": options.label, "sample_value": 0 if options.closed else 97, "active": not options.closed}
    return {
        "device_id": "door-sensor-1",
        "input_location": options.location,
        "timestamp": int(time.time()),
        "input_1": door,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A door sensor over MQTT.")
    parser.add_argument("--location", default="Front", help="where the door is (default: Front)")
    parser.add_argument("--label", default="Door", help="what it is called (default: Door)")
    parser.add_argument("--closed", action="store_true", help="report it closed instead of open")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="time between reports (default: 5)")
    parser.add_argument("--once", action="store_true", help="report one time and end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
