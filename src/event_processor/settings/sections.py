"""The sections of ``app.conf`` that the hub reads, each checked by itself. ``examples/app.conf`` explains them all."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, FilePath, field_validator, model_validator

from event_processor.domain.schedule_times import Place

__all__ = [
    "House", "MappingSection", "MeterSection", "MqttSettings", "OutputSection", "RabbitSettings", "ScheduleSection",
    "Section", "Timing", "WebSection", "split_list",
]  # fmt: skip

_EXCHANGE = r"^[\w.:-]{1,200}$"


class Section(BaseModel):
    # Python's own engine: Rust's, which is pydantic's default, unrolls a pattern such as [\w-]{1,100} into megabytes each.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True, regex_engine="python-re"
    )


class Broker(Section):
    """What both brokers' sections share. They may hold further options, for the library and for applications."""

    model_config = ConfigDict(extra="ignore")

    server_address: str = Field(min_length=1, repr=False)
    tls_ca: FilePath | None = None
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = Field(default=None, repr=False)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses to try in turn. They may hold passwords: never log them as they are."""
        return tuple(_addresses(self.server_address))

    @model_validator(mode="after")
    def _usable(self) -> Broker:
        if not self.addresses:
            raise ValueError("server_address names no server")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both or neither")
        return self


class RabbitSettings(Broker):
    """``[rabbitmq]``. The hub listens on ``mq_exchange`` (topic) and commands on ``<mq_exchange>_control`` (direct)."""

    mq_exchange: str = Field(pattern=_EXCHANGE)
    device_topic: str = Field(default="event_processor", pattern=r"^[\w-]{1,100}$")
    topic_filter: str = Field(default="event.#", min_length=1, max_length=255)

    @property
    def control_exchange(self) -> str:
        """The exchange on which output applications listen for ``event.control.<type>``."""
        return f"{self.mq_exchange}_control"


class MqttSettings(Broker):
    """``[mqtt]``. ``subscribe`` lists filters, by commas or lines; what the mappings need is added to it."""

    subscribe: str = "sensor/#, meter/#"
    client_id: str = Field(default="", max_length=200)


class Timing(Section):
    """``[hub]``: times in seconds, and the devices that may set nothing off."""

    max_event_age_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    control_expiry_s: float = Field(default=90.0, gt=0, le=86400)
    heartbeat_interval_s: float = Field(default=5.0, gt=0, le=3600)
    stale_after_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    disabled: str = ""


class House(Timing):
    """``[hub]``, all of it: also where the hub is, what it keeps and where, and whether others stand in for it.

    ``announce``: whether Home Assistant sees the hub as a device, which needs ``discovery``.
    ``group`` names the hubs that stand in for each other; ``rules`` is the file with further rules, ``schedules`` the one with
    further schedules, and ``database`` a file or a URL of PostgreSQL. Empty means: beside the settings file (rules.toml and
    schedules.toml, where there are any), in the state folder.
    """

    timezone: str = "UTC"
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    rules: str = ""
    schedules: str = ""
    database: str = Field(default="", repr=False)
    discovery: bool = True
    announce: bool = True
    discovery_prefix: str = Field(default="homeassistant", pattern=r"^[\w/-]{1,100}$")
    group: str = Field(default="", pattern=r"^[\w.-]{0,100}$")
    keep_days: float = Field(default=90.0, gt=0)
    keep_mib: float = Field(default=2048.0, gt=1, allow_inf_nan=False)
    keep_audit_days: float = Field(default=400.0, gt=0)
    keep_picture_days: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    keep_picture_mib: float = Field(default=2048.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _somewhere(self) -> House:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude belong together: set both or neither")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"timezone: {self.timezone!r} is no zone such as Europe/Berlin") from None
        return self

    @property
    def place(self) -> Place:
        """Where the house is, for schedules."""
        return Place(zone=self.timezone, latitude=self.latitude, longitude=self.longitude)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the house."""
        return ZoneInfo(self.timezone)


class WebSection(Section):
    """``[web]``: the dashboard and the API, and who may reach them.

    ``enabled`` is left empty for: where the extra ``web`` is installed. ``hosts`` are further names under which a browser may
    ask for it, ``trusted_proxies`` addresses or networks of proxies whose ``X-Forwarded-*`` is believed. A session ends
    ``session_hours`` after the login, and after ``idle_hours`` in which nobody used it. ``second_factor_key`` encrypts the
    secrets of second factors in the store; empty means a file in the state folder.
    """

    enabled: bool | None = None
    host: str = Field(default="127.0.0.1", min_length=1, max_length=255)
    port: int = Field(default=8080, ge=0, le=65535)
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = Field(default=None, repr=False)
    trusted_proxies: str = ""
    hosts: str = ""
    session_hours: float = Field(default=336.0, gt=0, le=8760)
    idle_hours: float = Field(default=48.0, gt=0, le=8760)
    second_factor_key: str = Field(default="", repr=False)

    @field_validator("enabled", mode="before")
    @classmethod
    def _perhaps(cls, written: object) -> object:
        return None if written == "" else written

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, written: str) -> str:
        for each in split_list(written):
            try:
                ip_network(each, strict=False)
            except ValueError:
                raise ValueError(f"{each!r} is no address or network such as 172.16.0.0/12") from None
        return written

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that are believed."""
        return tuple(split_list(self.trusted_proxies))

    @property
    def names(self) -> tuple[str, ...]:
        """Further names of this machine, in lower case."""
        return tuple(name.lower() for name in split_list(self.hosts))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @model_validator(mode="after")
    def _safe(self) -> WebSection:
        if self.second_factor_key and not re.fullmatch(r"[\w+/-]{43}=?", self.second_factor_key, re.ASCII):
            raise ValueError("second_factor_key has to be 32 random bytes in base64, such as openssl rand -base64 32 prints")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both or neither")
        if self.enabled is not False and not self.loopback and self.tls_cert is None and not self.proxies:
            raise ValueError(
                f"host: {self.host} can be reached by others, and without TLS they could read passwords on the way: set "
                "tls_cert and tls_key, or trusted_proxies to the proxy that does TLS, or host = 127.0.0.1"
            )
        return self


class MappingSection(Section):
    """``[mapping:<name>]``; ``discovery.mappings.free_mapping`` says what each option means."""

    topic: str
    device: str
    type: str
    value: str = ""
    expression: str = ""
    kind: Literal["input", "meter"] = "input"
    role: Literal["", "input", "meter", "output", "both"] = ""
    unit: str = Field(default="", max_length=20)
    room: str = ""
    on: str = ""
    off: str = ""
    command_topic: str = ""
    command_on: str = "ON"
    command_off: str = "OFF"
    command_template: str = ""
    qos: Literal["0", "1", "2"] = "1"
    retain: bool = False


class OutputSection(Section):
    type: str = ""
    label: str = ""
    params: str | None = None
    topic: str = ""
    payload: str = ""
    qos: Literal["0", "1", "2"] = "1"
    retain: bool = False
    enabled: bool = True


class MeterSection(Section):
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    of: Literal["register", "minute"] = "register"
    every_reading: bool = False
    unit: str = Field(default="", max_length=20)
    factor: float = Field(default=1.0, allow_inf_nan=False)
    precision: int = 3
    rollover: float | None = Field(default=None, allow_inf_nan=False)
    most_per_minute: float | None = Field(default=None, allow_inf_nan=False)
    stuck_after_s: float = 0.0
    control_topic: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> MeterSection:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high: every reading would be outside")
        return self


class ScheduleSection(Section):
    """``[schedule:<name>]``: one of ``at``, ``cron`` and ``sun``, and what to ``do``, a line each."""

    at: str = ""
    cron: str = ""
    sun: str = ""
    days: str = ""
    do: str = ""
    missed: str = "skip"
    zone: str = ""
    enabled: bool = True


def split_list(written: str) -> list[str]:
    """What a person has listed, by commas or lines."""
    return [part.strip() for part in re.split(r"[,\n]", written) if part.strip()]


def _addresses(written: str) -> list[str]:
    """Split a list of addresses. A comma ends a URL only before white space or another URL: passwords have them too."""
    between = r"\n|,(?=\s|\w+://|$)" if "://" in written else r"[,\n]"
    return [part.strip() for part in re.split(between, written) if part.strip()]
