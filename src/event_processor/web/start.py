"""Joins the web to the hub, where it is wanted and installed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from event_processor.domain.outcome import Scope
from event_processor.domain.rule_file import RuleFile
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.schedule_file import ScheduleFile
from event_processor.domain.schedules import Schedule
from event_processor.processor import EventProcessor
from event_processor.settings import HubSettings
from event_processor.store.writer import StoreWriter
from event_processor.web.server import WebServer, installed, listen
from pylib.errors import ConfigError
from pylib.observe.health import Problem
from pylib.runtime.runtime import Runtime

if TYPE_CHECKING:
    from event_processor.web.context import HubContext

__all__ = ["open_web"]

log = logging.getLogger("event_processor.web")


def open_web(
    settings: HubSettings,
    runtime: Runtime,
    *,
    state: Mapping[tuple[Scope, str], bytes],
    writer: StoreWriter,
    processor: EventProcessor,
    compile: Callable[[RuleFile], Rulebook],
    schedules: Callable[[ScheduleFile], tuple[Schedule, ...]],
    problems: Callable[[], list[Problem]],
    database: str | Path,
    folder: Path,
    images: Path,
    rules: Path,
) -> WebServer | None:
    """The web's thread, with its door open; None where it is switched off, or where it was not asked for and cannot be.

    :raises ConfigError: ``[web] enabled = yes``, and it is not installed or the port is taken.
    """
    web = settings.web
    if web.enabled is False:
        return None
    if not installed():
        missing = "The dashboard is not installed: pip install 'pylib-automation[web]'"
        if web.enabled:
            raise ConfigError(f"{missing}, or set [web] enabled = no.")
        log.info("%s.", missing)
        return None
    try:
        listener = listen(web)
    except ConfigError as error:
        if web.enabled:
            raise
        log.warning("%s The hub runs without it.", error)
        return None
    from event_processor.web.mirror import Mirror

    mirror = Mirror(state)
    writer.on_stored = mirror.tell

    def context() -> HubContext:
        from event_processor.store.images import ImageFolder
        from event_processor.store.reader import Reader
        from event_processor.web.context import HubContext
        from event_processor.web.rulefile import Rules
        from event_processor.web.schedulefile import Schedules
        from pylib.delivery.letters import store_path

        return HubContext(
            runtime,
            settings,
            ask=processor.ask,
            writer=writer,
            reader=Reader(database),
            mirror=mirror,
            rules=Rules(rules, compile, processor.reload),
            schedules=Schedules(settings.schedules_path, settings.schedules, schedules, processor.reschedule),
            images=ImageFolder(images),
            problems=problems,
            folder=folder,
            letters=store_path(application="event-processor"),
        )

    return WebServer(web, listener, context)
