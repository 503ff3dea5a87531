"""The simulated home as a program of its own, on the brokers that are configured.

    python -m event_processor.simulator [--speed 60] [--seed 1] [--from 06:15]

It announces its devices by Home Assistant's discovery, retained: ``--forget`` takes them back from the broker.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from event_processor.simulator.forgetting import forget
from event_processor.simulator.living import FASTEST, home_threads, morning
from event_processor.simulator.phone import Phone, listening
from pylib.config import app_config
from pylib.errors import ConfigError, ConnectFailed
from pylib.observe.logging import configure_logging, log
from pylib.process import SignalHandler
from pylib.runtime.runtime import current
from pylib.threads import bye
from pylib.zmq import zmq_term

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run until a signal: exit code 0. 1 when the settings are wrong, 2 for wrong arguments."""
    options = _arguments(arguments)
    configure_logging()
    SignalHandler()
    runtime = current()
    try:
        mqtt = app_config.get("mqtt", "server_address")
        if options.forget:
            forget(mqtt)
        else:
            rabbitmq = app_config.get("rabbitmq", "server_address", fallback="") or None
            start = None if options.hour is None else morning(time.time(), options.hour)
            threads = home_threads(
                mqtt, rabbitmq, exchange=app_config.get("rabbitmq", "mq_exchange", fallback="home_automation"),
                seed=options.seed, speed=options.speed, start=start,
                on_ready=lambda: log.info("The simulated home is at home: 16 devices, at %g times the clock.", options.speed),
            )  # fmt: skip
            if options.phone is not None:
                threads.insert(0, Phone(listening(options.phone), _rings))
            for thread in threads:
                thread.start()
            runtime.latch.wait()
    except (ConfigError, ConnectFailed, OSError) as error:
        runtime.trip(error)
    finally:
        zmq_term()
    bye()


def _rings(title: str, text: str) -> None:
    sys.stdout.write(f"PHONE: {title}: {text}\n")
    sys.stdout.flush()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="event_processor.simulator", description="A home of sixteen devices that does not exist."
    )
    parser.add_argument("--speed", type=_speed, default=1.0, help="simulated seconds in a second; 60 is a day in 24 minutes")
    parser.add_argument("--seed", type=int, default=1, help="another number is another life (default: 1)")
    parser.add_argument("--from", dest="hour", type=_hour, metavar="HH:MM", help="when its day begins (UTC; default: now)")
    parser.add_argument("--phone", type=int, metavar="PORT", help="show notifications that come to json://127.0.0.1:PORT")
    parser.add_argument("--forget", action="store_true", help="take everything back from the broker, and end")
    return parser.parse_args(arguments)


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most {FASTEST:g}")
    return speed


def _hour(text: str) -> float:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 06:15")
    return int(found[1]) + int(found[2]) / 60


if __name__ == "__main__":
    main()
