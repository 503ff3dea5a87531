"""Who is told, and when: the ``[notify:<name>]`` sections.

    [notify:phone]
    url = tgram://<token>/<chat>
    rate_s = 12
    quiet = 21:00-07:00
    urgent = Alarm*, Smoke*

The URL is Apprise's and holds secrets: it is never logged, nor shown in a message about a mistake.
"""

from __future__ import annotations

import fnmatch
from datetime import timedelta
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from event_processor.domain.schedule_times import instant, local, read_clock, zone_of
from pylib.config import AppConfig, load_settings
from pylib.errors import ConfigError

__all__ = ["Quiet", "Target", "load_targets", "read_quiet"]

MOST_TARGETS: Final = 50


class Quiet(msgspec.Struct, frozen=True):
    """From ``start`` to ``end`` (seconds since midnight, on the clock in ``zone``) nothing is sent; also over midnight."""

    start: int
    end: int
    zone: str = "UTC"

    def ends(self, now: float) -> float | None:
        """When the quiet time around ``now`` is over (seconds since the epoch); ``None`` outside of it."""
        zone = zone_of(self.zone)
        today = local(now, zone).date()
        for days in (-1, 0, 1):
            day = today + timedelta(days=days)
            start = instant(day, self.start, zone)
            end = instant(day if self.end > self.start else day + timedelta(days=1), self.end, zone)
            if start <= now < end:
                return end
        return None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver. ``rate_s`` is the least time between two messages, of which ``burst`` may follow each other at once;
    ``urgent`` are patterns of labels and rules that do not mind the quiet time; ``deadline_s`` is for one attempt."""

    name: str
    url: SecretStr
    rate_s: float = 1.0
    burst: int = 1
    quiet: Quiet | None = None
    urgent: tuple[str, ...] = ()
    pictures: int = 10
    tries: int = 10
    deadline_s: float = 60.0

    def is_urgent(self, *names: str) -> bool:
        """Whether one of the names is what this target wants to know also at night."""
        return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for name in names for pattern in self.urgent)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)

    url: SecretStr = Field(default=SecretStr(""), repr=False)
    rate_s: float = Field(default=1.0, ge=0, le=86_400)
    burst: int = Field(default=1, ge=1, le=100)
    quiet: str = ""
    urgent: str = ""
    pictures: int = Field(default=10, ge=0, le=10)
    tries: int = Field(default=10, ge=1, le=1000)
    deadline_s: float = Field(default=60.0, gt=0, le=600)


def read_quiet(written: str, zone: str = "UTC") -> Quiet | None:
    """``21:00-07:00``; nothing for never. Raises ``ConfigError``."""
    if not written.strip():
        return None
    first, _, last = written.partition("-")
    start, end = read_clock(first, "quiet"), read_clock(last, "quiet")
    if start == end:
        raise ConfigError("quiet: it begins and ends at the same time; leave it out for no quiet time")
    zone_of(zone)
    return Quiet(start, end, zone)


def load_targets(config: AppConfig, zone: str = "UTC") -> tuple[Target, ...]:
    """Every ``[notify:<name>]`` of the settings. Whether Apprise knows the service is found out when it is first used.

    :raises ConfigError: an option is wrong; the message names it and never shows a URL.
    """
    targets: list[Target] = []
    for section in config.sections():
        kind, colon, name = (part.strip() for part in section.partition(":"))
        if not colon or kind.lower() != "notify":
            continue
        if not name:
            raise ConfigError(f"{config.path}: [{section}] has no name: write [notify:<name>].")
        read = load_settings(_Section, section, config)
        if "://" not in read.url.get_secret_value():
            raise ConfigError(f"{config.place(section, 'url')}: expected a URL of Apprise, such as ntfy://ntfy.sh/<topic>.")
        try:
            quiet = read_quiet(read.quiet, zone)
        except ConfigError as error:
            raise ConfigError(f"{config.place(section, 'quiet')}: {str(error).partition(': ')[2]}.") from None
        targets.append(
            Target(
                name=name,
                url=read.url,
                rate_s=read.rate_s,
                burst=read.burst,
                quiet=quiet,
                urgent=tuple(part.strip() for part in read.urgent.split(",") if part.strip()),
                pictures=read.pictures,
                tries=read.tries,
                deadline_s=read.deadline_s,
            )
        )
    if len(targets) > MOST_TARGETS:
        raise ConfigError(f"{config.path}: {len(targets)} [notify:...] sections, and {MOST_TARGETS} are the limit.")
    return tuple(targets)
