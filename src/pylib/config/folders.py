"""Where an application keeps what outlives it."""

from __future__ import annotations

import os
from pathlib import Path

from pylib.config import app_config
from pylib.config.appconfig import AppConfig

__all__ = ["state_folder"]


def state_folder(config: AppConfig | None = None, application: str | None = None) -> Path:
    """The folder in which an application keeps what outlives it. Reads the settings; makes nothing; any thread.

    ``[app] state_dir``, else systemd's ``STATE_DIRECTORY`` (systemd.exec(5); the first, if it names several), else
    ``~/.local/state/<application>`` (``XDG_STATE_HOME`` instead of ``~/.local/state`` where that is set). The folder
    belongs to one application: two that share it would be handed each other's letters.

    :param application: its name, where that is not the configured one.
    :raises ConfigError: the settings file cannot be read.
    """
    config = app_config if config is None else config
    folder = config.get("app", "state_dir", fallback="")
    if folder:
        return Path(folder).expanduser().absolute()
    systemd = (config.env("STATE_DIRECTORY") or "").split(":")[0]
    if systemd:
        return Path(systemd).absolute()
    home = config.env("XDG_STATE_HOME")
    base = Path(home) if home else Path(os.path.expanduser("~")) / ".local" / "state"
    return (base / _folder_name(application or config.app_name())).absolute()


def _folder_name(application: str) -> str:
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in application).lstrip(".")
    return name or "pylib"
