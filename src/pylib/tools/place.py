"""Which application is meant: its settings, its state folder, and the socket by which a running one can be asked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from pylib.config.appconfig import AppConfig
from pylib.config.folders import state_folder
from pylib.errors import PylibError
from pylib.observe.control import ask, running

__all__ = ["About", "about", "add_place", "asked", "config_of", "control_of", "folder_of"]

T = TypeVar("T")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a running application says of itself; ``since`` is when it started, in seconds since the epoch."""

    name: str = ""
    pid: int = 0
    since: float = 0.0


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which application is meant."""
    where = parser.add_argument_group("which application")
    where.add_argument("--config", metavar="PATH", help="its settings file (default: APP_CONFIG, else ./app.conf)")
    where.add_argument("--state-dir", metavar="DIR", help="its state folder (default: [app] state_dir)")
    where.add_argument("--app", metavar="NAME", help="its name, where the folder follows from that (default: [app] name)")


def config_of(options: argparse.Namespace) -> AppConfig:
    """The settings that the options choose. Raises ConfigError when read, where the file cannot be."""
    environ = dict(os.environ)
    if options.app is not None:
        environ["APP_NAME"] = options.app
    return AppConfig(options.config, environ)


def folder_of(options: argparse.Namespace) -> Path:
    """The state folder that the options choose; where nothing says which, that of the only application that runs."""
    if options.state_dir is not None:
        return Path(options.state_dir).expanduser().absolute()
    config = config_of(options)
    folder = state_folder(config, options.app)
    if _said(options, config):
        return folder
    others = _beside(folder)
    return others[0] if len(others) == 1 else folder


def _said(options: argparse.Namespace, config: AppConfig) -> bool:
    """Whether anything says which application is meant; without, its name would be that of this command."""
    named = options.app or config.env("APP_NAME") or config.env("STATE_DIRECTORY")
    return bool(named or config.get("app", "name", fallback="") or config.get("app", "state_dir", fallback=""))


def _beside(folder: Path) -> list[Path]:
    """The state folders beside this one, itself included, in which an application runs."""
    return sorted({path.parents[1] for path in folder.parent.glob("*/control/*.sock") if about(path) is not None})


def about(path: Path) -> About | None:
    """Who listens there; None where nobody does any more."""
    try:
        return msgspec.convert(ask(path, {"ask": "about"}), About)
    except PylibError as error:
        return About() if "answers" in str(error) else None
    except msgspec.ValidationError:
        return About()


def control_of(options: argparse.Namespace) -> tuple[Path, About]:
    """The socket of the running application that is meant, the newest where several share the folder.

    :raises PylibError: none is running, with what to look at; others that run beside its folder are named.
    """
    folder = folder_of(options)
    for path in running(folder):
        found = about(path)
        if found is not None:
            return path, found
    others = [each.name for each in _beside(folder)] if options.state_dir is None else []
    hint = f"; there are others: --app {', --app '.join(others[:5])}" if others else ""
    raise PylibError(
        f"no running application can be asked in {folder}: start it, say which with --app NAME, --state-dir DIR or "
        f"--config PATH, and look that its settings do not have [app] control = no{hint}"
    )


def asked(path: Path, kind: type[T], **request: object) -> T:
    """The answer as a value of that type. Raises PylibError where the application speaks another version's language."""
    try:
        return msgspec.convert(ask(path, request), kind)
    except msgspec.ValidationError as error:
        raise PylibError(f"the application at {path} answers in a form that this version does not know: {error}") from None
