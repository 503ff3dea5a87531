"""Publishes numbered events at QoS 1 and counts what the broker has acknowledged. A process of its own, told by lines.

    python benchmarks/soak/_publisher.py PORT --rate 200 [--devices 50] [--version 5] [--ids] [--window 100]

Each event is JSON ``{"device", "seq", "pad"}`` on ``bench/<device>/state``; ``seq`` counts from 0 for each device. With
``--ids`` (MQTT 5) each carries a user property ``message-id``. On standard input: ``rate N`` (0: as fast as the window
allows), ``pause``, ``status`` and ``end``; ``status`` is answered by one line of JSON. What was not acknowledged is published
again, in order, on the next connection, as any honest publisher does; the clock of the rate stands still while the broker
is away.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import time
import uuid

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

MOST_CATCHING_UP = 0.5


class Publisher:
    """One client and its counts. For one thread: paho's own would publish new events ahead of repeated ones."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rate: float = options.rate
        self.sending = False
        self.published = self.accepted = self.reconnects = 0
        self._devices: int = options.devices
        self._ids: bool = options.ids
        self._window: int = options.window
        self._pad = "x" * options.pad
        self._port: int = options.port
        self._connected = False
        self._next = time.monotonic()
        version = paho.MQTTv5 if options.version == "5" else paho.MQTTv311
        clean = None if options.version == "5" else True
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"publisher-{uuid.uuid4().hex[:8]}", protocol=version, clean_session=clean
        )
        client.max_inflight_messages_set(self._window)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish

    def _on_connect(self, *_: object) -> None:
        self._connected = True
        self._next = time.monotonic()

    def _on_publish(self, *_: object) -> None:
        self.accepted += 1

    def step(self) -> None:
        """Send what is due and serve the connection; returns within about 20 ms."""
        if not self._connected and self._client.socket() is None:
            try:
                self._client.connect("127.0.0.1", self._port, keepalive=10)
                self.reconnects += 1
            except OSError:
                time.sleep(0.05)
                return
        now = time.monotonic()
        if self._connected and self.sending:
            self._next = max(self._next, now - MOST_CATCHING_UP)
            while self.published - self.accepted < self._window and (self.rate <= 0 or self._next <= now):
                self._send()
                if self.rate > 0:
                    self._next += 1 / self.rate
        else:
            self._next = now
        wait = 0.02 if not self.sending else min(0.02, max(0.0, self._next - now) if self.rate > 0 else 0.001)
        if self._client.loop(wait) != paho.MQTT_ERR_SUCCESS:
            self._connected = False

    def _send(self) -> None:
        device, seq = self.published % self._devices, self.published // self._devices
        properties = None
        if self._ids:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("message-id", f"mine-{device}-{seq}")]
        body = json.dumps({"device": device, "seq": seq, "pad": self._pad})
        info = self._client.publish(f"bench/d{device}/state", body, 1, properties=properties)
        # A connection that is found lost while publishing is no refusal: paho keeps the event for the next one.
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN, paho.MQTT_ERR_CONN_LOST):
            raise SystemExit(f"The publisher's own client refused an event: {info.rc}")
        self.published += 1

    def status(self) -> str:
        return json.dumps(
            {"published": self.published, "accepted": self.accepted, "reconnects": self.reconnects, "devices": self._devices}
        )


class Lines:
    """Standard input without waiting. Not through ``sys.stdin``: what that has buffered no ``select`` reports."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self) -> list[list[str]]:
        if not select.select([0], [], [], 0)[0]:
            return []
        data = os.read(0, 4096)
        if not data:
            return [["end"]]
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode().split() for line in lines if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--version", choices=("3.1.1", "5"), default="3.1.1")
    parser.add_argument("--ids", action="store_true")
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--pad", type=int, default=180)
    publisher = Publisher(parser.parse_args())
    lines = Lines()
    while True:
        for words in lines.read():
            if words == ["end"]:
                return
            if words[0] == "rate":
                publisher.rate, publisher.sending = float(words[1]), True
            elif words[0] == "pause":
                publisher.sending = False
            elif words[0] == "status":
                print(publisher.status(), flush=True)
        publisher.step()


if __name__ == "__main__":
    main()
