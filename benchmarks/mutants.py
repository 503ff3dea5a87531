"""Breaks the library on purpose, one way at a time, and shows which test notices.

A test that says "lost 0" means nothing as long as no mistake can make it say anything else. Each mutant here is such a
mistake, made in a copy of the sources; the tests named with it run against the copy, and at least one of them has to fail.

    python benchmarks/mutants.py               all mutants; exit code 1 when one survives
    python benchmarks/mutants.py --only NAME   those whose name contains NAME
    python benchmarks/mutants.py --list        their names
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRIDGE = "tests/unit/test_bridge.py"
PROMISES = "tests/contract/test_promises.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: in ``path``, ``old`` becomes ``new``; ``tests`` are pytest's arguments."""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "acknowledge on receive",
        "brokers/inflow.py",
        "            entry = Entry(delivery, len(pickled))\n",
        "            entry = Entry(delivery, 0)\n            self._loop.defer(self._acknowledge)\n",
        (BRIDGE, "-k", "settled"),
    ),
    Mutant(
        "ignore the publisher confirm",
        "brokers/confirms.py",
        "        self._window.sent(self._next_tag, entry)\n",
        "        self._owner.on_outcome(entry.token, None)\n",
        (PROMISES, "-k", "amqp and (room or reset)"),
    ),
    Mutant(
        "ignore the PUBACK",
        "brokers/pubacks.py",
        "                self._window.sent(info.mid, entry)\n",
        "                self._owner.on_outcome(entry.token, None)\n",
        (PROMISES, "-k", "mqtt5 and (room or reset)"),
    ),
    Mutant(
        "take a negative confirm for a positive one",
        "brokers/confirms.py",
        "        if isinstance(method, pika.spec.Basic.Nack):\n",
        "        if False:\n",
        ("tests/faults/test_confirms.py",),
    ),
    Mutant(
        "skip the connection check, MQTT",
        "brokers/paho.py",
        "if delivery.epoch == epoch and delivery.tag",
        "if delivery.tag",
        (PROMISES, "-k", "mqtt5 and earlier_connection"),
    ),
    Mutant(
        "skip the connection check, RabbitMQ",
        "brokers/pika.py",
        "if delivery.epoch == epoch and delivery.tag",
        "if delivery.tag",
        (PROMISES, "-k", "amqp and earlier_connection"),
    ),
    Mutant(
        "acknowledge out of order",
        "brokers/inflow.py",
        "        while arrived and arrived[0].legs <= 0:\n            done.append(arrived.popleft().delivery)\n",
        "        for entry in [entry for entry in arrived if entry.legs <= 0]:\n"
        "            arrived.remove(entry)\n            done.append(entry.delivery)\n",
        ("tests/faults/test_receipts_order.py",),
    ),
    Mutant(
        "drop the spool's fsync",
        "delivery/sqlite.py",
        '    "synchronous=FULL",\n',
        '    "synchronous=OFF",\n',
        ("tests/unit/test_spool.py", "tests/unit/test_spool_kills.py", "-k", "synchronous or power_cut"),
    ),
    Mutant(
        "settle what the spool could not store",
        "brokers/spooling.py",
        "            self._stall(error)\n            return\n",
        "            self._stall(error)\n",
        ("tests/faults/test_disk.py", "-k", "full"),
    ),
    Mutant(
        "settle a receipt twice",
        "runtime/receipts.py",
        "            if self._holders <= 0:\n                return\n"
        "            self._holders -= 1\n            if self._holders:\n",
        "            self._holders -= 1\n            if self._holders > 0:\n",
        ("tests/unit/test_receipts.py", "tests/unit/test_receipts_model.py", "tests/faults/test_receipts_order.py"),
    ),
    Mutant(
        "let go of a receipt for each message sent",
        "runtime/receipts.py",
        "        for receipt in receipts:\n            receipt.hold()\n        if len(receipts) == 1:\n",
        "        if len(receipts) == 1:\n",
        ("tests/unit/test_receipts.py", "tests/unit/test_receipts_model.py"),
    ),
    Mutant(
        "forget what was under way when the connection goes",
        "brokers/window.py",
        "        self._again.extendleft(reversed(self._under_way.values()))\n        self._under_way.clear()\n",
        "        self._under_way.clear()\n",
        (PROMISES, "-k", "reset and (mqtt5 or amqp)"),
    ),
    Mutant(
        "lose what is reclaimed from the port",
        "brokers/spooling.py",
        "        self._pending.extendleft(reversed(direct))\n",
        "",
        ("tests/faults/test_disk.py", "-k", "reclaimed"),
    ),
    Mutant(
        "drop the quarantine",
        "brokers/pubacks.py",
        "            self._window.put_first(kept)\n",
        "            pass\n",
        ("tests/faults/test_quarantine.py",),
    ),
    Mutant(
        "acknowledge what a stop has interrupted",
        "brokers/inflow.py",
        "    def _abandon(self, leg: Leg) -> None:\n",
        "    def _abandon(self, leg: Leg) -> None:\n        self._settle(leg)\n        return\n",
        ("tests/faults/test_receipts_order.py",),
    ),
)


def main() -> int:
    """Run what was asked for; 1 when a mutant survives."""
    parser = argparse.ArgumentParser(description="Break the library on purpose and see which test notices.")
    parser.add_argument("--only", metavar="NAME", default="", help="mutants whose name contains NAME")
    parser.add_argument("--list", action="store_true", help="print their names")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    if options.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    survivors = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pylib-mutants-") as folder:
        for mutant in chosen:
            before = time.monotonic()
            verdict = _try(mutant, Path(folder) / "src")
            survivors += not verdict.startswith("caught")
            print(f"{mutant.name:50} {verdict} ({time.monotonic() - before:.0f} s)", flush=True)
    print(f"{len(chosen)} mutants, survivors {survivors}, {time.monotonic() - started:.0f} s")
    return 1 if survivors or not chosen else 0


def _try(mutant: Mutant, copy: Path) -> str:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / "pylib" / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        return f"cannot be made: {mutant.path} has the line {text.count(mutant.old)} times"
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    # The copy comes before the installed package; that it really does is checked, or nothing would be shown.
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import pylib; print(pylib.__file__)"], env=env, cwd=copy, capture_output=True, text=True
    )
    if str(copy) not in where.stdout:
        return f"cannot be made: Python takes pylib from {where.stdout.strip() or where.stderr.strip()}"
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout=60", "-p", "no:cacheprovider", "--no-header"]
    result = subprocess.run([*pytest, *mutant.tests], env=env, cwd=ROOT, capture_output=True, text=True)
    # 1: tests failed. Anything else above 0 is a run that did not happen, and shows nothing.
    if result.returncode == 0:
        return f"SURVIVED {' '.join(mutant.tests)}"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)
    if result.returncode != 1 or failed is None:
        return f"cannot be judged: pytest ended with {result.returncode}: {(result.stdout + result.stderr)[-300:]}"
    return f"caught by {failed.group(1)}"


if __name__ == "__main__":
    sys.exit(main())
