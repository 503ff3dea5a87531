"""A way to ask a running application how it is: a socket in its state folder that only its user can open.

One request is one line of JSON, ``{"ask": "wiring"}``, and so is its answer: ``{"ok": ...}`` or ``{"error": "..."}``.
``pylib wiring``, ``pylib top`` and their kin speak it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from pylib.config import app_config
from pylib.errors import PylibError
from pylib.observe.health import Problem, health
from pylib.observe.tapping import LEASE, Taps
from pylib.runtime.loop import READ, WRITE, Loop, Timer
from pylib.runtime.runtime import Runtime
from pylib.runtime.wiring import snapshot, stack

__all__ = ["Answer", "Control", "ask", "control_path", "running"]

log = logging.getLogger("pylib.control")

#: Bytes of a request, connections at a time, and seconds that one asker may take.
MOST_REQUEST: Final = 64 * 1024
MOST_ASKERS: Final = 16
ANSWER_TIMEOUT: Final = 5.0
_FOLDER: Final = "control"
# What sockaddr_un holds (unix(7)), with its final zero.
_LONGEST_PATH: Final = 108

Answer = Callable[[Mapping[str, object]], object]


def control_path(folder: Path, pid: int | None = None) -> Path:
    """Where the application with this state folder and process number listens."""
    return folder / _FOLDER / f"{os.getpid() if pid is None else pid}.sock"


def running(folder: Path) -> list[Path]:
    """The sockets of applications that may be running with this state folder, the newest first."""
    found = [path for path in (folder / _FOLDER).glob("*.sock") if path.is_socket()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def ask(path: Path, request: Mapping[str, object], timeout: float = ANSWER_TIMEOUT) -> object:
    """Ask a running application. Blocks at most ``timeout`` seconds.

    :raises PylibError: nobody listens there, or the answer is an error; the message says which.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            with _short(path) as short:
                connection.connect(short)
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise PylibError(f"the application at {path} does not answer ({error.strerror or error}); is it running?") from error
    answer = msgspec.json.decode(line or b"{}", type=dict[str, object])
    if "ok" not in answer:
        raise PylibError(str(answer.get("error", "the application hung up without an answer")))
    return answer["ok"]


class Control:
    """Answers what is asked of a runtime. ``start`` and ``close`` by whoever owns the runtime; it ends with that, too.

    Guarantee: an asker that is slow or malicious costs one of a few bounded places, for a bounded time, and never a wait.

    :param path: of the socket; its folder is made, for the user alone.
    :param problems: what else than threads and connections may be wrong.
    :param name: the application's, for who asks; that of the settings by default.
    """

    def __init__(
        self, runtime: Runtime, path: Path, problems: Callable[[], list[Problem]] | None = None, name: str = ""
    ) -> None:
        self._runtime = runtime
        self._path = path
        self._problems = problems
        self._taps = Taps(runtime)
        self._name = name
        self._since = runtime.clock.time()
        self._answers: dict[str, Answer] = {
            "wiring": lambda _: snapshot(runtime),
            "health": lambda _: health(snapshot(runtime), problems() if problems is not None else ()),
            "stack": lambda request: stack(runtime, str(request.get("thread", ""))),
            "level": _level,
            "about": lambda _: {"name": self._name or app_config.app_name(), "pid": os.getpid(), "since": self._since},
            "tap": self._tap,
        }
        self._listener: socket.socket | None = None
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._tap_timer: Timer | None = None
        self._askers: dict[int, _Asker] = {}

    def offer(self, name: str, answer: Answer) -> None:
        """Answer this too. Called on the control's own thread: it must not block for long. Before ``start``."""
        self._answers[name] = answer

    def start(self) -> bool:
        """Listen. False, and one line in the log, where that is not possible: it is no reason not to run."""
        try:
            self._path = _free(self._path)
            self._listener = _listen(self._path)
        except OSError as error:
            log.warning("`pylib wiring` and `pylib top` cannot ask this application: %s: %s", self._path, error)
            return False
        self._loop = Loop(clock=self._runtime.clock)
        self._thread = threading.Thread(target=self._run, name="pylib-control", daemon=True)
        self._thread.start()
        self._runtime.on_stopped(self.close)
        return True

    def close(self) -> None:
        """Listen no longer. Any thread; twice is harmless."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or thread is threading.current_thread():
            return
        loop.stop()
        thread.join(ANSWER_TIMEOUT)
        if not thread.is_alive():
            self._loop = self._thread = None
            loop.close()

    def _run(self) -> None:
        loop, listener = self._loop, self._listener
        if loop is None or listener is None:
            return
        loop.watch(listener.fileno(), READ, self._accept)
        try:
            loop.run()
        finally:
            self._taps.close()
            for asker in list(self._askers.values()):
                self._drop(asker)
            loop.unwatch(listener.fileno())
            listener.close()
            self._path.unlink(missing_ok=True)

    def _accept(self, mask: int) -> None:
        listener, loop = self._listener, self._loop
        if listener is None or loop is None:
            return
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self._askers) >= MOST_ASKERS:
            connection.close()
            return
        connection.setblocking(False)
        asker = _Asker(connection)
        self._askers[connection.fileno()] = asker
        loop.watch(connection.fileno(), READ, lambda _: self._read(asker))
        loop.call_later(ANSWER_TIMEOUT, lambda: self._drop(asker))

    def _read(self, asker: _Asker) -> None:
        try:
            data = asker.connection.recv(MOST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        asker.request += data
        if not data or len(asker.request) > MOST_REQUEST:
            self._drop(asker)
        elif b"\n" in asker.request:
            asker.answer = self._answer(asker.request.partition(b"\n")[0])
            self._write(asker)

    def _write(self, asker: _Asker) -> None:
        loop = self._loop
        try:
            sent = asker.connection.send(asker.answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(asker)
            return
        asker.answer = asker.answer[sent:]
        if not asker.answer:
            self._drop(asker)
        elif loop is not None:
            loop.watch(asker.connection.fileno(), WRITE, lambda _: self._write(asker))

    def _drop(self, asker: _Asker) -> None:
        descriptor = asker.connection.fileno()
        if descriptor >= 0 and self._askers.pop(descriptor, None) is not None and self._loop is not None:
            self._loop.unwatch(descriptor)
            asker.connection.close()

    def _tap(self, request: Mapping[str, object]) -> object:
        answer = self._taps.answer(request)
        self._look_after_taps()
        return answer

    def _look_after_taps(self) -> None:
        """While there are taps, and only then, look whether they are still wanted."""
        self._taps.expire()
        loop, timer = self._loop, self._tap_timer
        if timer is not None:
            timer.cancel()
        self._tap_timer = loop.call_later(LEASE, self._look_after_taps) if loop is not None and self._taps.busy else None

    def _answer(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line, type=dict[str, object])
            answer = self._answers.get(str(request.get("ask")))
            if answer is None:
                raise PylibError(f"this application answers {', '.join(sorted(self._answers))}, not {request.get('ask')!r}")
            return msgspec.json.encode({"ok": answer(request)}) + b"\n"
        except Exception as error:  # the asker's fault or the answer's: neither may end the control
            return msgspec.json.encode({"error": f"{type(error).__name__}: {error}"}) + b"\n"


class _Asker:
    """One connection: what it has asked so far, and what it has not been sent yet."""

    __slots__ = ("answer", "connection", "request")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.request = b""
        self.answer = b""


def _free(path: Path) -> Path:
    """The path, or another where somebody listens already: a second application of this process in the same folder."""
    for number in range(2, 2 + MOST_ASKERS):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short(path) as short:
                connection.settimeout(ANSWER_TIMEOUT)
                connection.connect(short)
        except OSError:
            return path
        path = path.with_name(f"{os.getpid()}-{number}.sock")
    return path


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a process of the same number that has ended
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            with _short(path) as short:
                listener.bind(short)
        finally:
            os.umask(before)
        listener.listen(MOST_ASKERS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return listener


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path as a socket's address takes it. One that is too long goes by way of its open folder, where Linux has that."""
    if len(os.fsencode(path)) < _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{folder}/{path.name}"
        if not os.path.isdir(os.path.dirname(short)):
            raise OSError(
                errno.ENAMETOOLONG, f"its path has more than {_LONGEST_PATH - 1} bytes; set a shorter [app] state_dir"
            )
        yield short
    finally:
        os.close(folder)


def _level(request: Mapping[str, object]) -> str:
    """The log's level: what it is, after setting it where the request says so."""
    root, wanted = logging.getLogger(), request.get("level")
    if wanted is not None:
        root.setLevel(str(wanted).upper())
    return logging.getLevelName(root.level)
