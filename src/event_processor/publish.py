"""Publish one message: what the demo tells people to type where no other MQTT program is installed.

    python -m event_processor.publish 127.0.0.1:1883 door/front open

At QoS 1: exit code 0 when the broker has it, 1 with one line of explanation when not.
"""

from __future__ import annotations

import argparse
import re
import shlex
import socket
import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["dashboard_of", "line_to_type", "main", "port_for"]

_PATIENCE: Final = 10.0
_SET_UP: Final = re.compile(r"open (https?://\S+/setup) and enter the code ([\w-]+)")


def line_to_type(host: str, port: int, topic: str, payload: str) -> str:
    """The command line, for a shell, that publishes this."""
    return shlex.join([sys.executable, "-m", "event_processor.publish", f"{host}:{port}", topic, payload])


def dashboard_of(line: str) -> str | None:
    """What a line of the hub's log says of the dashboard's first visit, as the last line of a demo; None for other lines."""
    found = _SET_UP.search(line)
    return None if found is None else f"The dashboard: {found[1]}   (the code for the first visit: {found[2]})"


def port_for(wanted: int) -> int:
    """The port, where it is free on this machine, else 0: any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish; returns the exit code. Wrong arguments raise SystemExit(2), as argparse does."""
    parser = argparse.ArgumentParser(prog="event_processor.publish", description="Publish one message over MQTT, at QoS 1.")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("topic")
    parser.add_argument("payload")
    options = parser.parse_args(arguments)
    host, _, port = options.address.rpartition(":")
    if not host or not port.isdecimal():
        parser.error("the address is HOST:PORT")

    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    try:
        client.connect(host, int(port))
        client.loop_start()
        sent = client.publish(options.topic, options.payload, 1)
        sent.wait_for_publish(_PATIENCE)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"Nothing was published to {options.address}: {error}", file=sys.stderr)
        return 1
    finally:
        client.disconnect()
        client.loop_stop()
    if not sent.is_published():
        print(f"{options.address} did not acknowledge the message within {_PATIENCE:g} s.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
