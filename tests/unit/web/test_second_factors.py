"""How second factors are kept: encrypted with a key that is not in the database, and what happens where that key is gone."""

from __future__ import annotations

import base64
import logging
import os
import sqlite3
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyotp
import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, insert, select

from event_processor.settings import WebSection
from event_processor.store import tables as t
from event_processor.store.backup import backup
from event_processor.store.database import Database
from event_processor.store.people import reset_second_factor
from event_processor.web.auth import accounts
from event_processor.web.auth.factors import LOST, seal_all, use_code
from event_processor.web.auth.sealing import KEY_FILE, Sealer
from event_processor.web.auth.second import hash_code

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NOW = 1_790_000_000.0
KEY = base64.b64encode(bytes(range(224, 256))).decode()  # with + and / in it, as openssl prints one


@contextmanager
def store(url: str) -> Iterator[Connection]:
    database = Database(url)
    database.open()
    with database.connection.begin():
        yield database.connection
    database.close()


def person(connection: Connection, name: str = "ada", secret: str | None = SECRET, encrypted: bool = False) -> int:
    values = {"role": "admin", "password_hash": "x", "created_at": NOW, "changed_at": NOW}
    connection.execute(insert(t.users).values(name=name, totp_secret=secret, totp_encrypted=encrypted, **values))
    ident: int = connection.execute(select(t.users.c.id).where(t.users.c.name == name)).scalar_one()
    return ident


def kept(connection: Connection, name: str = "ada") -> tuple[str | None, bool]:
    row = connection.execute(select(t.users.c.totp_secret, t.users.c.totp_encrypted).where(t.users.c.name == name)).one()
    return row.totp_secret, bool(row.totp_encrypted)


def test_the_key_is_made_when_it_is_needed_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    sealer = Sealer(folder)
    assert sealer.open(1, "x") is None
    assert not folder.exists()
    sealed = sealer.seal(1, SECRET)
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == [KEY_FILE]
    assert SECRET not in sealed
    assert Sealer(folder).open(1, sealed) == SECRET, "after a restart too"
    assert sealer.seal(1, SECRET) != sealed


def test_a_secret_is_of_one_account_and_of_one_key(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path / "here")
    sealed = sealer.seal(1, SECRET)
    Sealer(tmp_path / "there").seal(1, SECRET)
    assert sealer.open(2, sealed) is None
    assert Sealer(tmp_path / "there").open(1, sealed) is None
    assert Sealer(tmp_path / "nowhere").open(1, sealed) is None
    assert sealer.open(1, sealed[:-4]) is None
    assert sealer.open(1, "ünlesbar") is None


def test_two_that_need_a_key_at_once_agree_on_one(tmp_path: Path) -> None:
    start, sealed = threading.Barrier(4), []

    def run() -> None:
        start.wait(10)
        sealed.append(Sealer(tmp_path).seal(1, SECRET))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [Sealer(tmp_path).open(1, each) for each in sealed] == [SECRET] * 4
    assert [each.name for each in tmp_path.iterdir()] == [KEY_FILE]


def test_a_key_that_is_given_is_used_and_what_the_file_encrypted_is_still_read(tmp_path: Path) -> None:
    old = Sealer(tmp_path).seal(1, SECRET)
    given = Sealer(tmp_path, WebSection(second_factor_key=KEY).second_factor_key)
    assert given.open(1, old) == SECRET
    new = given.seal(1, SECRET)
    assert Sealer(tmp_path).open(1, new) is None
    elsewhere = Sealer(tmp_path / "elsewhere", KEY)
    assert elsewhere.open(1, new) == SECRET
    assert not (tmp_path / "elsewhere").exists(), "no file is made where a key is given"


@pytest.mark.parametrize("wrong", ["short", KEY[:-2], f"{KEY}AAAA", "ü" * 43, KEY.replace("4", "!")])
def test_a_key_that_is_none_is_said_at_the_start_and_not_shown(wrong: str) -> None:
    with pytest.raises(ValidationError, match="32 random bytes") as refused:
        WebSection(second_factor_key=wrong)
    assert wrong not in str(refused.value)
    assert KEY not in repr(WebSection(second_factor_key=KEY))
    assert KEY not in repr(Sealer(Path(), KEY))


def test_a_file_that_holds_no_key_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / KEY_FILE).write_text("something else\n")
    with pytest.raises(OSError, match="holds no key"):
        Sealer(tmp_path).seal(1, SECRET)
    assert (tmp_path / KEY_FILE).read_text() == "something else\n"
    assert "something else" not in caplog.text
    assert "chmod 600" in caplog.text


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OSError, match="cannot be read"):
        Sealer(tmp_path / "state").seal(1, SECRET)

    def full(*given: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("event_processor.web.auth.sealing.os.fsync", full)
    with pytest.raises(OSError, match=r"cannot be written .* second_factor_key"):
        Sealer(tmp_path).seal(1, SECRET)
    assert [each.name for each in tmp_path.iterdir()] == ["state"], "and nothing half done is left"


def test_what_was_kept_in_plain_text_is_encrypted_and_still_works(store_url: str, tmp_path: Path) -> None:
    sealer, now = Sealer(tmp_path / "keys"), NOW
    with store(store_url) as connection:
        person(connection)
        person(connection, "bob", None)
    with store(store_url) as connection:
        assert seal_all(connection, sealer) == (1, ())
    with store(store_url) as connection:
        assert seal_all(connection, sealer) == (0, ()), "once"
        secret, encrypted = kept(connection)
        assert (encrypted, kept(connection, "bob")) == (True, (None, False))
        assert secret is not None
        assert SECRET not in secret
        code = pyotp.TOTP(SECRET).at(int(now))
        assert use_code(connection, sealer, 1, "000000", now) == ""
        assert use_code(connection, sealer, 1, code, now) == "password and second factor"
        assert use_code(connection, sealer, 1, code, now) == "", "and each code once"
        assert use_code(connection, sealer, 2, code, now) == ""


def test_neither_the_database_nor_a_backup_of_it_holds_the_secret(store_url: str, tmp_path: Path) -> None:
    with store(store_url) as connection:
        person(connection)
    with store(store_url) as connection:
        seal_all(connection, Sealer(tmp_path / "keys"))
    backup(store_url, tmp_path / "hub.backup")
    with zipfile.ZipFile(tmp_path / "hub.backup") as archive:
        for name in archive.namelist():
            assert SECRET.encode() not in archive.read(name), name
    if not store_url.startswith("postgresql"):
        with closing(sqlite3.connect(store_url)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert SECRET.encode() not in Path(store_url).read_bytes(), "nor a page that was written over"


def test_where_the_key_is_lost_nobody_gets_in_without_a_second_factor_and_all_is_said(
    store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with store(store_url) as connection:
        user = person(connection)
        seal_all(connection, Sealer(tmp_path / "keys"))
        accounts.put_recovery(connection, user, (hash_code("abcde-fghij"),))
    other = Sealer(tmp_path / "other")
    with store(store_url) as connection, caplog.at_level(logging.DEBUG):
        assert seal_all(connection, other) == (0, ("ada",))
        code = pyotp.TOTP(SECRET).at(int(NOW))
        assert use_code(connection, other, user, code, NOW) == "lost"
        assert use_code(connection, other, user, "ABCDE FGHIJ", NOW) == "password and recovery code"
        assert use_code(connection, other, user, "abcde-fghij", NOW) == "lost"
    assert "Two-factor of ada must be set up again" in LOST.format(name="ada")
    os.replace(tmp_path / "keys" / KEY_FILE, tmp_path / KEY_FILE)
    with store(store_url) as connection:
        put_back = Sealer(tmp_path)
        assert use_code(connection, put_back, user, code, NOW) == "password and second factor"


def test_a_second_factor_is_taken_away_with_its_codes_and_logins(store_url: str, tmp_path: Path) -> None:
    with store(store_url) as connection:
        user = person(connection)
        accounts.put_recovery(connection, user, (hash_code("abcde-fghij"),))
        secret = accounts.new_session(connection, user=user, now=NOW, expires_at=NOW + 60, address="::1", agent="")
        assert accounts.hash_secret(secret) in connection.execute(select(t.sessions.c.hash)).scalars().all()
        assert reset_second_factor(connection, "nobody", at=NOW, who="root") is None
        assert reset_second_factor(connection, " Ada ", at=NOW, who="root") is True
        assert reset_second_factor(connection, "ada", at=NOW, who="root") is False
    with store(store_url) as connection:
        assert kept(connection) == (None, False)
        assert connection.execute(select(t.sessions)).all() == []
        assert use_code(connection, Sealer(tmp_path), user, "abcde-fghij", NOW) == ""
        noted = connection.execute(select(t.audit.c.who, t.audit.c.action, t.audit.c.subject)).all()
        assert tuple(noted[0]) == ("root", "second_factor.reset", "ada")
