"""Commands of ``event-processor`` typed in this very process: a hundred times as quick as starting one for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from event_processor.commands.main import main
from pylib.config import app_config


class Commands:
    """Runs commands, and gives what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints: on standard error where it has to fail and says something there."""
        app_config.reset()
        try:
            ended: object = main(words)
        except SystemExit as error:
            ended = error.code
        out, err = self._capsys.readouterr()
        assert ended == code, out + err
        return str(out if code != 1 or not err else err)

    def json(self, *words: str, code: int = 0) -> Any:
        """What a command prints for programs."""
        return json.loads(self.run(*words, "--json", code=code))


@contextmanager
def in_process(monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str]) -> Iterator[None]:
    """The environment of a command, in the block."""
    monkeypatch.setattr("pylib.observe.logging.configure_logging", lambda *given: None)  # the log is the whole process's
    for name in ("APP_CONFIG", "APP_STATE_DIR", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP_NAME", "event-processor")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    yield
    app_config.reset()
