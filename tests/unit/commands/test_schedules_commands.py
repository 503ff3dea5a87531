"""``event-processor schedules``, and where a hub looks for the file of schedules."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_processor import cli
from event_processor.commands.arguments import make_parser
from event_processor.settings import all_schedules, load, read_schedules
from pylib.config import AppConfig
from pylib.errors import ConfigError
from tests.unit.commands.kit import Commands, in_process

SETTINGS = """
[rabbitmq]
server_address = localhost
mq_exchange = home
[mqtt]
server_address = localhost
[hub]
timezone = Europe/Berlin
[schedule:evening]
at = 22:30
do = mode night
"""
FILE = '[[schedule]]\nid = "morning"\nat = "07:00"\ndays = "mon-fri"\ndo = "mode home"\nenabled = false\n'


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    (tmp_path / "app.conf").write_text(SETTINGS)
    with in_process(monkeypatch, {"APP_CONFIG": str(tmp_path / "app.conf"), "APP_STATE_DIR": str(tmp_path / "state")}):
        yield Commands(capsys)


def test_a_file_is_checked_by_itself_and_beside_app_conf(typed: Commands, tmp_path: Path) -> None:
    path = tmp_path / "schedules.toml"
    assert "cannot be read" in typed.run("schedules", "check", code=1)
    path.write_text(FILE)
    assert typed.run("schedules", "check") == f"{path}: 1 schedules, no errors.\n"
    path.write_text(FILE.replace("07:00", "7").replace("mode home", "fly"))
    said = typed.json("schedules", "check", code=1)
    assert [(each["schedule"], each["field"]) for each in said["problems"]] == [("morning", "at"), ("morning", "do")]
    path.write_text(FILE.replace("morning", "Evening") + FILE.replace('at = "07:00"', 'sun = "dawn"'))
    assert typed.run("schedules", "check", str(path), code=1).splitlines() == [
        f"{path}: error: schedule Evening: id: app.conf has [schedule:evening] too: give one another id",
        f"{path}: error: schedule morning: sun: the hub does not know where it is; set latitude and longitude in [hub]",
        f"{path}: 2 errors.",
    ]


def test_schedules_are_listed_with_the_file_that_each_is_in(typed: Commands, tmp_path: Path) -> None:
    (tmp_path / "schedules.toml").write_text(FILE)
    lines = typed.run("schedules", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["schedule", "evening", "morning"]
    assert lines[1].endswith("22:30:00  app.conf")
    assert lines[2].split() == ["morning", "07:00", "mon-fri", "no", "schedules.toml"]
    assert [each["on"] for each in typed.json("schedules", "list")] == [True, False]


def settings_with(folder: Path, more: str = "") -> AppConfig:
    (folder / "app.conf").write_text(SETTINGS + more)
    return AppConfig(folder / "app.conf", environ={})


def test_the_file_is_beside_app_conf_or_where_it_is_said_to_be(tmp_path: Path) -> None:
    settings = load(settings_with(tmp_path))
    assert settings.schedules_path == tmp_path / "schedules.toml"
    assert read_schedules(settings).schedule == ()
    (tmp_path / "schedules.toml").write_text(FILE)
    assert [each.id for each in all_schedules(settings, read_schedules(settings), 0.0)] == ["evening", "morning"]
    elsewhere = SETTINGS.replace("[hub]", "[hub]\nschedules = more/of-them.toml")
    (tmp_path / "app.conf").write_text(elsewhere)
    with pytest.raises(ConfigError, match=r"of-them\.toml: the schedules cannot be read"):
        read_schedules(load(AppConfig(tmp_path / "app.conf", environ={})))


def test_two_sections_that_come_to_the_same_schedule_are_an_error_and_neither_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(settings_with(tmp_path, "[schedule:Evening]\nat = 21:00\ndo = mode home\n"))
    assert "[schedule:evening] and [schedule:Evening] are the same schedule" in str(caught.value)


def test_every_command_but_those_that_run_the_hub_ends_by_itself() -> None:
    (commands,) = (each for each in make_parser()._actions if isinstance(each, argparse._SubParsersAction))
    assert set(commands.choices) - {"run", "check", "demo"} == cli._TOOLS
