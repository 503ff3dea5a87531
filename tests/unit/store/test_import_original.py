"""What the first hub left is understood, whichever of its versions wrote it, and what is not carried over is said."""

from __future__ import annotations

import configparser
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from event_processor.domain.rule_file import load
from event_processor.domain.rules import Count, Latch, Notify, SetOff, Trigger, Window
from event_processor.domain.schedules import make_schedule
from event_processor.settings.sections import OutputSection
from event_processor.store.import_original import convert, store_history
from event_processor.store.original import read_original
from event_processor.store.reader import Reader
from event_processor.store.series import Series
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import bench, event, outcome, rows

pytestmark = pytest.mark.timeout(60)

# As its schema script makes them: without the table ``heartbeat`` and without the columns that its programs came to expect.
OLD = """
CREATE TABLE general_config (id INTEGER PRIMARY KEY, config_key TEXT, config_value TEXT);
CREATE TABLE event_log (id INTEGER PRIMARY KEY, input_device TEXT, output_device TEXT, timestamp DATETIME);
CREATE TABLE input_config (id INTEGER PRIMARY KEY, device_key TEXT, device_type TEXT, device_label TEXT, customized BOOLEAN,
    activation_interval INTEGER, auto_schedule BOOLEAN, auto_schedule_enable TEXT, auto_schedule_disable TEXT,
    device_enabled BOOLEAN, multi_trigger BOOLEAN, group_name TEXT, info_notify BOOLEAN);
CREATE TABLE output_config (id INTEGER PRIMARY KEY, device_key TEXT, device_type TEXT, device_label TEXT, device_params TEXT);
CREATE TABLE input_link (id INTEGER PRIMARY KEY, input_device_id INTEGER, linked_device_id INTEGER);
CREATE TABLE output_link (id INTEGER PRIMARY KEY, input_device_id INTEGER, output_device_id INTEGER);
CREATE TABLE meter_config (id INTEGER PRIMARY KEY, input_device_id INTEGER, meter_value INTEGER, register_value INTEGER,
    meter_reading TEXT, meter_iot_topic TEXT, meter_low_limit INTEGER, meter_high_limit INTEGER, meter_reset_value INTEGER,
    meter_reset_additive BOOLEAN, meter_reading_unit TEXT, meter_reading_unit_factor INTEGER,
    meter_reading_unit_precision INTEGER);
"""
# What the last version's programs read and write.
NEW = (
    OLD.replace("activation_interval INTEGER,", "trigger_latch_duration INTEGER, multi_trigger_rate INTEGER,"
                " multi_trigger_interval INTEGER, activation_escalation INTEGER,")
    .replace("multi_trigger BOOLEAN, ", "")
    .replace("device_params TEXT)", "device_params TEXT, trigger_topic TEXT, trigger_interval INTEGER, device_enabled BOOLEAN,"
             " schedule TEXT)")
    + "CREATE TABLE heartbeat (dt DATETIME, ts INTEGER);"
)  # fmt: skip

CONF = """
[app]
max_message_validity_seconds=90
user_tz=Africa/Johannesburg
device_name=%(DEVICE_NAME)s
[info_notify]
not_before_time=7:30 AM
not_after_time=9:00 PM
[output_types]
snapshot = camera
[mqtt]
server_address = %(MQTT_SERVER_ADDRESS)s
subscription_sources = sensor,meter/+/x
[rabbitmq]
server_address = broker.lan
mq_exchange = home_automation
[telegram]
chat_room_id=12345
"""


def make(path: Path, schema: str, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema + script)
    return path


@pytest.fixture
def newest(tmp_path: Path) -> Path:
    return make(tmp_path / "new.db", NEW, """
        INSERT INTO input_config (id, device_key, device_type, device_label, device_enabled, trigger_latch_duration,
            multi_trigger_rate, multi_trigger_interval, activation_escalation, group_name, info_notify, auto_schedule,
            auto_schedule_enable, auto_schedule_disable)
        VALUES (1, 'Front Door', 'Sensor', 'The front "door"', 1, 30, 3, 20, 600, 'doors', NULL, 1, '22:00', '06:30'),
               (2, 'Back Door', 'Sensor', NULL, 0, NULL, 3, NULL, NULL, 'doors', 1, 0, '25:99', NULL),
               (3, 'Water Meter', 'Meter', 'Water', 1, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
               (4, 'Lonely', 'Sensor', NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '08:00', NULL);
        INSERT INTO output_config VALUES
            (1, 'Siren', 'ioboard', 'Siren', '5', 'event.trigger.x', 60, 1, NULL),
            (2, 'Front Camera', 'snapshot', 'Camera', 'user:pa55@10.0.0.5:88,rtsp', NULL, NULL, 0, 'daily'),
            (3, 'Text', 'sms', 'Text', NULL, NULL, NULL, 1, NULL), (4, 'Speaker', 'tts', 'Speaker', NULL, NULL, NULL, 1, NULL);
        INSERT INTO output_link (input_device_id, output_device_id)
            VALUES (1, 1), (1, 2), (1, 3), (2, 4), (3, 3), (9, 1);
        INSERT INTO input_link (input_device_id, linked_device_id) VALUES (1, 2);
        INSERT INTO meter_config VALUES (1, 3, 2, 1234, '2', 'meter/water/control', 0, 50, 0, 0, 'kl', 1000, 3);
        INSERT INTO event_log (input_device, output_device, timestamp) VALUES
            ('Front Door', 'Siren', '2026-03-01 22:15:00.250000'), ('Front Door', NULL, '2026-03-01T21:00:00+00:00'),
            (NULL, 'Siren', '2026-03-01 22:15:00'), ('Back Door', 'Text', 'yesterday');
        INSERT INTO heartbeat VALUES ('2026-03-01', 1);
        INSERT INTO general_config VALUES (1, 'auto_scheduler_enabled', 'true');
    """)  # fmt: skip


def test_the_first_hubs_rules_do_what_they_did(newest: Path, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(CONF)
    found = convert(read_original(newest, tmp_path / "app.conf"))
    assert load(found.rules_toml) == found.rules, "the rules are a file that can be read"
    rules = {rule.id: rule for rule in found.rules.rule}
    assert list(rules) == ["front-door", "front-door-escalation", "back-door", "water-meter"]
    front = rules["front-door"]
    assert front.name == 'The front "door"'
    assert front.enabled
    assert front.trigger == (Trigger(device="Front Door", on="level"),)
    assert front.latch == Latch(seconds=30)
    assert front.count == Count(times=3, within_s=20)
    assert front.max_age_s == 90
    assert front.action == (
        SetOff(output="Siren"),
        SetOff(output="Front Camera"),
        Notify(title='The front "door"', image=True),
    )
    assert front.window == ()
    assert rules["front-door-escalation"].for_s == 600
    back = rules["back-door"]
    assert not back.enabled
    assert back.latch is None
    assert back.count is None, "a rate without an interval was none"
    assert back.window == (Window(start="07:30", end="21:00"),)
    water = rules["water-meter"]
    assert water.condition == "event.value > 50"
    assert water.latch is None, "a latch of 0 is none, and disables nothing"
    assert found.rules.group == {"doors": ("Front Door", "Back Door")}


def test_what_the_first_hub_had_in_tables_becomes_sections(newest: Path, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text(CONF)
    found = convert(read_original(newest, tmp_path / "app.conf"))
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(found.app_conf)
    assert {section: dict(parser.items(section)) for section in parser.sections()} == found.sections
    sections = found.sections
    assert sections["output:Siren"] == {"type": "ioboard", "label": "Siren", "params": "5"}
    assert sections["output:Front Camera"]["type"] == "camera"
    assert sections["output:Front Camera"]["enabled"] == "no"
    assert "output:Text" not in sections
    for name, options in sections.items():
        if name.startswith("output:"):
            OutputSection.model_validate(options)
        if name.startswith("schedule:"):
            make_schedule(name.partition(":")[2], at=options["at"], do=[options["do"]])
    assert sections["schedule:front-door-enable"] == {"at": "22:00", "do": "enable rule front-door"}
    assert sections["schedule:front-door-disable"] == {"at": "06:30", "do": "disable rule front-door"}
    assert sections["hub"] == {"max_event_age_s": "90", "timezone": "Africa/Johannesburg"}
    assert sections["mqtt"] == {"subscribe": "sensor/#, meter/+/x"}
    assert sections["rabbitmq"] == {"server_address": "broker.lan", "mq_exchange": "home_automation"}


@pytest.mark.parametrize(
    "said",
    ["output_link 6", "Front Door and Back Door were linked", "auto_scheduler_enabled", "heartbeat", "[telegram] chat_room_id",
     "event.trigger.x", "at most once in 60 s", "'daily'", "Speaker: the first hub never sent", "Lonely: nothing was linked",
     "Lonely: it was armed by the clock", "'25:99', is not understood", "Water Meter: a limit of 0 meant none",
     "'meter/water/control'", "[mqtt] server_address: it was filled in from outside", "incident service"],
)  # fmt: skip
def test_what_was_not_carried_over_is_said(newest: Path, tmp_path: Path, said: str) -> None:
    (tmp_path / "app.conf").write_text(CONF)
    notes = convert(read_original(newest, tmp_path / "app.conf")).notes
    assert [note for note in notes if said in note], notes
    assert "pa55" not in " ".join(notes)


def test_the_event_log_and_the_registers_become_history_once(newest: Path, tmp_path: Path, store_url: str) -> None:
    (tmp_path / "app.conf").write_text(CONF)
    original = read_original(newest, tmp_path / "app.conf")
    assert store_history(original, store_url) == 2
    assert store_history(original, store_url) == 0
    reader = Reader(store_url)
    found = reader.events(device="Front Door").rows
    assert [each.at for each in found] == [1772398800.0, 1772396100.25], "22:15 in Johannesburg is 20:15 in UTC"
    explained = reader.explain(found[1].cause)
    assert explained is not None
    assert explained.evaluations[0].evaluation.explanation == "Front Door set off Siren, by the event log of the first hub"
    assert explained.steps == (), "nothing of it is done again"
    assert Series(reader).readings("Water Meter", 0, 4e9, points=1)[0].highest == 1234
    reader.close()


def test_files_that_are_none_are_refused_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    other = make(tmp_path / "other.db", "CREATE TABLE photos (name);", "")
    (tmp_path / "bad.conf").write_text("no section = 1")
    for database, conf, said in (
        (tmp_path / "nowhere.db", None, "no file"), (tmp_path / "text.db", None, "cannot be read"),
        (other, None, "no table input_config"), (None, tmp_path / "bad.conf", "cannot be read"),
        (None, tmp_path / "nowhere.conf", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            read_original(database, conf)
    assert not (tmp_path / "nowhere.db").exists()


def test_rows_that_make_no_sense_cost_themselves_alone(tmp_path: Path, store_url: str) -> None:
    odd = make(tmp_path / "odd.db", NEW, """
        INSERT INTO input_config (id, device_key, device_type, device_enabled, trigger_latch_duration, multi_trigger_rate,
            multi_trigger_interval, activation_escalation, auto_schedule_enable)
        VALUES (1, 'a' || char(10) || 'b]', x'00ff', 'yes', 'soon', -3, 0, 'x', 'noon'), (2, '', '', 1, 1, 1, 1, 1, ''),
               (3, '***', 'Sensor', 1, 1e300, 2, 2, 0, NULL), (4, '***', 'Sensor', 1, 5, 2, 2, 0, NULL);
        INSERT INTO output_config (id, device_key, device_type) VALUES (1, 'x]y', '!!'), (2, 'ok', 'bell');
        INSERT INTO output_link (input_device_id, output_device_id) VALUES (1, 2), (3, 2), (4, 2), (1, 1);
        INSERT INTO event_log (input_device, output_device, timestamp) VALUES (x'ff00', 5, 1e9), ('a', 'b', '2026');
    """)  # fmt: skip
    found = convert(read_original(odd))
    assert load(found.rules_toml) == found.rules
    assert [rule.id for rule in found.rules.rule] == ["a-b", "device", "device-2"]
    assert found.sections.keys() == {"output:ok"}
    store_history(read_original(odd), store_url)


# -- what the first hub got wrong, and this one must not --


def test_every_decision_and_every_reading_is_on_record(runtime: Runtime, store_url: str) -> None:
    """The first hub's last version never wrote its event log and never updated a reading, and no version made the rows of its
    meters: the history is written by the store itself, for every event, and needs no row to be there before."""
    from event_processor.domain.meters import Meter, measure
    from event_processor.domain.records import MeterRecord

    said = [event(n * 60, device="Water", kind="meter", value=100 + n, minute=1) for n in range(3)]
    state = None
    with bench(runtime, store_url) as b:
        for number, each in enumerate(said):
            measured = measure(each, state, Meter(key="Water"))
            assert measured is not None
            state = measured.state
            decided = outcome(number, steps=1, event=each, changes=(measured.change("Water"),))
            b.stored([decided, MeterRecord(cause=decided.cause, reading=measured.reading, added=measured.added)])
    assert rows(store_url, "events", "count(*)") == [(3,)]
    assert rows(store_url, "evaluations", "count(*)") == [(3,)]
    assert rows(store_url, "steps", "count(*)") == [(3,)]
    assert rows(store_url, "readings", "register", "at") == [(100.0,), (101.0,), (102.0,)]
    assert rows(store_url, "totals", "sum(amount)") == [(6.0,)], "2 in the hours, 2 in the days, 2 in the months"


def test_a_first_start_needs_no_backup_and_no_script(tmp_path: Path, runtime: Runtime) -> None:
    """The first hub's schema script lacked a table and ten columns, there were no migrations, and a first boot without a
    backup failed. Here the first start makes the schema, and what the old script made can be imported."""
    with bench(runtime, tmp_path / "deep" / "er" / "hub.db") as b:
        assert b.writer.health().ok
        b.stored(outcome(1))
    old = make(tmp_path / "old.db", OLD, """
        INSERT INTO input_config (id, device_key, device_type, device_enabled, activation_interval, multi_trigger)
            VALUES (1, 'Gate', 'Sensor', 1, NULL, 1), (2, 'Shed', 'Sensor', NULL, 5, NULL), (3, 'Gas', 'meter', 1, 0, 0);
        INSERT INTO output_config VALUES (1, 'Siren', 'ioboard', 'Siren', NULL);
        INSERT INTO output_link (input_device_id, output_device_id) VALUES (1, 1), (2, 1), (3, 1);
    """)  # fmt: skip
    found = convert(read_original(old))
    assert load(found.rules_toml) == found.rules
    gate, shed, gas = found.rules.rule
    assert gas.condition == "false", "without limits its readings set nothing off"
    assert (gate.latch, gate.count, gate.enabled) == (Latch(seconds=60), Count(times=2, within_s=10), True)
    assert (shed.latch, shed.count, shed.enabled) == (Latch(seconds=5), None, False)
    assert "The database has no table heartbeat: taken as empty." in found.notes


def test_events_share_their_commits(tmp_path: Path, runtime: Runtime) -> None:
    """The first hub committed each event by itself: about three a second with fifteen inputs, on an SD card."""
    from event_processor.store.database import Database

    commits: list[str] = []

    def count(raw: sqlite3.Connection) -> None:
        raw.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)

    with bench(runtime, tmp_path / "hub.db", database=Database(tmp_path / "hub.db", on_connect=count)) as b:
        commits.clear()
        for first in range(0, 1000, 10):
            b.send([outcome(n) for n in range(first, first + 10)])
        b.until(lambda: b.writer.health().stored == 1000)
        assert len(commits) < 101, "at most one for each message, and fewer where several were ready"
    assert rows(tmp_path / "hub.db", "events", "count(*)") == [(1000,)]
