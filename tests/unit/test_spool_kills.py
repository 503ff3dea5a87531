"""The spool under SIGKILL, failing fsyncs and power cuts, in short; `make soak` runs the same for longer.

A power cut is replayed: `strace` records every write, truncation and fsync of the program, and a file is built that
holds what was fsynced, and of the later writes any subset. Without the spool's fsync these tests fail.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pylib.delivery.spool import Spool

PROGRAM = """
import sys
from pylib.delivery.spool import Spool, SpoolBroken
path, most, lazy = sys.argv[1], int(sys.argv[2]), "keep" not in sys.argv
spool = Spool(path)
spool.open()
items = spool.read(0, 1_000_000)
number = int.from_bytes(items[-1].data[:8], "big") + 1 if items else int(sys.argv[3])
sys.stdout.write("ready\\n"); sys.stdout.flush()
for turn in range(most):
    batch = [("a.b", (number + step).to_bytes(8, "big") + bytes(900), None) for step in range(10)]
    try:
        spool.append(batch)
    except SpoolBroken as error:
        sys.stdout.write(f"broken {number}\\n"); sys.stdout.flush()
        continue
    number += 10
    sys.stdout.write(f"stored {number - 1}\\n"); sys.stdout.flush()
    if lazy and turn % 7 == 6:
        gone = spool.read(0, 40)
        # Said before it is done: from here on these may be there or not.
        sys.stdout.write(f"removed {int.from_bytes(gone[-1].data[:8], 'big')}\\n"); sys.stdout.flush()
        spool.remove([item.row for item in gone])
"""


def numbers(path: Path) -> list[int]:
    spool = Spool(path)
    spool.open()
    found = [int.from_bytes(item.data[:8], "big") for item in spool.read(0, 1_000_000)]
    spool.close()
    return found


def last(output: str, word: str) -> int | None:
    found = re.findall(rf"^{word} (\d+)$", output, re.MULTILINE)
    return int(found[-1]) if found else None


def sound(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def check(found: list[int], stored: int, removed: int) -> None:
    """All that was acknowledged and not removed, in order; nothing twice."""
    assert found == sorted(set(found))
    assert set(range(removed + 1, stored + 1)) <= set(found)


def kill_while_writing(folder: Path, *, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    path = folder / "s"
    stored = removed = -1
    for _ in range(kills):
        argv = [sys.executable, "-c", PROGRAM, str(path), "1000000", str(stored + 1)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            lines = [program.stdout.readline()]
            assert lines[0] == "ready\n"
            lines += [program.stdout.readline() for _ in range(chance.randrange(30))]
            program.send_signal(signal.SIGKILL)
            output = "".join([*lines, *program.stdout])
        last_stored, last_removed = last(output, "stored"), last(output, "removed")
        stored = stored if last_stored is None else last_stored
        removed = removed if last_removed is None else last_removed
        found = numbers(path)
        check(found, stored, removed)
        sound(path)
        # One batch may have been committed and not been said.
        stored = max(stored, found[-1] if found else -1)
    assert stored > kills


def failing_syncs(folder: Path, first: int) -> None:
    """From the ``first`` on, three fsyncs in a row fail with EIO; the program is killed at the end of its work."""
    folder.mkdir()
    path = folder / "s"
    inject = f"inject=fsync,fdatasync:error=EIO:when={first}..{first + 2}"
    argv = ["strace", "-f", "-o", os.devnull, "-e", "trace=fsync,fdatasync", "-e", inject]
    program = [sys.executable, "-c", PROGRAM, str(path), "40", "0", "keep"]
    done = subprocess.run([*argv, *program], capture_output=True, text=True, check=False)
    broken, stored = last(done.stdout, "broken"), last(done.stdout, "stored")
    if "ready" not in done.stdout:
        assert "SpoolBroken" in done.stderr, done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert broken is not None or "removed" in done.stdout, "no fsync failed: this shows nothing"
    assert stored is not None, "the spool did not come back"
    assert numbers(path) == list(range(stored + 1))
    sound(path)


LINE = re.compile(r"^(?:\d+ +)?(\w+)\((\d+)(?:<([^>]*)>)?(?:, (.*))?\) += (-?\d+)")


def recorded(folder: Path) -> tuple[list[tuple[str, str, int, bytes]], str]:
    """The program's disk operations in order, between them what it printed: (operation, file, offset, bytes)."""
    trace = folder / "trace"
    calls = "trace=pwrite64,write,ftruncate,fsync,fdatasync,unlink"
    argv = ["strace", "-f", "-y", "-xx", "-s", "5000000", "-o", str(trace), "-e", calls]
    program = [sys.executable, "-c", PROGRAM, str(folder / "s"), "60", "0"]
    done = subprocess.run([*argv, *program], capture_output=True, text=True, check=True)
    operations: list[tuple[str, str, int, bytes]] = []
    for line in trace.read_text().splitlines():
        if not (match := LINE.match(line)) or int(match[5]) < 0:
            continue
        call, descriptor, file, arguments = match[1], match[2], match[3] or "", match[4] or ""
        # With -xx the names are hexadecimal as well in some versions.
        name = os.path.basename(unhex(file) if file.startswith("\\x") else file)
        if call == "write" and descriptor == "1":
            operations.append(("said", "", 0, content(arguments)))
        elif call == "pwrite64":
            operations.append(("write", name, int(arguments.rsplit(", ", 1)[1], 0), content(arguments)))
        elif call == "ftruncate":
            operations.append(("cut", name, int(arguments, 0), b""))
        elif call in ("fsync", "fdatasync"):
            operations.append(("sync", name, 0, b""))
    return operations, done.stdout


def content(arguments: str) -> bytes:
    quoted = arguments[arguments.index('"') + 1 : arguments.rindex('"')]
    return bytes.fromhex(quoted.replace("\\x", ""))


def unhex(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode()


def apply(files: dict[str, bytearray], operation: tuple[str, str, int, bytes]) -> None:
    kind, name, offset, data = operation
    file = files.setdefault(name, bytearray())
    if kind == "cut":
        file[offset:] = bytes(max(0, offset - len(file)))
    elif kind == "write":
        if len(file) < offset:
            file.extend(bytes(offset - len(file)))
        file[offset : offset + len(data)] = data


def cut_power(folder: Path, *, cuts: int, seed: int) -> None:
    operations, _ = recorded(folder)
    assert sum(kind == "sync" for kind, *_ in operations) > 60, "the program does not sync"
    chance = random.Random(seed)
    for number in range(cuts):
        end = chance.randrange(len(operations) // 10, len(operations) + 1)
        durable: dict[str, bytearray] = {}
        pending: dict[str, list[tuple[str, str, int, bytes]]] = {}
        stored = removed = -1
        for operation in operations[:end]:
            kind, name, _, data = operation
            if kind == "said":
                stored = max(stored, last(data.decode(), "stored") or -1)
                removed = max(removed, last(data.decode(), "removed") or -1)
            elif kind == "sync":
                for written in pending.pop(name, []):
                    apply(durable, written)
            elif name in ("s", "s-wal"):
                pending.setdefault(name, []).append(operation)
        # What was not synced: nothing of it, all of it, or any part in any order of sectors.
        share = chance.choice([0.0, 0.5, 1.0])
        for written in (operation for waiting in pending.values() for operation in waiting):
            if chance.random() < share:
                apply(durable, written)
        after = folder / f"cut-{number}"
        after.mkdir()
        for name in ("s", "s-wal"):
            if name in durable:
                (after / name).write_bytes(durable[name])
        check(numbers(after / "s"), stored, removed)
        assert not list(after.glob("*.corrupt-*"))
        sound(after / "s")
        shutil.rmtree(after)


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="replaying a power cut takes strace: apt install strace"
)


def test_a_kill_while_writing_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_while_writing(tmp_path, kills=15, seed=3)


@needs_strace
@pytest.mark.parametrize("first", [12, 13, 25])
def test_a_failing_fsync_acknowledges_nothing_that_is_not_stored_and_the_spool_comes_back(tmp_path: Path, first: int) -> None:
    failing_syncs(tmp_path / "run", first)


@needs_strace
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    cut_power(tmp_path, cuts=60, seed=1)
