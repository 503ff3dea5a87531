"""What is shown and chosen of a message, and what a recording is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec
import pytest

from pylib.errors import ConfigError
from pylib.tools.messages import Seen, matcher, shown_json, shown_line
from pylib.tools.record import Entry, Head, entries, seconds


def seen(body: bytes, **more: object) -> Seen:
    values: dict[str, object] = {"via": "mqtt", "address": "a/b", "body": body, "at": 1_700_000_000.0, **more}
    return Seen(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"on": true, "token": "hush"}', '{"on": true, "token": "***"}'),
        (msgspec.msgpack.encode({"t": 21.5}), '{"t": 21.5}'),
        (b"plain text\nof two lines", "plain text\\nof two lines"),
        (b"\xff\xd8\xff\xe0", "ff d8 ff e0"),
        (b"", "(empty)"),
        (b"password=hush", "password=***"),
        ("\x1b[2J\u202e".encode(), "\\x1b[2J\\u202e"),
    ],
)
def test_a_body_is_shown_decoded_on_one_line_without_secrets_or_power_over_the_terminal(body: bytes, shown: str) -> None:
    line = shown_line(seen(body, headers={"api-key": "hush", "b": "1"}, retain=True))
    assert line.endswith(f" a/b retained api-key=*** b=1  {shown}")
    assert "hush" not in shown_json(seen(body, headers={"api-key": "hush"}))
    assert json.loads(shown_json(seen(body)))["size"] == len(body)


def test_a_long_body_is_cut_and_says_how_long_it_is() -> None:
    assert shown_line(seen(b"x" * 5000)).endswith("xxx... (5000 bytes)")


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        (["type=door"], True),
        (["type=window"], False),
        (["type!=window", "value.open=true"], True),
        (["value.list.1=2"], True),
        (["value.list.7=2"], False),
        (["nowhere!=1"], True),
        (["number=1.0"], True),
        (['text="7"'], True),
        (["text=7"], True),
    ],
)
def test_where_chooses_by_values_in_the_body(conditions: list[str], chosen: bool) -> None:
    body = {"type": "door", "value": {"open": True, "list": [1, 2]}, "number": 1, "text": "7"}
    assert matcher(conditions)(seen(json.dumps(body).encode())) is chosen


def test_a_condition_without_a_value_is_refused() -> None:
    for wrong in ("door", "=1", "!=1"):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            matcher([wrong])


def test_times_are_read_as_people_write_them() -> None:
    assert [seconds(each) for each in ("90", "60s", "10min", "2h", "500ms", "1.5m")] == [90, 60, 600, 7200, 0.5, 90]
    with pytest.raises(argparse.ArgumentTypeError, match="no time"):
        seconds("soon")


def test_a_recording_that_was_broken_off_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    entry = Entry(t=0.5, via="mqtt", address="a", body=b"\x00\xff", qos=1)
    lines = [msgspec.json.encode(each) for each in (Head(version=1, began=1.0), entry, entry)]
    file = tmp_path / "r.jsonl"
    file.write_bytes(b"\n".join(lines)[:-9])
    assert list(entries(file)) == [entry]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a recording"),
        ('{"pylib-record":9,"began":1}\n', "version 9"),
        ('{"pylib-record":1,"began":1}\n{"t":"x"}\n', "line 2"),
    ],
)
def test_what_is_no_recording_is_said_with_the_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        list(entries(file))
