"""A light, or whatever else is commanded over MQTT: says what reaches it under cmnd/.

APP_CONFIG=examples/app.conf python examples/light.py
"""

from __future__ import annotations

from pylib import app_config
from pylib.application import Application

app = Application("light")
mqtt = app.mqtt(app_config.get("mqtt", "server_address"))


@mqtt.on("cmnd/#")
def commanded(payload: bytes, topic: str) -> None:
    print(topic, payload.decode(errors="replace"), flush=True)


if __name__ == "__main__":
    app.run()
