"""The commands beside a running hub: new rules without a restart, wishes, explanations, a replay, a backup under load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import Home, publish
from tests.unit.commands.kit import Commands, in_process

ALARM = """
[[rule]]
id = "alarm"
name = "Alarm"
trigger = {device = "Front Door"}
modes = ["away", "night"]
action = {do = "output", output = "siren"}

[[rule]]
id = "open"
trigger = {device = "Front Door"}
for_s = 1.5
action = {do = "command", topic = "lamp/set", payload = "ON"}
"""
DOOR = '{{"input_location": "Front", "input_1": {{"input_label": "Door", "sample_value": {value}, "active": {active}}}}}'


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    (tmp_path / "rules.toml").write_text(ALARM)
    home = Home.of(tmp_path, mosquitto, rabbitmq)
    configuration = tmp_path / "app.conf"
    configuration.write_text(configuration.read_text().replace("* Door = siren\n", ""))
    return home


@pytest.fixture
def typed(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """The commands, with the hub's settings."""
    monkeypatch.chdir(home.folder)
    with in_process(monkeypatch, {name: value for name, value in home.env.items() if name != "PYTHONPATH"}):
        yield Commands(capsys)


def door(mosquitto: Mosquitto, active: bool, value: int = 1) -> None:
    publish(mosquitto, "sensor/front", DOOR.format(value=value, active=str(active).lower()))


def until(typed: Commands, *words: str, holds: Callable[[Any], bool]) -> Any:
    """Ask again until it is so: the store is written a moment after the decision."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = typed.json(*words)
        if holds(found):
            return found
    raise AssertionError(f"{words}: {found}")


def test_why_did_the_siren_not_sound_and_what_would_other_rules_have_done(
    home: Home, typed: Commands, mosquitto: Mosquitto
) -> None:
    with home.running_hub():
        before = typed.run("rules", "explain", "siren")
        assert "Nothing that could have set off siren was heard since" in before
        assert "Alarm: device Front Door (activation); it was never heard" in before

        door(mosquitto, True)
        until(typed, "events", "--kind", "input", holds=lambda found: len(found) == 1)
        text = typed.run("rules", "explain", "siren")
        assert "It was not." in text
        assert "the mode is home" in text
        assert "no   mode:" in text

        assert "the mode is night now" in typed.run("ask", "set_mode", "night")
        typed.run("ask", "set_mode", "holiday", code=1)
        door(mosquitto, False)
        door(mosquitto, True)
        answer = until(typed, "rules", "explain", "siren", holds=lambda found: found["did"])
        assert answer["steps"][0]["step"]["output"] == "siren"
        assert typed.json("state")["mode"] == "night"
        assert [one["key"] for one in typed.json("devices", "front*")] == ["Front Door"]
        until(typed, "rules", "explain", "open", holds=lambda found: found["did"])

        # The same rules come to the same decisions on what was stored; others to other ones.
        same = typed.json("rules", "replay", "--since", "1h", "--with", "rules.toml")
        assert same["differing"] == []
        assert same["events"] >= 4
        live = [one for one in typed.json("rules", "explain")["evaluations"] if one["fired"] and one["rule"]]
        assert sum(count for rule, count in same["fired_before"].items() if rule) == len(live)
        (home.folder / "new.toml").write_text(ALARM.replace('modes = ["away", "night"]\n', ""))
        other = typed.json("rules", "replay", "--since", "1h", "--with", "new.toml")
        assert [one["rule"] for one in other["differing"]] == ["alarm"]
        assert "alarm" in typed.run("rules", "replay", "--since", "1h", "--with", "new.toml")


def test_rules_are_imported_while_the_hub_runs_and_what_has_begun_goes_on(
    home: Home, typed: Commands, mosquitto: Mosquitto
) -> None:
    rules = ALARM.replace("for_s = 1.5", "for_s = 5")
    (home.folder / "rules.toml").write_text(rules)
    with home.running_hub():
        door(mosquitto, True)
        until(typed, "state", holds=lambda found: any("hold:open" in one["what"] for one in found["timers"]))
        new = home.folder / "new.toml"
        new.write_text("[[rule]]\nid = 'alarm'\ntrigger = {}\n")
        said = typed.run("rules", "import", "new.toml", code=1)
        assert "Nothing was changed" in said
        assert (home.folder / "rules.toml").read_text() == rules

        text = "# Kept as it was written.\n" + rules.replace('name = "Alarm"\n', 'name = "Siren"\n')
        new.write_text(text)
        assert "changed: alarm (name)" in typed.run("rules", "import", "new.toml", "--dry-run")
        said = typed.run("rules", "import", "new.toml")
        assert "The running hub goes on with them." in said
        assert (home.folder / "rules.toml").read_text() == text
        kept = list(home.folder.glob("rules.toml.before-*"))
        assert [each.read_text() for each in kept] == [rules]
        # The wait that had begun before ends as it would have.
        until(typed, "rules", "explain", "open", holds=lambda found: found["did"])
        assert 'name = "Siren"' in typed.run("rules", "export")
    assert "No hub runs" in typed.run("ask", "reload", code=1)


def test_a_backup_is_made_and_restored_by_command(home: Home, typed: Commands, mosquitto: Mosquitto) -> None:
    with home.running_hub() as hub:
        for value in range(50):
            door(mosquitto, value % 2 == 0, value)
        until(typed, "events", "--kind", "input", "--most", "100", holds=lambda found: len(found) >= 40)
        assert "rows of" in typed.run("backup", "hub.backup")
        assert "exists already" in typed.run("backup", "hub.backup", code=1)
        assert "running" in typed.run("restore", "hub.backup", "--replace", code=1)
        assert hub.stop() == 0
    assert "--replace" in typed.run("restore", "hub.backup", code=1)
    done = typed.json("restore", "hub.backup", "--replace")
    assert Path(done["kept"]).exists()
    assert len(typed.json("events", "--kind", "input", "--most", "100")) >= 40
    with home.running_hub():
        assert typed.json("state")["running"] == 1


def test_a_file_of_rules_that_is_gone_leaves_the_running_hub_its_rules(home: Home, typed: Commands) -> None:
    file = home.folder / "rules.toml"
    with home.running_hub():
        kept = file.read_text()
        file.unlink()
        assert "is gone. The hub keeps its rules: put the file back" in typed.run("ask", "reload", code=1)
        file.write_text(kept)
        assert "The hub goes on with" in typed.run("ask", "reload")
        file.write_text("")
        assert "The hub goes on with" in typed.run("ask", "reload")
