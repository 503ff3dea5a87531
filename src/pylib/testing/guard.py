"""Ends the brokers of a test run that was itself killed, so that not even then anything is left behind.

A run that is killed, or that a time-out ends with ``os._exit``, runs no clean-up of its own. So the first child that is
started is accompanied by one small helper process that holds the far end of a pipe. The kernel closes the pipe when the
test run ends, however it ends, and the helper then kills the children it was told of and removes their folders.

This file is both sides: a module here, and the helper's program when it is run (it imports the standard library alone).
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

_ADD, _REMOVE = "add", "remove"


class Guard:
    """The near end: tells the helper which children run. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: subprocess.Popen[bytes] | None = None
        self._owner = 0

    @property
    def descriptor(self) -> int | None:
        """The pipe's descriptor in this process once the helper runs; it stays open until the end on purpose."""
        helper = self._helper
        return helper.stdin.fileno() if helper is not None and helper.stdin is not None else None

    def add(self, pid: int, folder: Path) -> None:
        """Have the child ``pid``, the leader of its process group, killed and ``folder`` removed if we die."""
        self._tell([_ADD, pid, started_at(pid), str(folder)])

    def remove(self, pid: int) -> None:
        """Forget a child that has been reaped."""
        self._tell([_REMOVE, pid])

    def _tell(self, message: list[object]) -> None:
        with self._lock:
            # A forked copy of the test run must not speak for its parent.
            if self._helper is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._helper = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    # A Ctrl-C in the terminal goes to the group of the test run, and must not end its guard.
                    start_new_session=True,
                )
                atexit.register(self._end, self._helper)
            assert self._helper.stdin is not None
            try:
                self._helper.stdin.write(json.dumps(message).encode() + b"\n")
                self._helper.stdin.flush()
            except OSError:
                # The guard is a second line of defence: a run without it still cleans up after itself.
                return

    @staticmethod
    def _end(helper: subprocess.Popen[bytes]) -> None:
        """The run ends in the ordinary way: so does its helper."""
        if helper.stdin is not None:
            helper.stdin.close()
        try:
            helper.wait(5)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()


def started_at(pid: int) -> str:
    """Return what tells a process from a later one with the same id: its start in clock ticks, or "" without /proc."""
    try:
        # The name in parentheses may hold spaces; the start is the 20th field after it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def watch() -> None:
    """The helper's program: read until the test run is gone, then kill and remove what it left."""
    children: dict[int, tuple[str, str]] = {}
    for line in sys.stdin:
        verb, pid, *rest = json.loads(line)
        if verb == _ADD:
            children[pid] = (rest[0], rest[1])
        else:
            children.pop(pid, None)
    for pid, (start, _) in children.items():
        if started_at(pid) == start:
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                continue
    for _, folder in children.values():
        shutil.rmtree(folder, ignore_errors=True)


GUARD = Guard()

if __name__ == "__main__":
    watch()
