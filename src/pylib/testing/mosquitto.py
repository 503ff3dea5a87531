"""A private Mosquitto: its own folder, port and configuration, ended by its own process id."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from pylib.testing.child import BrokerFailed, ChildProcess
from pylib.testing.ports import LOOPBACK, answers
from pylib.testing.private import PrivateBroker, ServerTls

__all__ = ["Mosquitto", "ServerTls", "find_mosquitto", "password_hash"]

_START_SECONDS = 10.0
# As few as `mosquitto_passwd` uses: these passwords protect nothing, and a test should not wait for them.
_HASH_ROUNDS = 101


class Mosquitto(PrivateBroker):
    """A Mosquitto process of one test. Start and stop it from one thread.

    Parameters: ``users`` maps names to passwords and forbids anonymous clients; ``acl`` holds lines of an ACL file;
    ``tls`` makes the port a TLS port; ``persistence`` keeps sessions in the folder over a restart, saved every
    ``autosave_interval`` seconds (Mosquitto's own default is 1800) and on a graceful stop; ``max_queued_messages``
    bounds what an absent client's session holds (0: unbounded); ``extra`` holds further configuration lines. A listing
    whose client knows port 1883 alone is served by a ``host`` of its own in 127.0.0.0/8 together with ``port=1883``.

    The constructor raises BrokerFailed when Mosquitto is not installed. ``start()`` returns when the port answers.
    """

    name = "Mosquitto"
    _stop_seconds = 5.0

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
        super().__init__(host, port)
        self.tls = tls
        self._users = dict(users or {})
        self._acl = list(acl)
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
    def url(self) -> str:
        """The same as ``address``."""
        return self.address

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.terminate()
        self.close()

    def _wait_until_served(self) -> None:
        self._child.wait_until(
            lambda: answers(self.port, self.host, 0.2), timeout=_START_SECONDS, what="The private Mosquitto"
        )

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
            lines.append(f"password_file {self._write('passwords', _lines(hashed))}")
        if self._acl:
            lines.append(f"acl_file {self._write('acl', _lines(self._acl))}")
        self._write("mosquitto.conf", _lines([*lines, *settings]))


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


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
