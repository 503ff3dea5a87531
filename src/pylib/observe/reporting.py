"""Crash reports: to the log always, and to Sentry where it is configured; it is not imported where it is not."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from pylib.config import app_config
from pylib.errors import ConfigError, MessageError
from pylib.observe.logging import log
from pylib.observe.scrub import known_secrets, scrub_report

if TYPE_CHECKING:
    from types import ModuleType

    from sentry_sdk.types import Breadcrumb, Event, Hint

__all__ = ["configure_reporting", "flush", "report"]

#: What nobody has to be told of by a crash report. Every ``DependencyError`` is a ``ResourceWarning``.
EXPECTED: Final = (ResourceWarning, MessageError)


def configure_reporting(dsn: str | None = None) -> bool:
    """Start Sentry if there is a DSN. Called once by an application, from its main thread.

    :param dsn: ``None`` means ``SENTRY_DSN`` of the environment, else ``[sentry] dsn``; without either nothing happens.
    :returns: whether crash reports go to Sentry.
    :raises ConfigError: there is a DSN, and it is not valid or ``sentry-sdk`` is not installed.
    """
    dsn = dsn or app_config.env("SENTRY_DSN") or app_config.get("sentry", "dsn", fallback="")
    if not dsn:
        return _sentry() is not None
    try:
        import sentry_sdk
        from sentry_sdk.integrations.argv import ArgvIntegration
        from sentry_sdk.integrations.atexit import AtexitIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration
        from sentry_sdk.utils import BadDsn
    except ImportError:
        raise ConfigError(
            "a Sentry DSN is set (SENTRY_DSN or [sentry] dsn) and sentry-sdk is not installed: "
            "pip install 'pylib-automation[sentry]', or remove the DSN."
        ) from None
    try:
        sentry_sdk.init(
            dsn=dsn,
            # Local variables would carry message bodies, pictures and credentials to a third party.
            include_local_variables=False,
            # flush() in the stop's last stage has waited already; waiting again at exit would break the stop's bound.
            shutdown_timeout=0,
            before_send=_filter(known_secrets(app_config)),
            before_breadcrumb=lambda crumb, hint: cast("Breadcrumb", scrub_report(crumb)),
            # The supervisor tells of a thread's death itself, with its fate: one report is enough. And the arguments
            # of a program may hold addresses with passwords.
            disabled_integrations=[ThreadingIntegration, ArgvIntegration],
            integrations=[AtexitIntegration(callback=lambda pending, timeout: None)],
        )
    except BadDsn:
        raise ConfigError(
            "the Sentry DSN (SENTRY_DSN or [sentry] dsn) is not valid: copy it from the project's page."
        ) from None
    return True


def report(exception: BaseException, *, thread: str | None = None, topic: str | None = None) -> None:
    """Tell the operator about an exception that nobody expected. Never blocks and never raises; any thread.

    What was to be expected is no crash: one warning line, and no report. That is a dependency that is away
    (``DependencyError`` and any other ``ResourceWarning``) and a message that is at fault itself (``MessageError``).

    :param thread: name of the thread it happened in; the calling thread's if not given.
    :param topic: topic or routing key of the message that was being handled.
    """
    name = thread or threading.current_thread().name
    extra = {"failed_thread": name} | ({"topic": topic} if topic is not None else {})
    if isinstance(exception, EXPECTED):
        log.warning("%s", exception, extra=extra)
        return
    sentry = _sentry()
    if sentry is not None:
        _capture(exception, name, topic)
    log.error("%s: %s", type(exception).__name__, exception, exc_info=exception, extra=extra)


def flush(timeout_s: float) -> None:
    """Wait, at most ``timeout_s`` seconds, until reports have left. For a stop's last stage, in any thread."""
    if _sentry() is None:
        return
    import sentry_sdk

    try:
        sentry_sdk.flush(timeout=timeout_s)
    except Exception as error:  # a report that cannot leave must not change how the application ends
        log.warning("crash reports could not be sent: %s", error)


def _capture(exception: BaseException, thread: str, topic: str | None) -> None:
    import sentry_sdk

    try:
        with sentry_sdk.new_scope() as scope:
            scope.set_tag("thread", thread)
            if topic is not None:
                scope.set_tag("topic", topic)
            scope.capture_exception(exception)
    except Exception as error:
        log.warning("crash report could not be queued: %s", error)


def _filter(secrets: tuple[str, ...]) -> Callable[[Event, Hint], Event | None]:
    """What leaves: nothing that was to be expected, and of the rest neither bodies nor secrets."""

    def before_send(event: Event, hint: Hint) -> Event | None:
        raised = hint.get("exc_info")
        if raised is not None and isinstance(raised[1], EXPECTED):
            return None
        return cast("Event", scrub_report(event, secrets))

    return before_send


def _sentry() -> ModuleType | None:
    """Sentry, if somebody has configured it in this process: we did, or the application did on its own."""
    module = sys.modules.get("sentry_sdk")
    if module is None:
        return None
    return module if module.is_initialized() else None
