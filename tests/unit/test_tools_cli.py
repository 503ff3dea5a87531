"""The command pylib: what a person sees of dead letters, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.doorbell import Doorbell
from pylib.delivery.letters import Letter
from pylib.delivery.retry import RetryStore
from pylib.tools.cli import main
from pylib.tools.preview import preview, visible

pytestmark = pytest.mark.leak_check


def letter(body: bytes = b'{"on": true}', **more: object) -> Letter:
    values: dict[str, object] = {
        "origin": "subscriber", "broker": "mqtt://127.0.0.1:1883", "address": "home/kitchen", "key": "kitchen",
        "body": body, "received_at": 1_700_000_000.0, "tries": 5, "error": "ValueError: no", **more,
    }  # fmt: skip
    return Letter(**values)  # type: ignore[arg-type]


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[DeadLetters]:
    dead = DeadLetters(tmp_path / "delivery.db")
    yield dead
    dead.close()


class Tool:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def __call__(self, verb: str, *arguments: str) -> tuple[int, str, str]:
        code = main(["dead-letters", verb, "--state-dir", str(self._folder), *arguments])
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(tmp_path, capsys)


def test_the_list_has_a_line_for_each_and_says_how_many_there_are(dead: DeadLetters, tool: Tool) -> None:
    for _ in range(3):
        dead.add(letter())
    code, out, err = tool("list", "--limit", "2")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["ID", "GIVEN", "UP", "TRIES", "ADDRESS", "REASON"]
    assert [line.split()[0] for line in lines[1:-1]] == ["3", "2"]
    assert lines[1].endswith("home/kitchen  ValueError: no")
    assert lines[-1] == "2 of 3 dead letters, 0 waiting for another try. --offset 2 goes on."


def test_a_place_without_a_file_is_named(tool: Tool, tmp_path: Path) -> None:
    code, out, err = tool("list")
    assert code == 0
    assert out == "0 dead letters, 0 waiting for another try.\n"
    assert f"There is no {tmp_path}/delivery.db" in err
    assert "--state-dir" in err
    assert list(tmp_path.iterdir()) == []


def test_other_applications_are_named_where_the_folder_follows_from_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    other = DeadLetters(tmp_path / "hub" / "delivery.db")
    other.add(letter())
    other.close()
    assert main(["dead-letters", "list", "--app", "nobody"]) == 0
    assert "--app NAME looks for another one, and there are hub." in capsys.readouterr().err
    assert main(["dead-letters", "list", "--app", "hub"]) == 0
    assert capsys.readouterr().out.endswith("1 dead letter, 0 waiting for another try.\n")


def test_one_is_shown_whole_and_without_its_secrets(dead: DeadLetters, tool: Tool) -> None:
    body = msgspec.msgpack.encode({"data": {"token": "hunter2", "deep": [{"password": "hunter2", "n": 7}]}})
    ident = dead.add(
        letter(
            body, content_type="application/msgpack", headers={"auth_token": "hunter2", "hop": 1},
            error="ValueError: amqp://me:hunter2@host/", traceback="Traceback (most recent call last):\n  line 1",
        )
    )  # fmt: skip
    for arguments in ((), ("--json",)):
        code, out, _ = tool("show", str(ident), *arguments)
        assert code == 0
        assert "hunter2" not in out
        assert "***" in out
        assert "home/kitchen" in out
        assert "line 1" in out
        assert '"n": 7' in out
    shown = json.loads(out)
    assert shown["payload"]["data"]["deep"] == [{"password": "***", "n": 7}]
    assert shown["headers"] == {"auth_token": "***", "hop": "1"}


def test_json_can_be_read_by_a_program(dead: DeadLetters, tool: Tool) -> None:
    dead.add(letter())
    listed = json.loads(tool("list", "--json")[1])
    assert [found["ident"] for found in listed["dead_letters"]] == [1]
    assert (listed["count"], listed["waiting"], listed["dropped"]) == (1, 0, 0)
    assert json.loads(tool("replay", "1", "--json")[1]) == {"replayed": 1, "ids": [1], "refused": []}
    code, out, err = tool("drop", "1", "--json")
    assert code == 1
    assert json.loads(out)["dropped"] == 0
    assert "no dead letter 1" in err


def test_a_replay_reaches_the_running_application(dead: DeadLetters, tmp_path: Path) -> None:
    ident = dead.add(letter())
    store = RetryStore(tmp_path / "delivery.db", "subscriber")
    assert not store.waiting_keys()
    bell = Doorbell(tmp_path / "delivery.db")
    command = [sys.executable, "-m", "pylib.tools.cli", "dead-letters", "replay", str(ident)]
    done = subprocess.run([*command, "--state-dir", str(tmp_path)], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "1 dead letter to be tried again: now if the application runs, else when it starts.\n"
    assert bell.drain() is True
    bell.close()
    store.refresh()
    assert [found.ident for found in store.due(2e9)] == [ident]
    store.close()


def test_an_expired_one_is_replayed_with_force_only(dead: DeadLetters, tool: Tool) -> None:
    fresh, stale = dead.add(letter()), dead.add(letter(expires_at=1.0))
    code, out, err = tool("replay", str(stale), str(fresh))
    assert code == 1
    assert out.startswith("1 dead letter to be tried again")
    assert "expired" in err
    assert "--force" in err
    assert tool("replay", "--all")[0] == 1
    assert tool("replay", "--all", "--force")[0] == 0
    assert dead.count() == 0


def test_all_are_dropped_only_on_purpose(dead: DeadLetters, tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    dead.add(letter(address="a"))
    dead.add(letter(address="b"))
    with pytest.raises(SystemExit) as stopped:
        tool("drop", "--all")
    assert stopped.value.code == 2
    assert "add --yes" in capsys.readouterr().err
    assert tool("drop", "--all", "--yes", "--address", "a")[:2] == (0, "1 dead letter dropped.\n")
    assert dead.count() == 1
    assert tool("drop", "--all", "--yes", "--address", "a")[:2] == (0, "There are no such dead letters.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["dead-letters"], ["dead-letters", "show"], ["dead-letters", "show", "x"], ["dead-letters", "show", "0"],
        ["dead-letters", "replay"], ["dead-letters", "replay", "1", "--all"], ["dead-letters", "drop"],
        ["dead-letters", "drop", "1", "--address", "a"], ["dead-letters", "list", "--limit", "0"], ["other"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: pylib" in capsys.readouterr().err


def test_a_settings_file_says_where(dead: DeadLetters, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead.add(letter())
    settings = tmp_path / "hub.conf"
    settings.write_text(f"[app]\nstate_dir = {tmp_path}\n")
    assert main(["dead-letters", "list", "--config", str(settings)]) == 0
    assert capsys.readouterr().out.endswith("1 dead letter, 0 waiting for another try.\n")
    assert main(["dead-letters", "list", "--config", str(tmp_path / "none.conf")]) == 1
    assert "none.conf" in capsys.readouterr().err


def test_a_file_of_another_program_is_an_error_in_one_line(tool: Tool, tmp_path: Path) -> None:
    import sqlite3

    foreign = sqlite3.connect(tmp_path / "delivery.db")
    foreign.execute("CREATE TABLE recipes (name TEXT)")
    foreign.close()
    code, out, err = tool("list")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "another program" in err


def test_a_reader_that_has_enough_is_no_error(dead: DeadLetters, tmp_path: Path) -> None:
    for _ in range(300):
        dead.add(letter(error="ValueError: " + "x" * 900))
    command = [sys.executable, "-m", "pylib.tools.cli", "dead-letters", "list", "--json", "--limit", "300"]
    with subprocess.Popen(
        [*command, "--state-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == ""
        assert child.wait(30) == 0


def test_nothing_in_a_message_can_draw_on_the_terminal(dead: DeadLetters, tool: Tool) -> None:
    nasty = "\x1b[2J\u202e\x07"
    dead.add(letter(nasty.encode(), error=f"E: {nasty}\nfake line", address=f"a{nasty}", headers={nasty: nasty}))
    dead.add(letter(msgspec.json.encode({nasty: nasty + "\x9b"})))
    for out in (tool("list")[1], tool("show", "1")[1], tool("show", "2")[1]):
        assert not set(out) & set("\x1b\x07\x9b\u202e")
    assert "\nfake line" not in tool("show", "1")[1]


@pytest.mark.parametrize(
    ("body", "content_type", "kind", "text"),
    [
        (b"", None, "empty", ""),
        (b'{"a":1}', None, "JSON", '{\n  "a": 1\n}'),
        (b"21.5", "application/json", "JSON", "21.5"),
        (msgspec.msgpack.encode([1, b"x"]), None, "MessagePack", '[\n  1,\n  "eA=="\n]'),
        (b"\x81\xa1a\x01", "application/json", "binary", "81 a1 61 01"),
        ("warm è 21°".encode(), None, "text", "warm è 21°"),
        (b"login password=hunter2, user=me", "text/plain", "text", "login password=***, user=me"),
        (b"\xff\xfe\x00", None, "binary", "ff fe 00"),
        (b"a\x00b", None, "binary", "61 00 62"),
    ],
)
def test_a_payload_is_decoded_as_far_as_it_can_be(body: bytes, content_type: str | None, kind: str, text: str) -> None:
    shown = preview(body, content_type)
    assert (shown.kind, shown.text) == (kind, text)


@pytest.mark.parametrize("body", [b"password" * 400_000, b"a" * 3_000_000, b"[" * 3_000_000, b"\xff" * 3_000_000])
@pytest.mark.timeout(20)
def test_a_huge_payload_is_shown_in_part_and_soon(body: bytes) -> None:
    assert len(preview(body, None).text) < 21_000


def test_what_is_visible_stays_as_it_is() -> None:
    assert visible("Küche 21°") == "Küche 21°"
    assert visible("a\tb\nc", lines=True) == "a\tb\nc"
    assert visible("a\nb") == "a\\nb"
