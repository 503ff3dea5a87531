"""Importing changes nothing: no handler, locale, folder, file, thread, signal or environment variable."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pylib

# Runs in a fresh interpreter. What is compared is taken before the first import from pylib.
PROBE = """
import json, sys
module = sys.argv[1]
import faulthandler, gc, locale, logging, os, signal, sysconfig, threading, warnings
from pathlib import Path

allowed = (*sys.path, sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())
roots = [os.path.realpath(path) for path in allowed if path]
opened = []
effects = []

def audit(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or not any(path == root or path.startswith(root + os.sep) for root in roots):
            opened.append([os.fsdecode(args[0]), "write" if writes else "read"])
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.fork",
                   "os.mkdir", "os.remove", "os.rename", "os.chdir", "os.putenv", "sqlite3.connect", "pty.spawn"):
        effects.append([event, repr(args)[:200]])

def state():
    root = logging.getLogger()
    loggers = [root, *(l for l in logging.Logger.manager.loggerDict.values() if isinstance(l, logging.Logger))]
    handlers = [(l.name, h) for l in loggers for h in l.handlers if not isinstance(h, logging.NullHandler)]
    return {
        "cwd": os.getcwd(),
        "environ": dict(os.environ),
        "locale": locale.setlocale(locale.LC_ALL),
        "root level": root.level,
        "handlers": sorted(f"{name}: {handler!r}" for name, handler in handlers),
        "logging class": repr(logging.getLoggerClass()),
        "disabled": logging.root.manager.disable,
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
        "signals": {str(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "wake-up": signal.set_wakeup_fd(-1),
        "hooks": [repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook), repr(sys.stdout)],
        "switch interval": sys.getswitchinterval(),
        "recursion limit": sys.getrecursionlimit(),
        "umask": [os.umask(0o22), os.umask(0o22)][0],
        "faulthandler": faulthandler.is_enabled(),
        "collector": [gc.isenabled(), gc.get_threshold()],
    }

before = state()
sys.addaudithook(audit)
__import__(module)
after = state()
watched = ("pika", "paho", "sentry_sdk", "zmq", "pydantic", "pydantic_settings", "msgspec")
print(json.dumps({
    "changed": {name: [before[name], after[name]] for name in before if before[name] != after[name]},
    "opened": opened,
    "effects": effects,
    "loaded": [name for name in watched if name in sys.modules],
}))
"""


def public_modules() -> list[str]:
    found = [
        info.name
        for info in pkgutil.walk_packages(pylib.__path__, "pylib.")
        if not info.name.startswith("pylib.testing") and not any(p.startswith("_") for p in info.name.split(".")[1:])
    ]
    return ["pylib", *sorted(found)]


def probe(module: str, folder: Path) -> dict[str, object]:
    # An app.conf that cannot be parsed, a secrets folder that is absent and a DSN trip up whatever reads at import.
    (folder / "app.conf").write_text("this is no settings file")
    environ = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(pylib.__path__[0]).parent),
        "APP_CONFIG": "app.conf",
        "APP_SECRETS": str(folder / "absent"),
        "SENTRY_DSN": "http://key@127.0.0.1:9/1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE, module],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("module", public_modules())
def test_importing_changes_nothing(module: str, tmp_path: Path) -> None:
    result = probe(module, tmp_path)
    assert result["changed"] == {}
    assert result["opened"] == []
    assert result["effects"] == []


def test_importing_the_package_loads_no_client_library(tmp_path: Path) -> None:
    assert probe("pylib", tmp_path)["loaded"] == []


def test_the_probe_notices_each_kind_of_change(tmp_path: Path) -> None:
    # Without this the test above might pass because the probe is blind.
    (tmp_path / "guilty.py").write_text(
        "import logging, os, threading, locale, signal, pika\n"
        "logging.basicConfig()\n"
        "os.environ['X'] = '1'\n"
        "os.chdir('/')\n"
        "open('/etc/hostname').close()\n"
        "held = open('/dev/null', 'w')\n"
        "locale.setlocale(locale.LC_ALL, 'C.UTF-8' if locale.setlocale(locale.LC_ALL) == 'C' else 'C')\n"
        "was = signal.getsignal(signal.SIGHUP)  # ignored already where nohup started the tests\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL if was == signal.SIG_IGN else signal.SIG_IGN)\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='stray').start()\n"
    )
    result = probe("guilty", tmp_path)
    changed = result["changed"]
    assert isinstance(changed, dict)
    assert {"cwd", "environ", "handlers", "locale", "threads", "descriptors", "signals"} <= set(changed)
    assert ["/etc/hostname", "read"] in result["opened"]  # type: ignore[operator]
    assert ["/dev/null", "write"] in result["opened"]  # type: ignore[operator]
    assert any(effect[0] == "os.chdir" for effect in result["effects"])  # type: ignore[attr-defined]
    assert result["loaded"] == ["pika"]
