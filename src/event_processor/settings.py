"""The hub's settings, read once from ``app.conf`` and its overrides, checked as a whole before anything is opened.

Sections: ``[rabbitmq]``, ``[mqtt]``, ``[hub]``, ``[links]``, ``[type_links]``, and one ``[output:<name>]``,
``[meter:<device>]`` or ``[mapping:<name>]`` for each of these. ``examples/app.conf`` shows and explains them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FilePath, model_validator

from event_processor.domain.decide import MeterLimits, Policy
from event_processor.domain.links import Output, compile_links, make_output
from event_processor.domain.mapping import TopicMapping, compile_mapping, without_covered
from pylib.config import AppConfig, load_settings
from pylib.errors import ConfigError

__all__ = ["HubSettings", "MqttSettings", "RabbitSettings", "Timing", "load"]

V = TypeVar("V")
_EXCHANGE = r"^[\w.:-]{1,200}$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)


class _Broker(_Section):
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
    def _usable(self) -> _Broker:
        if not self.addresses:
            raise ValueError("server_address names no server")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both or neither")
        return self


class RabbitSettings(_Broker):
    """``[rabbitmq]``. The hub listens on ``mq_exchange`` (topic) and commands on ``<mq_exchange>_control`` (direct)."""

    mq_exchange: str = Field(pattern=_EXCHANGE)
    device_topic: str = Field(default="event_processor", pattern=r"^[\w-]{1,100}$")
    topic_filter: str = Field(default="event.#", min_length=1, max_length=255)

    @property
    def control_exchange(self) -> str:
        """The exchange on which output applications listen for ``event.control.<type>``."""
        return f"{self.mq_exchange}_control"


class MqttSettings(_Broker):
    """``[mqtt]``. ``subscribe`` lists filters, by commas or lines; what the mappings need is added to it."""

    subscribe: str = "sensor/#, meter/#"
    client_id: str = Field(default="", max_length=200)


class Timing(_Section):
    """``[hub]``: times in seconds, and the devices that may set nothing off."""

    max_event_age_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    control_expiry_s: float = Field(default=90.0, gt=0, le=86400)
    heartbeat_interval_s: float = Field(default=5.0, gt=0, le=3600)
    stale_after_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    disabled: str = ""


class _Mapping(_Section):
    topic: str
    device: str
    type: str
    value: str = ""
    kind: Literal["input", "meter"] = "input"
    on: str = ""
    off: str = ""


class _Output(_Section):
    type: str = ""
    label: str = ""
    params: str | None = None
    topic: str = ""
    payload: str = ""
    qos: Literal["0", "1", "2"] = "1"
    retain: bool = False
    enabled: bool = True


class _Meter(_Section):
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    of: Literal["register", "minute"] = "register"
    every_reading: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> _Meter:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high: every reading would be outside")
        return self


class HubSettings(_Section):
    """Everything the hub is told by its configuration. Frozen: any thread may read it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    rabbitmq: RabbitSettings
    mqtt: MqttSettings
    timing: Timing
    policy: Policy
    mappings: tuple[TopicMapping, ...]
    subscriptions: tuple[str, ...]
    client_id: str


def load(config: AppConfig) -> HubSettings:
    """Read and check all of the hub's settings.

    :raises ConfigError: an option is missing or wrong; the message names the file, the section and the option.
    """
    rabbitmq = load_settings(RabbitSettings, "rabbitmq", config)
    mqtt = load_settings(MqttSettings, "mqtt", config)
    timing = load_settings(Timing, "hub", config)
    mappings = tuple(_mapping(name, section, config) for name, section in _named("mapping", config))
    subscribe = _several(mqtt.subscribe)
    for topic in subscribe:
        _checked(config, "mqtt", partial(_check_filter, topic))
    return HubSettings(
        rabbitmq=rabbitmq,
        mqtt=mqtt,
        timing=timing,
        policy=_policy(timing, config),
        mappings=mappings,
        subscriptions=without_covered([*subscribe, *(mapping.topic_filter for mapping in mappings)]),
        client_id=mqtt.client_id or f"event-processor-{config.device_name()}",
    )


def _policy(timing: Timing, config: AppConfig) -> Policy:
    outputs = [_output(name, section, config) for name, section in _named("output", config)]
    links, type_links = (dict(config.items(s)) if config.has_section(s) else {} for s in ("links", "type_links"))
    # In two steps, so that an error names the section that it is in.
    by_device = _checked(config, "links", lambda: compile_links(links, outputs=outputs))
    by_type = _checked(config, "type_links", lambda: compile_links({}, type_links, outputs))
    meters: dict[str, MeterLimits] = {}
    for name, section in _named("meter", config):
        meter = load_settings(_Meter, section, config)
        meters[name.lower()] = MeterLimits(
            low=meter.low, high=meter.high, of_minute=meter.of == "minute", every_reading=meter.every_reading
        )
    return Policy(
        links=by_device.joined(by_type),
        meters=meters,
        disabled=frozenset(device.lower() for device in _several(timing.disabled)),
        max_event_age_s=timing.max_event_age_s,
        control_expiry_s=timing.control_expiry_s,
    )


def _mapping(name: str, section: str, config: AppConfig) -> TopicMapping:
    read = load_settings(_Mapping, section, config)
    return _checked(
        config,
        section,
        lambda: compile_mapping(
            name,
            topic=read.topic,
            device=read.device,
            type=read.type,
            value=read.value,
            kind=read.kind,
            on=_several(read.on),
            off=_several(read.off),
        ),
    )


def _output(name: str, section: str, config: AppConfig) -> Output:
    read = load_settings(_Output, section, config)
    return _checked(
        config,
        section,
        lambda: make_output(
            name,
            type=read.type,
            label=read.label,
            params=read.params,
            topic=read.topic,
            payload=read.payload,
            qos=int(read.qos),
            retain=read.retain,
            enabled=read.enabled,
        ),
    )


def _check_filter(topic: str) -> None:
    try:
        compile_mapping("subscribe", topic=topic, device="any", type="any")
    except ConfigError as error:
        raise ConfigError(str(error).replace("topic:", f"subscribe: {topic!r}:", 1)) from None


def _checked(config: AppConfig, section: str, make: Callable[[], V]) -> V:
    """Run ``make``, whose errors start with an option's name, and put the place in front of what it raises."""
    try:
        return make()
    except ConfigError as error:
        option, _, rest = str(error).partition(": ")
        raise ConfigError(f"{config.place(section, option)}: {rest}.") from None


def _named(kind: str, config: AppConfig) -> Iterator[tuple[str, str]]:
    """Give name and section of every ``[<kind>:<name>]``, in the order of the file."""
    for section in config.sections():
        prefix, colon, name = section.partition(":")
        if colon and prefix.strip().lower() == kind:
            if not name.strip():
                raise ConfigError(f"{config.path}: [{section}] has no name: write [{kind}:<name>].")
            yield name.strip(), section


def _several(written: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,\n]", written) if part.strip()]


def _addresses(written: str) -> list[str]:
    """Split a list of addresses. A comma ends a URL only before white space or another URL: passwords have them too."""
    between = r"\n|,(?=\s|\w+://|$)" if "://" in written else r"[,\n]"
    return [part.strip() for part in re.split(between, written) if part.strip()]
