"""Whether an MQTT broker keeps what it should: found out by leaving a session there, and asking for it the next time."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from pylib.brokers.addresses import Address
from pylib.errors import DependencyError
from pylib.tools.clients.mqtt import V5, V311, MqttClient
from pylib.tools.doctor.findings import Report
from pylib.tools.doctor.mqtt import SESSION_S
from pylib.tools.doctor.plan import Mqtt
from pylib.tools.doctor.reach import about

__all__ = ["look_at_settings", "try_client_id", "try_memory"]

#: Seconds for which our own client id is listened for, by somebody else who uses it.
TAKEN_S: Final = 3.0
_FILE: Final = "doctor.json"
_MOST_SAVED: Final = 100
_SLOW_AUTOSAVE: Final = 300
_USUAL_PORT: Final = 1883
_CONFS: Final = ("/etc/mosquitto/mosquitto.conf", "/mosquitto/config/mosquitto.conf")
_KEEP: Final = "Set `persistence true`, `persistence_location` on a disk that stays (a volume), and `autosave_interval 60`."


def try_memory(plan: Mqtt, address: Address, folder: Path, report: Report) -> None:
    """Ask for the session that the last run left, and leave one again. Writes a small file into the state folder."""
    who = about(address)
    name = hashlib.sha256(f"{folder}|{address}".encode()).hexdigest()[:12]
    left = _read(folder)
    for protocol in (V5, V311):
        client = MqttClient(address, plan.tls, client_id=f"pylib-doctor-{name}", protocol=protocol, session_expiry=SESSION_S)
        try:
            with client.connect():
                _judge(client, left.get(name), who, report)
        except DependencyError:
            client.close()
            continue
        left[name] = time.time()
        _write(folder, left)
        return


def _judge(client: MqttClient, before: float | None, who: str, report: Report) -> None:
    granted = getattr(client.properties, "SessionExpiryInterval", None) if client.properties is not None else None
    if granted is not None and granted < SESSION_S:
        report.warning(
            "MQTT-SESSION-SHORT",
            who,
            f"it keeps a session for {granted} s, and {SESSION_S} s are asked for.",
            "Raise the broker's limit (Mosquitto: persistent_client_expiration), or expect to miss what comes later.",
        )
    if before is None:
        report.ok(who, "a session was left there; run this again after the broker's next restart to see whether it keeps it")
    elif client.session_present:
        report.ok(who, f"it still has the session of {_when(before)}")
    elif time.time() - before < SESSION_S:
        report.error(
            "MQTT-FORGETS",
            who,
            f"it has forgotten the session of {_when(before)}: it was restarted and keeps nothing, or "
            "was killed before it saved. Messages to absent clients and retained messages are lost like that.",
            f"Mosquitto: {_KEEP}",
        )


def look_at_settings(path: Path | None, addresses: tuple[Address, ...], report: Report) -> None:
    """Read Mosquitto's own settings. ``path`` None: those at the usual places, if a broker of ours is the one they make."""
    local = {address.port for address in addresses if address.host in ("localhost", "127.0.0.1", "::1")}
    for file in [path] if path is not None else map(Path, _CONFS):
        lines = _lines(file, 0)
        if lines is None:
            if path is not None:
                report.error("CONFIG", str(file), "this file cannot be read.", "Correct --mosquitto-conf.")
        elif path is not None or local & _ports(lines):
            _judge_settings(lines, str(file), report)


def _judge_settings(lines: list[str], name: str, report: Report) -> None:
    settings = {key: value.strip() for key, _, value in (line.partition(" ") for line in lines)}
    every = settings.get("autosave_interval", "1800")
    if settings.get("persistence", "false") != "true":
        report.error(
            "MQTT-PERSISTENCE",
            name,
            "persistence is off: a restart of the broker loses sessions, what waits in them, and retained messages.",
            _KEEP,
        )
    elif not every.isdecimal() or not 0 < int(every) <= _SLOW_AUTOSAVE:
        report.warning(
            "MQTT-AUTOSAVE",
            name,
            f"it saves every {every} s (0: never) and when it is stopped: a kill or a power cut loses what came since.",
            "Set `autosave_interval 60`.",
        )
    else:
        report.ok(name, "persistence is on")


def _ports(lines: list[str]) -> set[int]:
    """The ports that these settings open."""
    named = [line.split()[1] for line in lines if line.startswith(("listener ", "port ")) and len(line.split()) > 1]
    return {int(port) for port in named if port.isdecimal()} or {_USUAL_PORT}


def try_client_id(plan: Mqtt, address: Address, report: Report) -> None:
    """Take the configured client id, and see whether somebody takes it back. Throws out who uses it: only when asked for."""
    who = about(address)
    for protocol in (V5, V311):
        client = MqttClient(address, plan.tls, client_id=plan.client_id, protocol=protocol, session_expiry=SESSION_S)
        try:
            client.connect()
        except DependencyError:
            client.close()
            continue
        with client:
            try:
                client.pump(TAKEN_S)
            except DependencyError as error:
                report.error(
                    "MQTT-CLIENT-ID-TWICE",
                    who,
                    f"another client uses the client id {plan.client_id!r} and took it back at once ({error}).",
                    "Give each client an id of its own: [mqtt] client_id, DEVICE_NAME or [app] name. If the "
                    "application itself runs, it was that: leave out --take-over.",
                )
            else:
                report.ok(who, f"nobody else uses the client id {plan.client_id!r}")
        return


def _lines(file: Path, depth: int) -> list[str] | None:
    """Its lines without comments, those of its include_dir in their place."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return None
    lines: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("include_dir") and depth == 0:
            for other in sorted(Path(line.split(None, 1)[-1].strip()).glob("*.conf")):
                lines += _lines(other, 1) or []
        elif line and not line.startswith("#"):
            lines.append(line)
    return lines


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _read(folder: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(folder: Path, left: dict[str, float]) -> None:
    """The newest sessions. A folder that cannot be written is reported elsewhere."""
    newest = dict(sorted(left.items(), key=lambda item: item[1])[-_MOST_SAVED:])
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / _FILE).write_bytes(msgspec.json.encode(newest))
    except OSError:
        pass
