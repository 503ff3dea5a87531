"""A private Mosquitto: its own folder, port and configuration, ended by its own process id."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pylib.testing.child import BrokerFailed, ChildProcess
from pylib.testing.ports import LOOPBACK, answers, free_port

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
# As few as `mosquitto_passwd` uses: these passwords protect nothing, and a test should not wait for them.
_HASH_ROUNDS = 101


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The files a broker serves TLS with; ``require_certificate`` asks every client for one signed by ``ca``."""

    ca: Path
    certificate: Path
    key: Path
    require_certificate: bool = False


class Mosquitto:
    """A Mosquitto process of one test. Start and stop it from one thread.

    Parameters: ``users`` maps names to passwords and forbids anonymous clients; ``acl`` holds lines of an ACL file;
    ``tls`` makes the port a TLS port; ``persistence`` keeps sessions in the folder over a restart, saved every
    ``autosave_interval`` seconds (Mosquitto's own default is 1800) and on a graceful stop; ``max_queued_messages``
    bounds what an absent client's session holds (0: unbounded); ``extra`` holds further configuration lines. A listing
    whose client knows port 1883 alone is served by a ``host`` of its own in 127.0.0.0/8 together with ``port=1883``.

    The constructor raises BrokerFailed when Mosquitto is not installed. ``start()`` returns when the port answers.
    """

    def __init__(
        self,
        *,
        host: str = LOOPBACK,
        port: int | None = None,
        users: Mapping[str, str] | None = None,
        acl: Sequence[str] = (),
        tls: ServerTls | None = None,
        persistence: bool = False,
        autosave_interval: int | None = None,
        max_queued_messages: int | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        executable = find_mosquitto()
        self.host = host
        self.port = free_port(host) if port is None else port
        self.tls = tls
        self._users = dict(users or {})
        self._acl = list(acl)
        self.folder = Path(tempfile.mkdtemp(prefix="pylib-mosquitto-"))
        settings = _settings(persistence, autosave_interval, max_queued_messages, self.folder)
        self._write_configuration([*settings, *extra])
        self._child = ChildProcess(
            [executable, "-c", str(self.folder / "mosquitto.conf")],
            folder=self.folder,
            log_path=self.folder / "mosquitto.log",
            env=os.environ,
        )

    @property
    def address(self) -> str:
        """``mqtt://`` or ``mqtts://`` address, with the first user's name and password where there are users."""
        scheme = "mqtt" if self.tls is None else "mqtts"
        login = next((f"{name}:{password}@" for name, password in self._users.items()), "")
        return f"{scheme}://{login}{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while the broker runs, else None."""
        return self._child.pid

    def log_text(self) -> str:
        """The broker's log, over all its runs."""
        return self._child.log_text()

    def start(self) -> Self:
        """Start the broker and return when its port answers; raises BrokerFailed with the end of its log."""
        if self.pid is None and answers(self.port, self.host, 0.2):
            raise BrokerFailed(f"Something else listens on {self.host}:{self.port}; the private Mosquitto needs it.")
        self._child.start()
        self._child.wait_until(
            lambda: answers(self.port, self.host, 0.2), timeout=_START_SECONDS, what="The private Mosquitto"
        )
        return self

    def terminate(self) -> int | None:
        """Stop it gracefully (SIGTERM): sessions are saved where persistence is on. Returns the exit code."""
        return self._child.terminate(_STOP_SECONDS)

    def kill(self) -> int | None:
        """Kill it at once (SIGKILL): nothing is saved. Returns the exit code."""
        return self._child.kill()

    def restart(self) -> None:
        """Stop it gracefully when it runs, then start it again on the same port and folder."""
        self.terminate()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        self._child.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it when it still runs and remove its folder. May be called twice."""
        self._child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.terminate()
        self.close()

    def _write_configuration(self, settings: Sequence[str]) -> None:
        lines = [
            f"listener {self.port} {self.host}",
            "log_dest stderr",
            "log_type all",
            "set_tcp_nodelay true",
            f"allow_anonymous {'false' if self._users else 'true'}",
        ]
        if os.geteuid() == 0:
            # Mosquitto would become the user `mosquitto`, which cannot read this folder.
            lines.append("user root")
        if self.tls is not None:
            lines += [
                f"cafile {self.tls.ca}",
                f"certfile {self.tls.certificate}",
                f"keyfile {self.tls.key}",
                f"require_certificate {'true' if self.tls.require_certificate else 'false'}",
            ]
        if self._users:
            hashed = [f"{name}:{password_hash(password)}" for name, password in self._users.items()]
            lines.append(f"password_file {self._write('passwords', hashed)}")
        if self._acl:
            lines.append(f"acl_file {self._write('acl', self._acl)}")
        self._write("mosquitto.conf", [*lines, *settings])

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path


def find_mosquitto() -> str:
    """Return the path of the Mosquitto broker; raises BrokerFailed with what to install."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    if found is None:
        raise BrokerFailed("Mosquitto is not installed. On Debian or Ubuntu: apt-get install mosquitto mosquitto-clients")
    return found


def password_hash(password: str) -> str:
    """Return ``password`` as Mosquitto's password file wants it (``$7$``: PBKDF2 with SHA-512)."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _HASH_ROUNDS)
    return f"$7${_HASH_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _settings(persistence: bool, autosave_interval: int | None, max_queued_messages: int | None, folder: Path) -> list[str]:
    lines = [f"persistence {'true' if persistence else 'false'}"]
    if persistence:
        lines.append(f"persistence_location {folder}/")
    if autosave_interval is not None:
        lines.append(f"autosave_interval {autosave_interval}")
    if max_queued_messages is not None:
        lines.append(f"max_queued_messages {max_queued_messages}")
    return lines
