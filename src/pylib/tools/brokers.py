"""``pylib brokers``: the embedded MQTT and AMQP brokers on their own, for other programs to connect to."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Final, Protocol, Self, TypeVar

from pylib.errors import ConfigError

__all__ = ["add_to"]

_DESCRIPTION = (
    "Real MQTT 3.1.1 and real AMQP 0-9-1 on loopback sockets, for a first try, a demo or a test. Their messages live in "
    "memory and are gone when they end. Ctrl-C ends both."
)
_MQTT_PORT: Final = 1883
_AMQP_PORT: Final = 5672
_LAST_PORT: Final = 65_535


class _Broker(Protocol):
    @property
    def url(self) -> str: ...
    def start(self) -> Self: ...
    def close(self) -> None: ...


B = TypeVar("B", bound=_Broker)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``pylib``."""
    parser = commands.add_parser("brokers", help="an MQTT and an AMQP broker without installing one", description=_DESCRIPTION)
    for name, usual in (("mqtt", _MQTT_PORT), ("amqp", _AMQP_PORT)):
        parser.add_argument(
            f"--{name}-port", type=_port, metavar="P", help=f"default: {usual}, or a free one if that is taken; 0: a free one"
        )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with ExitStack() as stack:
            from pylib.embedded.mqtt import MqttBroker

            try:
                from pylib.embedded.amqp import AmqpBroker
            except ImportError as error:
                raise ConfigError(
                    f"The embedded AMQP broker needs {error.name}: pip install 'pylib-automation[embedded]'"
                ) from None
            mqtt = _started(MqttBroker, "MQTT", options.mqtt_port, _MQTT_PORT)
            stack.callback(mqtt.close)
            amqp = _started(AmqpBroker, "AMQP", options.amqp_port, _AMQP_PORT)
            stack.callback(amqp.close)
            print(f"MQTT 3.1.1   {mqtt.url}")
            print(f"AMQP 0-9-1   {amqp.url}")
            print("Both are on this machine alone and keep nothing. Ctrl-C ends them.", flush=True)
            ended.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _started(make: Callable[[str, int], B], name: str, port: int | None, usual: int) -> B:
    """A running broker. Raises ConfigError when the port that was asked for cannot be had."""
    try:
        return make("127.0.0.1", usual if port is None else port).start()
    except OSError as error:
        if port is None:
            return make("127.0.0.1", 0).start()
        raise ConfigError(
            f"The {name} broker cannot listen on port {port}: {error.strerror or error}. "
            f"Choose another with --{name.lower()}-port."
        ) from None


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _LAST_PORT:
        raise ValueError
    return number


_port.__name__ = "port"  # argparse shows it: invalid port value
