"""What commands work on: the settings, the store, the rules, and hubs that run."""

from __future__ import annotations

import getpass
import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final

import msgspec

from event_processor.app import DATABASE
from event_processor.commands.arguments import AGO
from event_processor.domain.rule_file import RuleFile
from event_processor.domain.rule_file import load as load_rules
from event_processor.settings import House, HubSettings, load
from event_processor.store.database import file_of, parse_url
from event_processor.store.reader import Reader
from pylib.config import app_config, load_settings
from pylib.config.folders import state_folder
from pylib.errors import ConfigError, PylibError
from pylib.observe.control import ask, running

__all__ = [
    "ask_hubs", "existing_store", "house", "moment", "read_file", "reader", "rules_of", "settings_if_any", "span", "store",
    "user",
]  # fmt: skip

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def house() -> House:
    """``[hub]``. Raises ``ConfigError``."""
    return load_settings(House, "hub", app_config)


def store(house: House) -> str | Path:
    """The hub's store: a file, or the URL of a database."""
    return house.database or state_folder(application="event-processor") / DATABASE


def existing_store(house: House) -> str | Path:
    """The hub's store. Raises ``ConfigError`` where it is a file that is not there."""
    found = store(house)
    file = file_of(parse_url(found))
    if file is not None and not file.exists():
        raise ConfigError(f"There is no store at {file}: start the hub once, or name its settings with --config.")
    return found


def reader(house: House) -> Reader:
    """Opens the store for reading. Raises ``ConfigError`` where there is none."""
    return Reader(existing_store(house))


def settings_if_any() -> HubSettings | None:
    """All settings, or None where there is no settings file at all. Raises ``ConfigError`` for those that are wrong."""
    if app_config.env("APP_CONFIG") is None and not app_config.path.exists():
        return None
    return load(app_config)


def read_file(path: Path) -> str:
    """The text of a file. Raises ``ConfigError``."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path} cannot be read ({why}).") from None


def rules_of(path: Path) -> RuleFile:
    """The rules of a file. Raises ``ConfigError`` with everything that is wrong with it."""
    return load_rules(read_file(path), str(path))


def span(text: str) -> float:
    """Seconds of a span such as 7d."""
    found = AGO.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no span of time such as 30m, 1h or 7d.")
    return float(found[1]) * _UNITS[found[2]]


def moment(text: str, zone: tzinfo) -> float:
    """The moment that ``--since`` or ``--until`` names, in seconds since the epoch; without a zone it is the house's."""
    if AGO.fullmatch(text):
        return time.time() - span(text)
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).timestamp()


def user() -> str:
    """Who is at the command line, for the audit and for explanations."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "Somebody at the command line"


def ask_hubs(request: dict[str, object]) -> list[dict[str, object]]:
    """Ask every hub that runs with these settings; their answers, none where none runs.

    Raises ``PylibError`` with what a hub answers that does not want to.
    """
    answers = []
    for path in running(state_folder(application="event-processor")):
        try:
            ask(path, {"ask": "level"})
        except PylibError:
            continue  # a socket of a hub that was killed
        try:
            answer = ask(path, request)
        except PylibError as error:
            _, _, text = str(error).partition("Error: ")
            raise PylibError(f"The running hub says: {text or error}") from None
        answers.append(msgspec.convert(answer, dict[str, object]))
    return answers
