"""Where RabbitMQ and the tools of Erlang are installed, and how they are called."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pylib.testing.child import BrokerFailed

_CONTROL_SECONDS = 60.0
_SERVER_PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin")


def find_rabbitmq() -> Path:
    """Return the folder of RabbitMQ's own scripts; raises BrokerFailed with what to install."""
    found = shutil.which("rabbitmq-server")
    places = [*_SERVER_PLACES, *([str(Path(found).resolve().parent)] if found else [])]
    for place in places:
        if (Path(place) / "rabbitmq-server").exists() and (Path(place) / "rabbitmq-env").exists():
            return Path(place)
    raise BrokerFailed("RabbitMQ is not installed. On Debian or Ubuntu: apt-get install rabbitmq-server")


def find_epmd() -> str:
    """Return the path of Erlang's port mapper; raises BrokerFailed with what to install."""
    found = shutil.which("epmd") or next((str(path) for path in _erlang_tools("epmd")), None)
    if found is None:
        raise BrokerFailed("Erlang's epmd is not installed. On Debian or Ubuntu: apt-get install rabbitmq-server")
    return found


def find_erl_call() -> str | None:
    """Return the path of Erlang's ``erl_call``, or None where the installation has none."""
    return shutil.which("erl_call") or next((str(path) for path in _erlang_tools("erl_call")), None)


def _erlang_tools(name: str) -> list[Path]:
    erl = shutil.which("erl")
    roots = [Path("/usr/lib/erlang"), Path("/usr/local/lib/erlang")]
    if erl is not None:
        roots.insert(0, Path(erl).resolve().parent.parent)
    return [path for root in roots for path in sorted(root.glob(f"erts-*/bin/{name}"))]


def binary(text: str) -> str:
    """Return ``text`` as an Erlang binary made of byte values, so that no character needs quoting."""
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"


def run_tool(command: Sequence[str], env: Mapping[str, str], folder: Path, what: str, text: str | None = None) -> str:
    try:
        done = subprocess.run(
            command, env=env, cwd=folder, capture_output=True, text=True, timeout=_CONTROL_SECONDS, input=text
        )
    except subprocess.TimeoutExpired:
        raise BrokerFailed(f"{what} did not finish within {_CONTROL_SECONDS:g} s; is the node frozen?") from None
    if done.returncode != 0:
        raise BrokerFailed(f"{what} failed with code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.strip()
