"""The hub's settings, read once from ``app.conf`` and its overrides, checked as a whole before anything is opened.

Sections: ``[rabbitmq]``, ``[mqtt]``, ``[hub]``, ``[web]``, ``[links]``, ``[type_links]``, and one ``[output:<name>]``,
``[meter:<device>]``, ``[mapping:<name>]`` or ``[schedule:<name>]`` for each of these. ``examples/app.conf`` shows and
explains them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict

from event_processor.discovery.mappings import FreeMapping, free_mapping
from event_processor.domain.link_rules import outputs_of_policy, rules_of_policy
from event_processor.domain.links import Output, check_topic, compile_links, make_output
from event_processor.domain.mapping import compile_mapping, without_covered
from event_processor.domain.meters import Meter
from event_processor.domain.policy import MeterLimits, Policy
from event_processor.domain.rule_file import RuleFile
from event_processor.domain.rule_file import load as load_rules
from event_processor.domain.rules import Rule
from event_processor.domain.schedule_file import ScheduleFile, compile_schedules
from event_processor.domain.schedule_file import load as load_schedules
from event_processor.domain.schedules import Schedule, make_schedule
from event_processor.settings.sections import (
    House,
    MappingSection,
    MeterSection,
    MqttSettings,
    OutputSection,
    RabbitSettings,
    ScheduleSection,
    Section,
    WebSection,
    split_list,
)
from pylib.config import AppConfig, load_settings
from pylib.errors import ConfigError

__all__ = [
    "HubSettings", "all_schedules", "load", "place_of_rules", "place_of_schedules", "read_rules", "read_schedules",
    "with_rules",
]  # fmt: skip

V = TypeVar("V")


class HubSettings(Section):
    """Everything the hub is told by its configuration. Frozen: any thread may read it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    rabbitmq: RabbitSettings
    mqtt: MqttSettings
    house: House
    web: WebSection
    policy: Policy
    links: tuple[Rule, ...]
    rules_path: Path | None
    outputs: tuple[Output, ...]
    meters: tuple[Meter, ...]
    schedules: tuple[Schedule, ...]
    schedules_path: Path
    mappings: tuple[FreeMapping, ...]
    subscriptions: tuple[str, ...]
    client_id: str


def load(config: AppConfig) -> HubSettings:
    """Read and check all of the hub's settings.

    :raises ConfigError: an option is missing or wrong; the message names the file, the section and the option.
    """
    rabbitmq = load_settings(RabbitSettings, "rabbitmq", config)
    mqtt = load_settings(MqttSettings, "mqtt", config)
    house = load_settings(House, "hub", config)
    mappings = tuple(_mapping(name, section, config) for name, section in _named("mapping", config))
    subscribe = split_list(mqtt.subscribe)
    told = [mapping.topic_filter for mapping in mappings if mapping.role != "output"]
    for topic in subscribe:
        _checked(config, "mqtt", partial(_check_filter, topic))
    policy, described = _policy(house, config)
    return HubSettings(
        rabbitmq=rabbitmq,
        mqtt=mqtt,
        house=house,
        web=load_settings(WebSection, "web", config),
        policy=policy,
        links=tuple(rules_of_policy(policy)),
        outputs=tuple({each.name.lower(): each for each in (*outputs_of_policy(policy), *described)}.values()),
        rules_path=_rules_path(house, config),
        meters=tuple(_meter(name, section, config) for name, section in _named("meter", config)),
        schedules=_schedules(config),
        schedules_path=place_of_schedules(house, config),
        mappings=mappings,
        subscriptions=without_covered([*subscribe, *told]),
        client_id=mqtt.client_id or f"event-processor-{house.group or config.device_name()}",
    )


def _policy(house: House, config: AppConfig) -> tuple[Policy, tuple[Output, ...]]:
    """What the links and limits come to, and the outputs that have a section."""
    outputs = [_output(name, section, config) for name, section in _named("output", config)]
    links, type_links = (dict(config.items(s)) if config.has_section(s) else {} for s in ("links", "type_links"))
    # In two steps, so that an error names the section that it is in.
    by_device = _checked(config, "links", lambda: compile_links(links, outputs=outputs))
    by_type = _checked(config, "type_links", lambda: compile_links({}, type_links, outputs))
    meters = {name.lower(): _limits(section, config) for name, section in _named("meter", config)}
    return (
        Policy(
            links=by_device.joined(by_type),
            meters=meters,
            disabled=frozenset(device.lower() for device in split_list(house.disabled)),
            max_event_age_s=house.max_event_age_s,
            control_expiry_s=house.control_expiry_s,
        ),
        tuple(outputs),
    )


def read_rules(settings: HubSettings) -> RuleFile:
    """The rules of the file that the settings name, or none. Raises ``ConfigError`` with everything that is wrong with it."""
    path = settings.rules_path
    if path is None:
        return RuleFile()
    try:
        return load_rules(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the rules cannot be read ({error}).") from None


def read_schedules(settings: HubSettings) -> ScheduleFile:
    """What the file of schedules says; nothing where there is none and none is named. Raises as ``read_rules`` does."""
    path = settings.schedules_path
    try:
        return load_schedules(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        if settings.house.schedules:
            raise ConfigError(f"{path}: the schedules cannot be read ({error}).") from None
        return ScheduleFile()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the schedules cannot be read ({error}).") from None


def all_schedules(settings: HubSettings, file: ScheduleFile, now: float) -> tuple[Schedule, ...]:
    """The schedules of ``app.conf`` and those of a file. Raises ``ConfigError`` where they cannot be used together."""
    return compile_schedules(settings.schedules, file, settings.house.place, now, str(settings.schedules_path))


def with_rules(settings: HubSettings, config: AppConfig) -> HubSettings:
    """The same settings with the file of rules that is there by now."""
    return settings.model_copy(update={"rules_path": _rules_path(settings.house, config)})


def place_of_rules(house: House, config: AppConfig) -> Path:
    """Where the rules are, or would be: the file that is named, else ``rules.toml`` beside the settings file."""
    return (Path(config.path).parent / Path(house.rules or "rules.toml").expanduser()).absolute()


def place_of_schedules(house: House, config: AppConfig) -> Path:
    """Where the file of schedules is, or would be: the one that is named, else ``schedules.toml`` beside the settings file."""
    return (Path(config.path).parent / Path(house.schedules or "schedules.toml").expanduser()).absolute()


def _rules_path(house: House, config: AppConfig) -> Path | None:
    found = place_of_rules(house, config)
    return found if house.rules or found.is_file() else None


def _limits(section: str, config: AppConfig) -> MeterLimits:
    meter = load_settings(MeterSection, section, config)
    return MeterLimits(low=meter.low, high=meter.high, of_minute=meter.of == "minute", every_reading=meter.every_reading)


def _meter(name: str, section: str, config: AppConfig) -> Meter:
    read = load_settings(MeterSection, section, config)
    return _checked(
        config,
        section,
        lambda: Meter(
            key=name,
            unit=read.unit,
            factor=read.factor,
            precision=read.precision,
            rollover=read.rollover,
            most_per_minute=read.most_per_minute,
            stuck_after_s=read.stuck_after_s,
            control_topic=check_topic(read.control_topic) if read.control_topic else "",
        ),
    )


def _schedules(config: AppConfig) -> tuple[Schedule, ...]:
    found: dict[str, Schedule] = {}
    for name, section in _named("schedule", config):
        schedule = _schedule(name, section, config)
        other = found.setdefault(schedule.id.lower(), schedule)
        if other is not schedule:
            raise ConfigError(
                f"{config.path}: [schedule:{other.name}] and [{section}] are the same schedule, {schedule.id}: give one of "
                "them another name."
            )
    return tuple(found.values())


def _schedule(name: str, section: str, config: AppConfig) -> Schedule:
    read = load_settings(ScheduleSection, section, config)
    return _checked(
        config,
        section,
        lambda: make_schedule(
            re.sub(r"[^A-Za-z0-9_-]+", "-", name),
            at=read.at,
            cron=read.cron,
            sun=read.sun,
            days=read.days,
            do=[line.strip() for line in re.split(r"[;\n]", read.do) if line.strip()],
            name=name,
            enabled=read.enabled,
            missed=read.missed,
            zone=read.zone,
        ),
    )


def _mapping(name: str, section: str, config: AppConfig) -> FreeMapping:
    read = load_settings(MappingSection, section, config)
    return _checked(
        config,
        section,
        lambda: free_mapping(
            name,
            topic=read.topic,
            device=read.device,
            type=read.type,
            value=read.value,
            expression=read.expression,
            kind=read.kind,
            role=read.role,
            unit=read.unit,
            room=read.room,
            on=split_list(read.on),
            off=split_list(read.off),
            command_topic=read.command_topic,
            command_on=read.command_on,
            command_off=read.command_off,
            command_template=read.command_template,
            qos=int(read.qos),
            retain=read.retain,
        ),
    )


def _output(name: str, section: str, config: AppConfig) -> Output:
    read = load_settings(OutputSection, section, config)
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
