"""One line per thing that matters: readable on a terminal, JSON everywhere else. On the standard library's logging.

Nothing here touches logging until :func:`configure_logging` is called. After that any thread may log. A handler for a
signal may too: the locks of ``logging`` are re-entrant, and a line that interrupts the writing of another line in the
same thread goes straight to the descriptor (see :class:`LineHandler`). Between threads a signal handler may wait for
the line being written.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import msgspec

from pylib.config import app_config
from pylib.errors import ConfigError
from pylib.observe.scrub import scrub

__all__ = [
    "JsonFormatter",
    "LineHandler",
    "RedactionFilter",
    "TextFormatter",
    "configure_logging",
    "log",
    "toggle_debug",
]

Format = Literal["text", "json"]

log: Final = logging.getLogger("pylib")
"""The logger of applications and of the library. It has no handler; :func:`configure_logging` gives the root one."""

# The bridge reports connections that fail, once, with what to do. Pika reports the same at ERROR, with tracebacks, from
# several loggers for one failure; those say nothing more and hide the line that matters.
_QUIET: Final[Mapping[str, int]] = {
    "paho": logging.WARNING,
    "pika": logging.WARNING,
    "pika.adapters": logging.CRITICAL,
    "pika.channel": logging.CRITICAL,
    "pika.connection": logging.CRITICAL,
}
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_COLOURS: Final[Mapping[int, str]] = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_RESET: Final = "\x1b[0m"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# A topic or a payload in a message must not be able to draw on the terminal or to start a line of its own.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_TEXT: Final = 32_768


def configure_logging(
    level: int | str | None = None, stream: TextIO | None = None, fmt: Format | None = None
) -> logging.Handler:
    """Send every log line to ``stream``. Called once by an application; calling it again replaces the first call.

    :param level: ``None`` means ``LOG_LEVEL`` of the environment, else ``[app] log_level``, else INFO.
    :param stream: ``None`` means standard error.
    :param fmt: ``None`` means text on a terminal and JSON otherwise. Text is coloured on a terminal unless ``NO_COLOR``
        is set.
    :returns: the handler, which other handlers of the root logger do not see.
    :raises ConfigError: the level is none of DEBUG, INFO, WARNING, ERROR and CRITICAL.
    """
    number = _level(level)
    target = sys.stderr if stream is None else stream
    terminal = _is_terminal(target)
    chosen: Format = fmt or ("text" if terminal else "json")
    handler = LineHandler(target)
    handler.addFilter(RedactionFilter())
    colour = terminal and not os.environ.get("NO_COLOR")
    handler.setFormatter(TextFormatter(colour=colour) if chosen == "text" else JsonFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, LineHandler)]:
        root.removeHandler(old)
    handler.configured_level = number
    root.addHandler(handler)
    root.setLevel(number)
    for name, quiet in _QUIET.items():
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:  # a level somebody chose stays
            logger.setLevel(quiet)
    return handler


def toggle_debug() -> int:
    """Switch between DEBUG and the configured level, for SIGHUP. Returns the new level. Any thread."""
    root = logging.getLogger()
    usual = next((old.configured_level for old in root.handlers if isinstance(old, LineHandler)), logging.INFO)
    if usual <= logging.DEBUG:
        usual = logging.INFO
    level = usual if root.level == logging.DEBUG else logging.DEBUG
    root.setLevel(level)
    log.log(max(level, logging.INFO), "log level is now %s", logging.getLevelName(level))
    return level


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes whole lines, and never raises into the code that logs."""

    configured_level: int = logging.INFO

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. A stream that is gone is ignored: nobody is there to be told."""
        try:
            line = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        try:
            self._write(line)
        except (BrokenPipeError, ValueError):  # the reader went away, or the stream was closed
            pass
        except Exception:
            self.handleError(record)

    def _write(self, line: str) -> None:
        try:
            self.stream.write(line)
            self.flush()
        except RuntimeError:
            # A signal handler logged while this thread was inside write(): buffered streams refuse that.
            os.write(self.stream.fileno(), line.encode("utf-8", "backslashreplace"))
        except UnicodeEncodeError:
            self.stream.write(line.encode("ascii", "backslashreplace").decode("ascii"))
            self.flush()


class RedactionFilter(logging.Filter):
    """Removes secrets (``pylib.observe.scrub``) from message, extras and exception. Add it to handlers of your own as well."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it has something to hide; records are always kept."""
        message = _message(record)
        clean = scrub(message)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        for name, value in _extras(record).items():
            if not isinstance(value, int | float | None):
                text = value if isinstance(value, str) else repr(value)
                clean = scrub(text)
                if clean != text:
                    record.__dict__[name] = clean
        return True


class TextFormatter(logging.Formatter):
    """``10:42:07.123 WARNING thread  message  key=value``, the exception below it."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One record as text. Control characters are shown as escapes."""
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<8}"
        if self._colour:
            level = f"{_COLOURS.get(record.levelno, '')}{level}{_RESET}"
        extras = "".join(f"  {name}={_value(value)}" for name, value in _extras(record).items())
        message = _CONTROL.sub(_escape, _message(record)).replace("\n", "\n    ")
        line = f"{moment}.{int(record.msecs):03d} {level} {record.threadName}  {message}{extras}"
        exception = _exception(record)
        return f"{line}\n{_CONTROL.sub(_escape, exception)}" if exception else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (ISO 8601 UTC, ms), level, logger, thread, message, extras, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON. A value that JSON cannot hold is shown as its ``repr``."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "message": _utf8(_message(record)),
        }
        extras = _extras(record)
        if extras:
            fields["extras"] = extras
        exception = _exception(record)
        if exception:
            fields["exception"] = _utf8(exception)
        try:
            return msgspec.json.encode(fields, enc_hook=repr).decode()
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            fields["extras"] = {name: _utf8(repr(value)) for name, value in extras.items()}
            return msgspec.json.encode(fields).decode()


def _level(level: int | str | None) -> int:
    where = "level"
    if level is None:
        level = app_config.env("LOG_LEVEL")
        where = "environment variable LOG_LEVEL"
    if level is None:
        level = app_config.get("app", "log_level", fallback="INFO")
        where = app_config.place("app", "log_level")
    if isinstance(level, int):
        return level
    name = level.strip().upper()
    if name not in _LEVELS:
        raise ConfigError(f'{where} is "{level}"; it has to be one of {", ".join(_LEVELS)}.')
    return logging.getLevelNamesMapping()[name]


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # the arguments do not fit the message; the line is worth more than the reason
        text = f"{record.msg} {record.args!r}"
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}... ({len(text)} characters)"


def _exception(record: logging.LogRecord) -> str:
    if not record.exc_text and record.exc_info and record.exc_info[0] is not None:
        record.exc_text = scrub("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    return "\n".join(filter(None, (record.exc_text, record.stack_info)))


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _value(value: object) -> str:
    text = str(value)
    if not text or " " in text or "=" in text or '"' in text:
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _BREAKS.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return ascii(match.group())[1:-1]


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
