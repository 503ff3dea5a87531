"""A water meter that reports over MQTT. It knows paho and nothing else."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


class Meter:
    """Reports readings; what the broker has not confirmed is sent again when the connection is back."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self._topic = f"meter/{name}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.reconnect_delay_set(1, 30)
        self._client.will_set(f"{self._topic}/online", "no", qos=1, retain=True)
        self._client.on_connect = self._say_online
        self._client.connect(host, port)
        self._client.loop_start()

    def report(self, litres: float) -> None:
        self._client.publish(f"{self._topic}/reading", json.dumps({"litres": litres}), qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _say_online(self, *_: object) -> None:
        self._client.publish(f"{self._topic}/online", "yes", qos=1, retain=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
