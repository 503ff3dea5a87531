"""The hub in a process of its own, with one more thread that dies when it is told to. For the tests of the pages."""

from __future__ import annotations

import os
import sys
import threading

from event_processor.app import build
from event_processor.settings import load
from pylib.app import AppThread
from pylib.config import app_config
from pylib.observe.logging import configure_logging
from pylib.runtime.latch import Latch
from pylib.runtime.member import RestartPolicy
from pylib.runtime.runtime import Runtime, reset_default
from pylib.runtime.signals import Signals
from pylib.zmq import zmq_term

# It comes back by itself, after so long that a page can be looked at in between.
BACK_OFF = RestartPolicy(limit=3, within=300.0, first_delay=3.0, max_delay=3.0)


class Victim(AppThread):
    """Waits for an order to die."""

    def __init__(self) -> None:
        AppThread.__init__(self, "Victim", restart=BACK_OFF)
        self.order = threading.Event()

    def run(self) -> None:
        while not self.runtime.stopping:
            self.member.busy_since = None
            if self.order.wait(0.05):
                self.order.clear()
                raise ZeroDivisionError("the test wanted it")


def main() -> int:
    """Run until SIGTERM. Whoever opens the pipe named in VICTIM and closes it kills the victim."""
    configure_logging("INFO")
    latch = Latch()
    Signals(latch).install()
    runtime = Runtime(latch=latch)
    reset_default(runtime)
    try:
        hub = build(load(app_config), runtime, device="test-device")
        with runtime.active():
            victim = Victim()
            victim.start()
        hub.start()
        threading.Thread(target=_listen, args=(victim,), daemon=True).start()
        hub.wait()
    finally:
        zmq_term()
    return runtime.exit_code


def _listen(victim: Victim) -> None:
    while True:
        with open(os.environ["VICTIM"], "rb") as pipe:
            pipe.read()
        victim.order.set()


if __name__ == "__main__":
    sys.exit(main())
