"""A private PostgreSQL for the tests: on a Unix socket in a folder of its own, ended by its process id. Loaded as a plugin."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.testing.guard import GUARD

_NUMBERS = itertools.count(1)
START = 20.0


def _programs() -> Path:
    """The folder with ``postgres`` and ``initdb``: Debian keeps them off everybody's path, by version."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].split(".")[0]))
    if not found:
        pytest.fail("PostgreSQL is not installed: scripts/ensure-brokers --with-fault-tools does that.", pytrace=False)
    return found[-1].parent


class Server:
    """One cluster. PostgreSQL refuses to run as root, so there it runs as ``nobody``."""

    def __init__(self) -> None:
        self.programs = _programs()
        self.user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        # Not pytest's folder: that may be entered by its owner only.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", str(self.data), "-U", "hub", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql://hub@/{database}?host={self.folder}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-k", self.folder, "-h", "", "-c", "fsync=off",
                 "-c", "max_connections=40", "-c", "shared_buffers=32MB"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user_id(), start_new_session=True, cwd="/",
            )  # fmt: skip
        GUARD.add(self._process.pid, self.folder)
        deadline = time.monotonic() + START
        while True:
            ready = subprocess.run([self.programs / "pg_isready", "-q", "-h", self.folder, "-U", "hub"], check=False)
            if ready.returncode == 0:
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-3000:]}", pytrace=False)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT cuts its connections and ends it in order; SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            GUARD.remove(self._process.pid)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create(self) -> str:
        """A fresh database; returns its name."""
        name = f"hub_{next(_NUMBERS)}"
        self._execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        import psycopg  # only where a test asks for a server: this file is loaded with every run

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _user_id(self) -> int | None:
        return pwd.getpwnam(self.user).pw_uid if os.geteuid() == 0 else None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], user=self._user_id(), cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.fail(f"{program} failed:\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """One server for the whole run; a test that stops it starts it again."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgresql(postgresql_server: Server) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    name = postgresql_server.create()
    yield postgresql_server.url(name)
    postgresql_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made: what uses it is tried with SQLite and with PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "hub.db")
    url: str = request.getfixturevalue("postgresql")
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def hub_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """What ``[hub] database`` says, for a hub that serves a module's tests: nothing, which is a file in the state folder, and
    the URL of an empty database."""
    if request.param == "sqlite":
        yield ""
        return
    server: Server = request.getfixturevalue("postgresql_server")
    name = server.create()
    yield server.url(name)
    server.drop(name)
