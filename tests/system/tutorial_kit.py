"""Types what a page of the documentation says, and compares what is printed with what the page says.

A block ```console NAME``` is typed in the terminal NAME. Lines behind ``$ `` are commands, ``^C`` is Ctrl-C, and all others
are what is printed, where ``...`` stands for anything and a line of nothing else for any lines. A block ```LANGUAGE FILE```
is a file. ``staying`` names the terminals whose program stays, with its exit code after Ctrl-C; in all others a command has
to end, with exit code 0.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TRIES = 10


@dataclass(frozen=True)
class Step:
    """A command, or None for what appears by itself, and what is printed."""

    terminal: str
    command: str | None
    printed: list[str]


@dataclass(frozen=True)
class File:
    name: str
    text: str


def steps_of(page: str) -> Iterator[Step | File]:
    """What a page has its reader do, in order."""
    for language, name, text in _BLOCK.findall(page):
        if language != "console":
            if name:  # one without a name is to be read
                yield File(name, text)
            continue
        command: str | None = None
        printed: list[str] = []
        begun = False
        for line in text.splitlines():
            if line.startswith("$ ") or line == "^C":
                if begun:
                    yield Step(name or "you", command, printed)
                command, printed = line.removeprefix("$ "), []
            else:
                printed.append(line)
            begun = True
        yield Step(name or "you", command, printed)


def pattern_of(line: str) -> str:
    return re.escape(line.rstrip()).replace(re.escape("..."), ".*")


class Staying:
    """A program in a terminal of its own that runs until Ctrl-C."""

    def __init__(self, command: str, env: Mapping[str, str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "-c", command], env=dict(env), cwd=folder, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.text = ""
        self._seen = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, line: str, timeout: float = 60) -> None:
        """Wait for a line, after those that were expected before."""
        pattern = re.compile(f"^{pattern_of(line)}\\s*$", re.MULTILINE)
        with self._changed:
            found = self._changed.wait_for(lambda: pattern.search(self.text, self._seen), timeout)
            assert found is not None, f"expected {line!r} in:\n{self.text}"
            self._seen = found.end()

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(20)

    def close(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(10)
        os.close(self._master)

    def _read(self) -> None:
        with suppress(OSError):  # how the end of a terminal looks
            while piece := os.read(self._master, 65536):
                with self._changed:
                    self.text = _COLOUR.sub("", self.text + piece.decode(errors="replace").replace("\r\n", "\n"))
                    self._changed.notify_all()


class Reader:
    """Somebody who does word for word what a page says.

    :param replace: what differs on this machine, such as ports, by what the page says.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str], *, staying: Mapping[str, int], replace: Mapping[str, str]
    ) -> None:
        self._folder, self._env, self._staying, self._replace = folder, env, staying, replace
        self._terminals: dict[str, Staying] = {}
        self.prelude = ""

    def follow(self, page: str, *, skip: frozenset[str] = frozenset(), files: Path) -> int:
        """Do all of it; returns the number of commands. The block named ``every`` opens each terminal."""
        for old, new in self._replace.items():
            page = page.replace(old, new)
        done = 0
        for step in steps_of(page):
            if isinstance(step, File):
                (files / step.name).write_text(step.text)
            elif step.terminal in skip:
                continue
            elif step.terminal == "every":
                self.prelude = f"{step.command} && "
            else:
                self._do(step)
                done += step.command is not None
        return done

    def close(self) -> None:
        for terminal in self._terminals.values():
            terminal.close()

    def _do(self, step: Step) -> None:
        if step.terminal not in self._staying:
            self._type(step)
            return
        if step.command == "^C":
            terminal = self._terminals[step.terminal]
            assert terminal.interrupt() == self._staying[step.terminal], terminal.text
        elif step.command is not None:
            self._terminals[step.terminal] = Staying(f"{self.prelude}exec {step.command}", self._env, self._folder)
        for line in step.printed:
            self._terminals[step.terminal].expect(line)

    def _type(self, step: Step) -> None:
        lines = [".*" if line == "..." else pattern_of(line) for line in step.printed]
        wanted = re.compile("\n".join(lines))
        for _ in range(_TRIES):
            done = subprocess.run(
                ["bash", "-c", f"{self.prelude}{step.command}"], env=dict(self._env), cwd=self._folder, text=True, timeout=600,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            text = "\n".join(line.rstrip() for line in done.stdout.splitlines())
            assert done.returncode == 0, f"$ {step.command}\n{text}"
            if wanted.fullmatch(text):
                return
            # Who types faster than the hub stores looks again; nothing else is typed twice.
            if not str(step.command).startswith("event-processor"):
                break
        raise AssertionError(f"$ {step.command}\nprinted:\n{text}\ninstead of:\n" + "\n".join(step.printed))
