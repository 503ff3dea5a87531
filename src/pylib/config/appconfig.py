"""The settings of an application, over three sources. What they are is said in :mod:`pylib.config`."""

from __future__ import annotations

import configparser
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, overload

from pylib.config.redaction import shown
from pylib.errors import ConfigError

__all__ = ["AppConfig"]

T = TypeVar("T")
D = TypeVar("D")

DEFAULT_FILE: Final = "app.conf"
DEFAULT_SECRETS: Final = "/run/secrets"

_NOT_ALNUM: Final = re.compile(r"[^0-9A-Za-z]")
_BOOLEANS: Final[Mapping[str, bool]] = configparser.RawConfigParser.BOOLEAN_STATES


class _Unset:
    """The absence of a fallback, which ``None`` cannot express."""


_UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was read, once, from the disk."""

    parser: configparser.RawConfigParser
    path: Path
    exists: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """A value, and how to name the place it came from to the person who has to change it."""

    value: str
    place: str


class AppConfig:
    """The part of the ``ConfigParser`` API that applications use, over three sources. Any thread may call it.

    :param path: the settings file; ``None`` means ``APP_CONFIG``, else ``app.conf`` in the current folder. A file that
        is named must exist; the default one is only missed when an option has to come from it.
    :param environ: the environment to look in; ``None`` means the process's own, read at each call.
    :param secrets: the secrets folder; ``None`` means ``APP_SECRETS``, else ``/run/secrets`` where it exists.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        secrets: str | os.PathLike[str] | None = None,
    ) -> None:
        self._path = path
        self._environ = environ
        self._secrets = secrets
        self._lock = threading.RLock()
        self._loaded: _Loaded | None = None
        self._secret_files: Mapping[str, Path] | None = None

    def __repr__(self) -> str:
        return f"AppConfig({str(self._path or self._env.get('APP_CONFIG') or DEFAULT_FILE)!r})"

    @property
    def path(self) -> Path:
        """The settings file, whether it exists or not."""
        loaded = self._loaded
        if loaded is not None:
            return loaded.path
        return Path(self._path or self._env.get("APP_CONFIG") or DEFAULT_FILE).absolute()

    def reset(self) -> None:
        """Forget what was read; the next question reads again."""
        with self._lock:
            self._loaded = None
            self._secret_files = None

    # -- the ConfigParser API

    @overload
    def get(self, section: str, option: str) -> str: ...
    @overload
    def get(self, section: str, option: str, *, fallback: D) -> str | D: ...
    def get(self, section: str, option: str, *, fallback: D | _Unset = _UNSET) -> str | D:
        """The text of an option.

        :raises ConfigError: the option is nowhere and there is no ``fallback``, or the settings file cannot be read.
        """
        return self._convert(section, option, str, "text", fallback)

    @overload
    def getint(self, section: str, option: str) -> int: ...
    @overload
    def getint(self, section: str, option: str, *, fallback: D) -> int | D: ...
    def getint(self, section: str, option: str, *, fallback: D | _Unset = _UNSET) -> int | D:
        """The option as a whole number.

        :raises ConfigError: as for :meth:`get`, and when it is not a whole number.
        """
        return self._convert(section, option, int, "a whole number such as 10", fallback)

    @overload
    def getfloat(self, section: str, option: str) -> float: ...
    @overload
    def getfloat(self, section: str, option: str, *, fallback: D) -> float | D: ...
    def getfloat(self, section: str, option: str, *, fallback: D | _Unset = _UNSET) -> float | D:
        """The option as a number.

        :raises ConfigError: as for :meth:`get`, and when it is not a number.
        """
        return self._convert(section, option, float, "a number such as 2.5", fallback)

    @overload
    def getboolean(self, section: str, option: str) -> bool: ...
    @overload
    def getboolean(self, section: str, option: str, *, fallback: D) -> bool | D: ...
    def getboolean(self, section: str, option: str, *, fallback: D | _Unset = _UNSET) -> bool | D:
        """The option as a truth value: 1/0, yes/no, true/false or on/off, in any case.

        :raises ConfigError: as for :meth:`get`, and when it is none of these.
        """
        return self._convert(section, option, _boolean, "one of yes, no, true, false, on, off, 1, 0", fallback)

    def sections(self) -> list[str]:
        """The sections of the settings file."""
        return self._load().parser.sections()

    def has_section(self, section: str) -> bool:
        """Whether the settings file has this section."""
        return self._load().parser.has_section(section)

    def has_option(self, section: str, option: str) -> bool:
        """Whether the option is set, in any of the three places."""
        return self._find(section, option) is not None

    def options(self, section: str) -> list[str]:
        """The options the settings file has in this section, as they are spelt there.

        Options that only the environment or a secret sets are found by name, and not listed here: ``RABBITMQ_PID_FILE``
        is a variable of the broker's own tools and no option of ours.

        :raises ConfigError: there is no such section.
        """
        loaded = self._load()
        if not loaded.parser.has_section(section):
            raise ConfigError(self._no_section(loaded, section))
        return loaded.parser.options(section)

    def items(self, section: str) -> list[tuple[str, str]]:
        """The options of :meth:`options` with their values, overrides applied.

        :raises ConfigError: there is no such section.
        """
        return [(option, self.get(section, option)) for option in self.options(section)]

    # -- names of the application

    def app_name(self) -> str:
        """``APP_NAME`` of the environment, else ``[app] name``, else the name of the script."""
        return self._env.get("APP_NAME") or self.get("app", "name", fallback="") or _script_name()

    def device_name(self) -> str:
        """``DEVICE_NAME`` of the environment, else ``[app] device_name``, else the name of the host."""
        return self._env.get("DEVICE_NAME") or self.get("app", "device_name", fallback="") or socket.gethostname()

    # -- for messages

    def place(self, section: str, option: str) -> str:
        """Where the option is set, or where it would be, for the start of a message about it."""
        found = self._find(section, option)
        return f"{self.path}: [{section}] {option}" if found is None else found.place

    def missing(self, section: str, option: str) -> str:
        """What to tell the person who has to set the option, as the message of a ``ConfigError``."""
        loaded = self._load()
        where = f"set the environment variable {_variable(section, option)}"
        if not loaded.exists:
            return (
                f"{loaded.path}: [{section}] {option} is missing because the file does not exist: create it, name "
                f"another file in APP_CONFIG, or {where}."
            )
        if not loaded.parser.has_section(section):
            return f"{self._no_section(loaded, section)[:-1]}, with the option {option}, or {where}."
        return f"{loaded.path}: [{section}] {option} is missing: add the line '{option} = ...' there, or {where}."

    def env(self, name: str) -> str | None:
        """A variable of the environment this configuration looks in, or ``None`` when it is unset or empty."""
        return self._env.get(name) or None

    # -- inside

    @property
    def _env(self) -> Mapping[str, str]:
        return os.environ if self._environ is None else self._environ

    def _convert(self, section: str, option: str, convert: Callable[[str], T], kind: str, fallback: D | _Unset) -> T | D:
        found = self._find(section, option)
        if found is None:
            if isinstance(fallback, _Unset):
                raise ConfigError(self.missing(section, option))
            return fallback
        try:
            return convert(found.value)
        except ValueError:
            # "from None": the message of int() and its kin repeats the value, which may be a secret.
            raise ConfigError(f"{found.place} is {shown(option, found.value)}; it has to be {kind}.") from None

    def _find(self, section: str, option: str) -> _Found | None:
        variable = _variable(section, option)
        value = self._env.get(variable)
        if value is not None:
            return _Found(value, f"environment variable {variable} ([{section}] {option})")
        secret = self._secret_folder().get(variable.lower())
        if secret is not None:
            return _Found(_read_secret(secret), f"secret file {secret} ([{section}] {option})")
        loaded = self._load()
        name = _spelling(loaded.parser, section, option)
        if name is None:
            return None
        return _Found(loaded.parser.get(section, name), f"{loaded.path}: [{section}] {option}")

    def _load(self) -> _Loaded:
        loaded = self._loaded
        if loaded is None:
            with self._lock:
                loaded = self._loaded
                if loaded is None:
                    loaded = self._loaded = self._read()
        return loaded

    def _read(self) -> _Loaded:
        path = self.path
        parser = configparser.RawConfigParser()
        # Options keep their spelling, since some are topics; look-ups still ignore case, see _spelling().
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation has it
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            if self._path or self._env.get("APP_CONFIG"):
                named = "which APP_CONFIG names, " if not self._path else ""
                raise ConfigError(f"{path}, {named}does not exist: create it, or correct the path.") from None
            return _Loaded(parser, path, exists=False)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8.") from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
        try:
            parser.read_string(text, str(path))
        except configparser.Error as error:
            # "from None", and no line is quoted: it may hold a password.
            raise ConfigError(f"{path}, {_parse_error(error)}") from None
        return _Loaded(parser, path, exists=True)

    def _secret_folder(self) -> Mapping[str, Path]:
        files = self._secret_files
        if files is None:
            with self._lock:
                files = self._secret_files
                if files is None:
                    files = self._secret_files = self._list_secrets()
        return files

    def _list_secrets(self) -> Mapping[str, Path]:
        named = self._secrets or self._env.get("APP_SECRETS")
        folder = Path(named or DEFAULT_SECRETS).absolute()
        try:
            return {_NOT_ALNUM.sub("_", entry.name).lower(): entry for entry in sorted(folder.iterdir()) if entry.is_file()}
        except OSError as error:
            if named:
                raise ConfigError(
                    f"secrets folder {folder} cannot be read: {error.strerror}. Correct APP_SECRETS, or unset it."
                ) from None
            return {}

    @staticmethod
    def _no_section(loaded: _Loaded, section: str) -> str:
        missing = "" if loaded.exists else " because the file does not exist"
        return f"{loaded.path}: section [{section}] is missing{missing}: add it."


def _variable(section: str, option: str) -> str:
    return _NOT_ALNUM.sub("_", f"{section}_{option}").upper()


def _spelling(parser: configparser.RawConfigParser, section: str, option: str) -> str | None:
    """How the file spells the option, or ``None``; the exact spelling wins over one that differs in case."""
    if not parser.has_section(section):
        return None
    if parser.has_option(section, option):
        return option
    folded = option.casefold()
    return next((name for name in parser.options(section) if name.casefold() == folded), None)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError from None


def _read_secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"secret file {path} is not UTF-8 text: write it again as text.") from None
    except OSError as error:
        raise ConfigError(f"secret file {path} cannot be read: {error.strerror}. Check its owner and mode.") from None


def _parse_error(error: configparser.Error) -> str:
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: there is text before the first [section]: add a section line above it."
    if isinstance(error, configparser.ParsingError):
        lines = ", ".join(str(number) for number, _ in error.errors)
        return f"line {lines}: this is neither a [section], nor 'option = value', nor a comment: correct it."
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: section [{error.section}] is there twice: join the two."
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: [{error.section}] {error.option} is there twice: remove one."
    return "the file is not in the 'option = value' format: correct it."


def _script_name() -> str:
    script = Path(sys.argv[0] if sys.argv else "")
    name = script.parent.name if script.stem == "__main__" else script.stem
    return "pylib" if name in ("", "-", "-c") else name
