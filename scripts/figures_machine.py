"""What the figures were measured on: hardware, system and versions. No host names, no users, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

PACKAGES = ("pyzmq", "pika", "paho-mqtt", "msgspec")


def describe_machine() -> dict[str, str]:
    """The machine and the versions, each as words for a reader, in the order in which to show them."""
    description = {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{_system()}, kernel {platform.release()}",
        "Python": platform.python_version(),
        "Mosquitto": _version(["mosquitto", "-h"], r"mosquitto version (\S+)"),
        "RabbitMQ": _version(["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"], r"([\d.]+)")
        or _version(["rabbitmqctl", "version"], r"^([\d.]+)"),
    }
    for package in PACKAGES:
        try:
            description[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            description[package] = ""
    return {name: value or "not installed" for name, value in description.items()}


def commit(root: Path) -> str:
    """The short name of the commit that is checked out, with a plus when files differ from it; empty outside of git."""
    name = _output(["git", "-C", str(root), "rev-parse", "--short", "HEAD"])
    changed = _output(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no", "--", "src"])
    return name.strip() + ("+" if changed.strip() else "") if re.fullmatch(r"[0-9a-f]+\s*", name) else ""


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _version(command: list[str], pattern: str) -> str:
    match = re.search(pattern, _output(command), re.MULTILINE)
    return match[1] if match else ""


def _output(command: list[str]) -> str:
    # Debian keeps servers in sbin, which is not on every user's path.
    environment = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    try:
        run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout + run.stderr
