"""What the spool costs per message: python benchmarks/spool.py [FOLDER] [MESSAGES]

Appends in batches of 200 messages of 300 bytes, opens again, reads and removes in batches of 200. CPU is the process's
own time; the wall-clock figures depend on how fast the disk under FOLDER is at fsync.
"""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from pylib.delivery.spool import Spool

BATCH = 200
SIZE = 300


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else None
    messages = int(sys.argv[2]) // BATCH * BATCH if len(sys.argv) > 2 else 100_000
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    with tempfile.TemporaryDirectory(dir=base) as folder:
        path = Path(folder, "bench.spool")
        spool = Spool(path)
        spool.open()
        batch = [(f"bench.device{number % 20}.event", os.urandom(SIZE), None) for number in range(BATCH)]
        start = memory()
        with_cost("append", messages, lambda: [spool.append(batch) for _ in range(messages // BATCH)])
        print(f"{len(spool)} waiting, file {path.stat().st_size / 2**20:.0f} MiB, memory +{memory() - start} KiB")
        spool.close()
        began = time.monotonic()
        spool.open()
        print(f"open again, with the look for damage: {time.monotonic() - began:.2f} s")
        with_cost("read and remove", messages, lambda: drain(spool))
        log = Path(f"{path}-wal").stat().st_size / 2**20
        print(f"{len(spool)} waiting, log {log:.1f} MiB, memory +{memory() - start} KiB")
        spool.close()


def drain(spool: Spool) -> None:
    row = 0
    while items := spool.read(row, BATCH):
        row = items[-1].row
        spool.remove([item.row for item in items])


def with_cost(name: str, messages: int, work: object) -> None:
    assert callable(work)
    cpu, wall = time.process_time(), time.monotonic()
    work()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(f"{name}: {cpu / messages * 1e6:.1f} us CPU, {wall / messages * 1e6:.1f} us wall clock per message")


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
