"""Logs and crash reports: what a line looks like, and that no password is ever in one."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from pylib.config import app_config
from pylib.errors import ConfigError, ConnectFailed
from pylib.observe import reporting
from pylib.observe.logging import LineHandler, RedactionFilter, configure_logging, log, toggle_debug

CANARY = "c4n4ry"
URL = f"amqp://me:{CANARY}@host/v"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LOG_LEVEL", "APP_LOG_LEVEL", "NO_COLOR", "SENTRY_DSN"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(f"pika{part}") for part in ("", ".adapters", ".channel", ".connection"))]
    loggers.append(logging.getLogger("paho"))
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    app_config.reset()
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    app_config.reset()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_terminal_gets_text_with_colour_thread_and_extras() -> None:
    stream = Terminal()
    configure_logging(stream=stream)
    log.warning("lost %s", "it", extra={"topic": "a b", "count": 3})
    (line,) = stream.getvalue().splitlines()
    assert "\x1b[33mWARNING \x1b[0m MainThread  lost it" in line
    assert line.endswith('  topic="a b"  count=3')


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logging(stream=stream)
    log.warning("x")
    assert "\x1b" not in stream.getvalue()


def test_anything_else_gets_one_json_object_per_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("oh %d", 1, extra={"topic": "t", "thing": {1, 2} - {2}, "odd": Ellipsis})
    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert line["logger"] == "pylib"
    assert line["thread"] == "MainThread"
    assert line["message"] == "oh 1"
    assert line["extras"] == {"topic": "t", "thing": [1], "odd": "Ellipsis"}
    assert "ValueError: two\nlines" in str(line["exception"])
    assert str(line["time"])[-5] == "."
    assert str(line["time"])[-1] == "Z"


def test_a_value_that_json_cannot_hold_is_shown_all_the_same() -> None:
    stream = io.StringIO()
    loop: list[object] = []
    loop.append(loop)
    # Past pytest's own handler: half a character cannot travel in its report of a test either.
    record = log.makeRecord("pylib", logging.INFO, "", 0, "half \ud800", (), None, extra={"loop": loop})
    configure_logging(stream=stream).handle(record)
    (line,) = lines(stream)
    assert line["message"] == "half \\ud800"
    assert line["extras"] == {"loop": "[[...]]"}


def test_the_level_is_info_or_what_the_environment_or_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    configure_logging(stream=io.StringIO())
    assert root.level == logging.INFO
    monkeypatch.setenv("APP_LOG_LEVEL", "warning")
    configure_logging(stream=io.StringIO())
    assert root.level == logging.WARNING
    monkeypatch.setenv("LOG_LEVEL", "error")
    configure_logging(stream=io.StringIO())
    assert root.level == logging.ERROR
    configure_logging("DEBUG", stream=io.StringIO())
    assert root.level == logging.DEBUG
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match='environment variable LOG_LEVEL is "loud"; it has to be one of DEBUG, INFO'):
        configure_logging(stream=io.StringIO())


def test_configuring_twice_does_not_log_twice() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    configure_logging(stream=second)
    log.info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_toggling_goes_to_debug_and_back() -> None:
    stream = io.StringIO()
    configure_logging("WARNING", stream=stream)
    assert toggle_debug() == logging.DEBUG
    log.debug("seen")
    assert toggle_debug() == logging.WARNING
    log.info("unseen")
    assert [line["message"] for line in lines(stream)] == ["log level is now DEBUG", "seen", "log level is now WARNING"]


def test_the_client_libraries_are_quiet_unless_somebody_wants_them_loud() -> None:
    logging.getLogger("paho").setLevel(logging.DEBUG)
    stream = io.StringIO()
    configure_logging("DEBUG", stream=stream)
    assert logging.getLogger("paho").level == logging.DEBUG
    logging.getLogger("pika.adapters.utils.connection_workflow").error("a traceback that the bridge reports in one line")
    logging.getLogger("pika.connection").error("the same again")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_no_password_of_a_url_is_ever_in_a_line(fmt: str) -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, fmt="text" if fmt == "text" else "json")
    try:
        try:
            raise OSError(f"inner {URL}")
        except OSError as error:
            raise ValueError(f"outer {URL}") from error
    except ValueError:
        log.exception("to %s", URL, extra={"address": URL, "all": [URL], "body": URL.encode()}, stack_info=True)
    log.info(f"{URL} in the text itself")
    text = stream.getvalue()
    assert CANARY not in text
    assert text.count("amqp://me:***@host/v") >= 7


def test_the_filter_protects_handlers_of_others_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactionFilter())
    logger = logging.getLogger("somebody.else")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        raise ValueError(URL)
    except ValueError:
        logger.exception("at %s", URL)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count("***") == 2


def test_a_message_cannot_draw_on_the_terminal_or_forge_a_line() -> None:
    stream = Terminal()
    configure_logging(stream=stream, fmt="text")
    log.info("topic %s", "a\x1b[2J\r\n12:00:00.000 ERROR    MainThread  forged", extra={"topic": "x\ny"})
    text = stream.getvalue()
    assert "\x1b[2J" not in text
    assert "\r" not in text
    first, second = text.splitlines()
    assert second.startswith("    12:00")
    assert first.count("\\x1b") == 1
    assert "topic=x\\ny" in text


def test_arguments_that_do_not_fit_lose_nothing_and_raise_nothing() -> None:
    stream = io.StringIO()
    # Straight to the handler, since pytest's own handler does raise.
    configure_logging(stream=stream).handle(log.makeRecord("pylib", logging.INFO, "", 0, "%d things", ("no",), None))
    assert lines(stream)[0]["message"] == "%d things ('no',)"


def test_a_very_long_message_is_cut() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    log.info("x" * 1_000_000)
    assert len(stream.getvalue()) < 40_000
    assert str(lines(stream)[0]["message"]).endswith("... (1000000 characters)")


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str, /) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_stream_that_is_gone_disturbs_nobody(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(stream=Broken(error))
    log.info("nobody hears this")
    assert capsys.readouterr().err == ""


def test_a_line_that_interrupts_another_is_written_all_the_same() -> None:
    # A TextIOWrapper refuses a write from a signal handler that interrupted a write: this child does just that.
    code = """
import io, os, sys
from pylib.observe.logging import configure_logging, log
class Raw(io.RawIOBase):
    inside = False
    def writable(self): return True
    def fileno(self): return 2
    def write(self, data):
        if not Raw.inside:
            Raw.inside = True
            log.info("inner")
        return os.write(2, data)
configure_logging(stream=io.TextIOWrapper(io.BufferedWriter(Raw()), write_through=True), fmt="json")
log.info("outer")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["inner", "outer"]


def test_a_report_without_sentry_is_a_log_line_with_thread_and_topic() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    reporting.report(ValueError(URL), thread="worker", topic="event.x")
    reporting.report(ConnectFailed("broker is away"), thread="worker")
    crash, away = lines(stream)
    assert crash["level"] == "ERROR"
    assert crash["extras"] == {"failed_thread": "worker", "topic": "event.x"}
    assert CANARY not in stream.getvalue()
    assert away["level"] == "WARNING"
    assert "exception" not in away, "a dependency that is away is no crash"
    reporting.flush(0.1)


def run_python(code: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=_environ(environ)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environ(more: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **more}


def test_sentry_is_not_loaded_unless_it_is_configured() -> None:
    code = """
import sys
from pylib.observe.reporting import configure_reporting, flush, report
assert configure_reporting() is False
report(ValueError("x"))
flush(1.0)
print("sentry_sdk" in sys.modules)
"""
    assert run_python(code).strip() == "False"


def test_a_crash_goes_to_sentry_when_it_is_configured_and_a_stop_stays_short() -> None:
    # 192.0.2.1 answers nobody (RFC 5737): neither the report nor the exit may wait for it.
    code = """
import sys, time
from pylib.observe.reporting import configure_reporting, flush, report
assert configure_reporting() is True
import sentry_sdk
seen = []
sentry_sdk.get_client().transport.capture_envelope = lambda envelope: seen.append(envelope.get_event())
started = time.monotonic()
report(ValueError("boom amqp://me:c4n4ry@h"), thread="worker", topic="event.x")
report(ResourceWarning("away"))
took = time.monotonic() - started
flush(0.2)
(event,) = [event for event in seen if event]
assert "c4n4ry" not in str(event)
print(event["tags"]["thread"], event["tags"]["topic"], event["exception"]["values"][0]["value"], took < 3)
"""
    assert run_python(code, SENTRY_DSN="http://key@192.0.2.1/1").strip() == "worker event.x boom amqp://me:***@h True"


def test_a_dsn_that_is_not_valid_says_so_without_repeating_it() -> None:
    with pytest.raises(ConfigError, match="the Sentry DSN") as caught:
        reporting.configure_reporting(f"nonsense-{CANARY}")
    assert CANARY not in str(caught.value)


def test_the_handler_is_a_stream_handler_of_the_standard_library() -> None:
    stream: TextIO = io.StringIO()
    handler = configure_logging(stream=stream)
    assert isinstance(handler, LineHandler)
    assert isinstance(handler, logging.StreamHandler)
