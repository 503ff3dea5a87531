"""What can be wrong on this machine: state folder, disk, spools, dead letters, packages, clock, the running application."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import DATABASE_NAME
from pylib.delivery.spool_limits import DEFAULT_LIMITS
from pylib.errors import PylibError
from pylib.observe.control import running
from pylib.observe.drawing import duration, size
from pylib.observe.health import Health
from pylib.runtime.wiring import Link, Wiring
from pylib.tools.doctor.findings import Report
from pylib.tools.doctor.plan import Plan
from pylib.tools.place import about, asked

__all__ = ["look_around"]

#: Bytes that should be free, and without which nothing can be stored.
LOW_BYTES: Final = 512 * 1024 * 1024
FULL_BYTES: Final = 32 * 1024 * 1024
#: The part of a spool's limits from which it counts as nearly full.
NEARLY_FULL: Final = 0.8
#: Times connected, the last within so many seconds, from which a connection comes and goes.
FLAPPING: Final = 4
LATELY_S: Final = 60.0
_YEAR_2024: Final = 1_704_067_200
_FUTURE_S: Final = 120.0
_UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)
_TIMEX_BYTES: Final = 512
_EXTRAS: Final = (
    ("sentry", "dsn", "sentry_sdk", "sentry"),
    ("hub", None, "sqlalchemy", "hub"),
)


def look_around(plan: Plan, report: Report) -> None:
    """Everything that needs no broker. Changes nothing."""
    folder = plan.folder
    if folder is not None:
        _state(folder, report)
        _disk(folder, report)
        _letters(folder, report)
        _spools(folder, report)
        _application(folder, report)
    _extras(plan, report)
    _clock(folder, report)


def _state(folder: Path, report: Report) -> None:
    name = f"state folder {folder}"
    if not folder.exists():
        above = next((each for each in folder.parents if each.exists()), folder)
        if not os.access(above, os.W_OK | os.X_OK):
            report.error(
                "STATE-PERMISSION",
                name,
                f"it is not there, and {above} may not be written by this user.",
                f"Make it: install -d -m 700 -o USER {folder}; or choose another with [app] state_dir.",
            )
        return
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        report.error(
            "STATE-PERMISSION",
            name,
            "this user may not read and write in it, so nothing that fails can be kept.",
            f"Run this as the application's user, or give it the folder: chown -R USER {folder}",
        )
        return
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        report.warning(
            "STATE-OPEN", name, "other users may write in it: they could hand the application messages.", f"chmod 700 {folder}"
        )
    else:
        report.ok(name, "may be written, by nobody else")


def _disk(folder: Path, report: Report) -> None:
    place = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if place is None:
        return
    free = shutil.disk_usage(place).free
    what = f"{size(free)} are free on the disk of {place}."
    if free < FULL_BYTES:
        report.error("DISK-FULL", "disk", what, "Make room: spools and dead letters cannot be written without.")
    elif free < LOW_BYTES:
        report.warning("DISK-LOW", "disk", what, "Make room, before a broker's outage fills the rest with what waits.")
    else:
        report.ok("disk", what)


def _letters(folder: Path, report: Report) -> None:
    path = folder / DATABASE_NAME
    if not path.exists() or not os.access(path, os.R_OK | os.W_OK):
        return
    try:
        letters = DeadLetters(path)
        try:
            totals = letters.totals()
        finally:
            letters.close()
    except PylibError as error:
        report.error(
            "STATE-PERMISSION", str(path), str(error), "Look at the file's owner; a damaged one is set aside at the start."
        )
        return
    if totals.dead:
        report.warning(
            "DEAD-LETTERS",
            str(path),
            f"{totals.dead} messages could not be handled and were given up.",
            f"pylib dead-letters list --state-dir {folder} shows them with the reasons; then replay or drop them.",
        )


def _spools(folder: Path, report: Report) -> None:
    for path in sorted(folder.glob("*")) if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) else []:
        found = _spool(path)
        if found is None:
            continue
        count, used = found
        part = max(count / DEFAULT_LIMITS.max_messages, used / DEFAULT_LIMITS.max_bytes)
        what = f"{count} messages ({size(used)}) wait in it for their broker."
        if part >= NEARLY_FULL:
            report.error(
                "SPOOL-FULL",
                str(path),
                f"{what} That is {100 * part:.0f} % of the usual limit.",
                "Bring the broker back; meanwhile what exceeds the limit stays at its source, or is lost, as its policy says.",
            )
        elif count:
            report.warning(
                "SPOOL-WAITING", str(path), what, "They leave by themselves when the broker is back and the application runs."
            )


def _spool(path: Path) -> tuple[int, int] | None:
    """Messages and bytes of a spool; None for any other file. Opened to be read only."""
    try:
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return None
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'spool'").fetchone():
                return None
            count, used = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM spool").fetchone()
            return int(count), int(used)
    except (OSError, sqlite3.Error):
        return None


def _application(folder: Path, report: Report) -> None:
    """What runs with this folder, and what it says of itself."""
    found = [(path, who) for path in running(folder) if (who := about(path)) is not None] if os.access(folder, os.X_OK) else []
    pids = sorted({who.pid for _, who in found})
    if len(pids) > 1:
        names = ", ".join(f"{who.name or 'an application'} (process {who.pid})" for _, who in found)
        report.error(
            "STATE-SHARED",
            f"state folder {folder}",
            f"{len(pids)} running applications share it: {names}. Each would be handed the other's messages.",
            "Give each a folder of its own: another [app] name, or [app] state_dir; stop the one that is too many.",
        )
    for path, who in found:
        name = who.name or f"process {who.pid}"
        try:
            wiring, health = asked(path, Wiring, ask="wiring"), asked(path, Health, ask="health")
        except PylibError:
            continue
        for link in wiring.links:
            _link(name, link, wiring.at, report)
        for problem in health.problems:
            report.warning(
                "APPLICATION", f"{name}, {problem.part}", f"{problem.what}.", "pylib wiring and pylib top show more."
            )
        if health.ready:
            report.ok(name, "runs, and says that it is well")


def _link(name: str, link: Link, now: float, report: Report) -> None:
    """A connection that comes and goes. A broker that says why says it while the connection is down."""
    fix = (
        "Give each client an id of its own: [mqtt] client_id, DEVICE_NAME or [app] name; and look that the application does "
        "not run twice."
    )
    about = f"{name}, {link.name}"
    if "client id" in link.error:
        report.error("MQTT-CLIENT-ID-TWICE", about, f"{link.error}.", fix)
    elif link.name.startswith("MQTT") and link.connects >= FLAPPING and now - link.since < LATELY_S:
        ago = duration(now - link.since)
        what = f"it has connected {link.connects} times, the last time {ago} ago: does another client use its id?"
        report.warning("MQTT-CLIENT-ID-TWICE", about, what, fix)


def _extras(plan: Plan, report: Report) -> None:
    try:
        for section, option, module, extra in _EXTRAS:
            wanted = plan.config.has_option(section, option) if option is not None else plan.config.has_section(section)
            if wanted and importlib.util.find_spec(module) is None:
                report.error(
                    "EXTRA-MISSING",
                    "settings",
                    f"[{section}] needs the package {module}, which is not installed.",
                    f"pip install 'pylib-automation[{extra}]'",
                )
    except PylibError:
        return


def _clock(folder: Path | None, report: Report) -> None:
    """A clock that is far off shows. One that is a little off does not, without asking another machine: nothing is said."""
    now = time.time()
    fix = "timedatectl set-ntp true; a Raspberry Pi without a clock of its own needs that at every start."
    newest = 0.0
    if folder is not None and folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        newest = max((each.stat().st_mtime for each in folder.iterdir()), default=0.0)
    if now < _YEAR_2024:
        report.error(
            "CLOCK-WRONG",
            "clock",
            f"it is {time.strftime('%Y-%m-%d', time.gmtime(now))} here, which has been over for "
            "long: certificates and expiry times do not work.",
            fix,
        )
    elif newest > now + _FUTURE_S:
        report.error(
            "CLOCK-WRONG",
            "clock",
            f"a file in the state folder is from {newest - now:.0f} s after now: the clock was, or is, wrong.",
            fix,
        )
    elif _unsynchronised():
        report.note(
            "CLOCK-UNSYNCHRONISED",
            "clock",
            "the kernel says that nothing keeps it right (adjtimex): when a message expires depends on clocks that agree.",
            fix,
        )


def _unsynchronised() -> bool:
    """Ask the kernel, by adjtimex(2) with no mode set, which reads and changes nothing. False where that cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        return int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) == _UNSYNCHRONISED
    except (OSError, AttributeError):
        return False
