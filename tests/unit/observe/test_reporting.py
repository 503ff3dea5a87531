"""Crash reports: what was to be expected is none, and what leaves has neither a body nor a secret in it.

In a process of its own each, since Sentry's integrations stay with a process once they are there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECRET = "hunter2hunter2"

OUTSIDE = """
import json, logging, sys
import sentry_sdk
from sentry_sdk.transport import Transport
from pylib.observe.reporting import configure_reporting, flush, report

SECRET = sys.argv[1]
seen = []

class Outside(Transport):
    def capture_envelope(self, envelope):
        seen.extend(json.dumps(item.payload.json, default=repr) for item in envelope.items if item.type == "event")

def attach():
    client = sentry_sdk.get_client()
    client.transport.capture_envelope = lambda envelope: Outside.capture_envelope(None, envelope)
"""

EXPECTED = """
from pylib.errors import ConnectionLost, DecodeError, Rejected
assert configure_reporting()
attach()
for error in (ConnectionLost("RabbitMQ went away"), DecodeError("no JSON"), Rejected("too large"), ResourceWarning("gone")):
    report(error)
    sentry_sdk.capture_exception(error)  # as an integration might, past our door
flush(1.0)
print("reports", len(seen))
"""

LEAVES = """
from pathlib import Path
assert configure_reporting()
attach()
body = '{"door": "%s"}' % SECRET
logging.getLogger("pylib.test").warning("a breadcrumb with amqp://me:%s@host", SECRET)
try:
    raise ValueError(f"cannot use {body!r}, {body.encode()!r}, token={SECRET}, tgram://{SECRET}/1, https://hc-ping.com/{SECRET}")
except ValueError as error:
    report(error, thread="water", topic="soil/7/state")
flush(1.0)
secret, topic = (any(word in each for each in seen) for word in (SECRET, "soil/7/state"))
print("reports", len(seen), "secret", secret, "topic", topic)
"""

THREADS = """
import threading
sentry_sdk.init(dsn="http://key@192.0.2.1/1", shutdown_timeout=0)  # the application's own, with all of Sentry's integrations
from pylib.app import AppThread
from pylib.runtime.runtime import current

ran = threading.Event()

class Works(AppThread):
    def run(self):
        ran.set()
        self.member.gate.wait()

Works("works").start()
print("ran", ran.wait(10), "left", current().stop())
"""


def printed(program: str, folder: Path, dsn: str = "http://key@192.0.2.1/1") -> str:
    """What a program prints, with Sentry's line caught and a secret to keep."""
    env = {**os.environ, "SENTRY_DSN": dsn, "SECRET_TOKEN": SECRET}
    command = [sys.executable, "-c", OUTSIDE + program, SECRET]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env, cwd=folder, timeout=60).stdout.strip()


def test_what_was_to_be_expected_is_no_report(tmp_path: Path) -> None:
    assert printed(EXPECTED, tmp_path) == "reports 0"


def test_what_leaves_has_neither_body_nor_secret_in_it(tmp_path: Path) -> None:
    """One report, not two, although the log has the error as well."""
    assert printed(LEAVES, tmp_path) == "reports 1 secret False topic True"


def test_threads_run_also_where_the_application_has_set_up_sentry_by_itself(tmp_path: Path) -> None:
    assert printed(THREADS, tmp_path) == "ran True left []"
