"""Under systemd, ``Type=notify``: that the application is up, how it is, and that it is alive (sd_notify(3)).

The watchdog is what ends an application in which nothing can run any more, because something holds the interpreter lock:
the sign of life stays away, and systemd ends it and starts it again (``WatchdogSec=`` in systemd.service(5)).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

from pylib.observe.companion import Companion
from pylib.observe.health import Health
from pylib.runtime.runtime import Runtime

__all__ = ["Notifier", "notify_systemd", "watchdog_s"]

log = logging.getLogger("pylib.observe")

#: Seconds between two looks where no watchdog wants it more often.
LOOK_S: Final = 5.0
#: Signs of life within the time that systemd waits for one. Its manual says two; one more for a busy machine.
SIGNS: Final = 3.0
#: Characters of the status line.
MOST_STATUS: Final = 200


class Notifier:
    """Tells systemd how the application is. For one thread.

    :param address: of systemd's socket, as in ``NOTIFY_SOCKET``; an initial ``@`` stands for the abstract namespace.
    :param watched: whether systemd waits for signs of life.
    """

    def __init__(self, address: str, healthy: Callable[[], Health], *, watched: bool) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._healthy = healthy
        self._watched = watched
        self._ready = False
        self._status = ""
        self._failed = False

    def __call__(self) -> None:
        """One look: what has changed, and a sign of life if there is life."""
        health = self._healthy()
        said = []
        if not self._ready:
            # Up, not connected: a broker that is away is waited for, and no reason to start the application again.
            self._ready = True
            said.append("READY=1")
        status = status_of(health)
        if status != self._status:
            self._status = status
            said.append(f"STATUS={status}")
        if self._watched and health.live:
            said.append("WATCHDOG=1")
        self._send(said)

    def stopping(self) -> None:
        """The stop has been asked for."""
        self._send(["STOPPING=1", "STATUS=Stopping."])

    def _send(self, said: list[str]) -> None:
        if not said:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notes:
                notes.setblocking(False)
                notes.sendto("\n".join(said).encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning("systemd cannot be told how this application is (NOTIFY_SOCKET): %s.", error.strerror or error)


def status_of(health: Health) -> str:
    """One line on how it is, as ``systemctl status`` shows it."""
    if health.ready:
        return "Running."
    words = "; ".join(f"{problem.part}: {problem.what}" for problem in health.problems)
    words = "".join(letter if letter.isprintable() else " " for letter in words)
    return (f"Not ready: {words}" if health.live else f"Not alive: {words}")[:MOST_STATUS]


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Seconds within which systemd wants a sign of life of this process; None where it wants none (sd_watchdog_enabled(3))."""
    try:
        pid, seconds = int(environment.get("WATCHDOG_PID") or os.getpid()), int(environment["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
    return seconds if pid == os.getpid() and seconds > 0 else None


def notify_systemd(runtime: Runtime, healthy: Callable[[], Health], environment: Mapping[str, str] | None = None) -> bool:
    """Start telling systemd, if it started this process and wants to know. Returns whether it does."""
    environment = os.environ if environment is None else environment
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    within = watchdog_s(environment)
    notifier = Notifier(address, healthy, watched=within is not None)
    every = LOOK_S if within is None else min(LOOK_S, within / SIGNS)
    Companion(runtime, "systemd notify", every, notifier, on_trip=notifier.stopping).start()
    return True
