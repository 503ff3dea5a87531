"""A hub that is killed while it tells people: what was settled is told after the start, pictures included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.notify.service import PNG, Scripted, Service

# The notifier alone, fed with twenty steps whose receipts it prints as they settle.
PROGRAM = """
import sys, threading
from pathlib import Path
import zmq
from pydantic import SecretStr
from event_processor.domain.outcome import Step
from event_processor.notify.notifier import Notifier
from event_processor.notify.targets import Target
from pylib.runtime.runtime import Runtime
from pylib.zmq import zmq_socket
folder, url, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
runtime = Runtime()
with runtime.active():
    target = Target(name="phone", url=SecretStr(url), rate_s=0.0)
    Notifier([target], folder / "notify.db", dead_letters=folder / "delivery.db").start()
    push = zmq_socket(zmq.PUSH)
    push.connect("inproc://notify")
    for n in range(count):
        picture = bytes([137]) + b"PNG" + bytes([13, 10, 26, 10, n])
        step = Step(id=f"s{n}", kind="notify", rule="r", output="phone", address="phone", at=1.0, expires_at=0.0,
                    body={"text": f"text {n}", "label": f"label {n}", "images": [picture]})
        receipt = runtime.receipts.open(lambda r: print("settled", r.token, r.error, flush=True), n)
        push.send_enclosed(step, receipt)
    threading.Event().wait()
"""


def run(folder: Path, url: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder), url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_killed_with_twenty_notes_in_its_queue_it_tells_them_all_after_the_start(tmp_path: Path) -> None:
    gate = threading.Event()
    with Service().running() as service:
        service.answers.append(Scripted(500, hold=gate))
        first = run(tmp_path, service.url, 20)
        try:
            assert first.stdout is not None
            settled = {first.stdout.readline().split()[1] for _ in range(20)}
            assert settled == {str(n) for n in range(20)}
            service.wait(tried=1, timeout=60)
        finally:
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            assert first.stdout is not None
            first.stdout.close()
        gate.set()
        # The same steps come again, as they do from an outbox that was killed too: each is told once.
        second = run(tmp_path, service.url, 20)
        try:
            service.wait(sent=2, timeout=60)
        finally:
            second.kill()
            second.wait()
            assert second.stdout is not None
            second.stdout.close()
        lines = [line for text in service.texts for line in text.splitlines() if "more pictures" not in line]
        assert sorted(lines) == sorted(f"text {n}" for n in range(20))
        pictures = [picture for sent in service.sent for picture in sent.pictures]
        assert pictures == [PNG[:8] + bytes([n]) for n in range(20)]


pytestmark = pytest.mark.timeout(150)
