"""The commands that need no hub: rules, backups, lists, what the first hub left; what they print and how they end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from event_processor.domain.rule_file import check, load
from event_processor.store.batch import BatchWriter
from event_processor.store.database import Database
from event_processor.store.rows import rows_of
from tests.unit.commands.kit import Commands, in_process
from tests.unit.store.kit import outcome

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "rules.toml"
SETTINGS = """
[rabbitmq]
server_address = localhost
mq_exchange = home

[mqtt]
server_address = localhost

[app]
state_dir = {folder}/state

[output:siren]
type = siren
"""
BAD = """
[[rule]]
id = "one"
trigger = {device = "Door"}
condition = "event.value >"
action = {do = "sing"}
"""
SIREN = '[[rule]]\nid = "one"\ntrigger = {device = "Door"}\naction = {do = "output", output = "siren"}\n'


class Hub(Commands):
    """A folder with settings, in which commands are typed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(capsys)
        self.folder = folder
        (folder / "app.conf").write_text(SETTINGS.format(folder=folder))

    def store(self, outcomes: int) -> None:
        """A store with a little history."""
        (self.folder / "state").mkdir()
        database = Database(self.folder / "state" / "hub.db")
        database.open()
        rows = [rows_of(outcome(number, 1, ())) for number in range(outcomes)]
        BatchWriter(database.connection).write(rows, now=1.0)
        database.close()


@pytest.fixture
def hub(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with in_process(monkeypatch, {}):
        yield Hub(tmp_path, capsys)


def test_the_example_has_three_good_rules(hub: Hub) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert check(text) == []
    assert len(load(text).rule) == 3
    assert hub.json("rules", "check", str(EXAMPLE)) == {"file": str(EXAMPLE), "ok": True, "rules": 3, "problems": []}


def test_a_check_names_every_error_and_ends_with_1(hub: Hub) -> None:
    (hub.folder / "rules.toml").write_text(BAD)
    found = hub.json("rules", "check", code=1)
    assert found["ok"] is False
    assert {problem["rule"] for problem in found["problems"]} == {"one"}
    (hub.folder / "rules.toml").write_text(SIREN.replace('"siren"', '"sirene"'))
    said = hub.run("rules", "check")
    assert "warning: rule one" in said
    assert "sirene" in said


def test_a_file_is_checked_without_any_settings(hub: Hub) -> None:
    (hub.folder / "app.conf").unlink()
    assert "3 rules" in hub.run("rules", "check", str(EXAMPLE))
    assert "cannot be read" in hub.run("rules", "check", "none.toml", code=1)


def test_an_import_replaces_the_file_as_a_whole_and_keeps_the_one_before(hub: Hub) -> None:
    assert "they count from its next start" in hub.run("rules", "import", str(EXAMPLE))
    assert (hub.folder / "rules.toml").read_text() == EXAMPLE.read_text()
    (hub.folder / "bad.toml").write_text(BAD)
    assert "Nothing was changed" in hub.run("rules", "import", "bad.toml", code=1)
    (hub.folder / "new.toml").write_text(SIREN)
    done = hub.json("rules", "import", "new.toml")
    assert {one["what"] for one in done["differences"]} == {"removed", "added"}
    assert Path(done["kept"]).read_text() == EXAMPLE.read_text()
    assert [each.name for each in hub.folder.glob(".rules*")] == []


def test_an_export_is_read_as_the_same_rules(hub: Hub) -> None:
    (hub.folder / "rules.toml").write_text(EXAMPLE.read_text())
    assert load(hub.run("rules", "export")) == load(EXAMPLE.read_text())
    hub.run("rules", "export", "out.toml")
    assert "exists already" in hub.run("rules", "export", "out.toml", code=1)
    assert load((hub.folder / "out.toml").read_text()) == load(EXAMPLE.read_text())


def test_history_is_listed_backed_up_and_restored(hub: Hub) -> None:
    hub.store(30)
    assert [one["cause"] for one in hub.json("events", "--since", "2020-01-01", "--most", "2")] == ["cause-29", "cause-28"]
    assert "Door 9" in hub.run("events", "--since", "2020-01-01")
    assert "rows of" in hub.run("backup", "one.backup")
    assert "exists already" in hub.run("backup", "one.backup", code=1)
    assert "Add --replace" in hub.run("restore", "one.backup", code=1)
    done = hub.json("restore", "one.backup", "--replace")
    assert Path(done["kept"]).is_file()
    assert len(hub.json("events", "--since", "2020-01-01")) == 30
    assert (hub.json("state")["running"], hub.json("state")["mode"]) == (0, "home")
    assert "Mode: home\n" in hub.run("state")
    assert hub.json("devices") == []


def test_what_is_not_there_is_said_in_a_line(hub: Hub) -> None:
    for words in (
        ("events",),
        ("devices",),
        ("state",),
        ("backup", "new"),
        ("rules", "explain", "siren"),
        ("rules", "replay"),
    ):
        said = hub.run(*words, code=1)
        assert "There is no store at" in said
        assert said.count("\n") == 1
    assert "There is no file" in hub.run("restore", "nothing", code=1)
    assert "No hub runs" in hub.run("ask", "set_mode", "away", code=1)
    hub.store(1)
    (hub.folder / "rules.toml").write_text(SIREN)
    assert "no device has that name" in hub.run("rules", "explain", "lamp", code=1)


def test_wrong_words_end_with_2_and_help_with_0(hub: Hub) -> None:
    for words in (("rules",), ("rules", "check", "a", "b"), ("events", "--since", "soon"), ("backup",), ("nonsense",)):
        hub.run(*words, code=2)
    assert "import-original" in hub.run("--help")
    assert "--warm-up" in hub.run("rules", "replay", "--help")


def test_the_first_hubs_files_become_a_folder(hub: Hub) -> None:
    with closing(sqlite3.connect(hub.folder / "old.db")) as connection:
        connection.executescript(
            "CREATE TABLE input_config (id INTEGER PRIMARY KEY, device_key TEXT, device_type TEXT, device_enabled BOOLEAN);"
            "CREATE TABLE output_config (id INTEGER PRIMARY KEY, device_key TEXT, device_type TEXT, device_params TEXT);"
            "CREATE TABLE output_link (id INTEGER PRIMARY KEY, input_device_id INTEGER, output_device_id INTEGER);"
            "CREATE TABLE event_log (id INTEGER PRIMARY KEY, input_device TEXT, output_device TEXT, timestamp DATETIME);"
            "INSERT INTO input_config VALUES (1, 'Front Door', 'door', 1);"
            "INSERT INTO output_config VALUES (2, 'Siren', 'siren', '30');"
            "INSERT INTO output_link VALUES (3, 1, 2);"
            "INSERT INTO event_log VALUES (4, 'Front Door', 'Siren', '2024-05-01 12:00:00');"
        )
    done = hub.json("import-original", "--database", "old.db", "--into", "new")
    assert (done["rules"], done["events"]) == (1, 1)
    assert "Front Door" in (hub.folder / "new" / "rules.toml").read_text()
    assert (hub.folder / "new" / "imported.conf").stat().st_mode & 0o077 == 0
    assert "exists already" in hub.run("import-original", "--database", "old.db", "--into", "new", code=1)
    assert "1 rule, no errors" in hub.run("rules", "check", "new/rules.toml")
    assert "--database, --app-conf, or both" in hub.run("import-original", "--into", "other", code=1)


def test_a_misspelt_name_is_explained_with_the_name_that_it_may_be(hub: Hub) -> None:
    hub.store(3)
    (hub.folder / "rules.toml").write_text(
        '[[rule]]\nid = "alarm"\ntrigger = {device = "Dor 1"}\naction = {do = "output", output = "siren"}\n'
    )
    assert "has that name: did you mean alarm?" in hub.run("rules", "explain", "alrm", code=1)
    assert "it was never heard" in hub.run("rules", "explain", "alarm")
