"""Components that have several values: each becomes an entity, such as "Lamp" and "Lamp brightness".

Covers and climates are in ``openings`` and ``climates``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypedDict

import msgspec

from event_processor.discovery.homeassistant.config import Config, named
from event_processor.discovery.homeassistant.simple import Reader
from event_processor.discovery.meaning import Anything, Meaning, Number, on_off
from event_processor.discovery.plan import Plan, Source
from event_processor.domain.entities import CommandForm
from pylib.errors import DecodeError

__all__ = ["COMPOUND", "part"]

_ON_OFF: Final = {"on": "on", "off": "off"}
_RGB: Final = ("red", "green", "blue")
# What templates call the parts of a colour, by the kind of it.
_COLOURED: Final[Mapping[str, tuple[str, ...]]] = {
    "hs": ("hue", "sat"), "xy": ("x", "y"), "rgb": _RGB, "rgbw": (*_RGB, "white"),
    "rgbww": (*_RGB, "cold_white", "warm_white"),
}  # fmt: skip


def part(
    config: Config,
    name: str,
    key: str,
    meaning: Meaning,
    *,
    value: str = "",
    command: str = "",
    type: str = "",
    unit: str = "",
    options: tuple[str, ...] = (),
    limits: tuple[float, float, float] | None = None,
    payloads: Mapping[str, str] | None = None,
    names: tuple[str, ...] = (),
    reset: str = "",
) -> tuple[Plan, ...]:
    """One part of a component, whose keys all start with ``key``: ``<key>_state_topic``, ``<key>_command_topic`` and so on.

    ``value`` and ``command`` are the keys of the two templates where these are not ``<key>_value_template`` (or
    ``<key>_state_template``) and ``<key>_command_template``.
    """
    template = value or (f"{key}_value_template" if f"{key}_value_template" in config else f"{key}_state_template")
    sources = config.source(f"{key}_state_topic", template, meaning, reset=reset)
    told = config.command(
        f"{key}_command_topic",
        command or f"{key}_command_template",
        options=options,
        limits=limits,
        payloads=payloads,
        names=names,
    )
    if not sources and told is None:
        return ()
    return (config.plan(sources, told, part=name, type=type or name, unit=unit),)


def light(config: Config) -> tuple[Plan, ...]:
    schema = config.text("schema", "basic")
    if schema == "json":
        return _json_light(config)
    if schema == "template":
        return _template_light(config)
    if schema != "basic":
        raise DecodeError("schema: expected basic, json or template")
    on, off = config.text("payload_on", "ON"), config.text("payload_off", "OFF")
    sources = config.source("state_topic", "state_value_template", on_off(on, off))
    command = config.command(template="", payloads={"on": on, "off": off}, confirmed=_ON_OFF if sources else None)
    scale = config.number("brightness_scale", 255)
    brightness = part(config, "brightness", "brightness", Number(), limits=(0, scale, 1))
    main = _command(command)
    if config.text("on_command_type") == "brightness" and config.text("brightness_command_topic") == main.topic:
        # It is switched on by its brightness, and does not know the word.
        bright = config.templates.command(
            config.text("brightness_command_template") or "{{ value }}", {"value": int(scale)}, 0
        )
        main = msgspec.structs.replace(main, payloads=config.templates.mapping({"on": bright, "off": off}))
    return (
        config.plan(sources, main),
        *brightness,
        *part(config, "color temperature", "color_temp", Number(), type="color_temp", **_warmth(config)),
        *part(config, "effect", "effect", Anything(), options=config.texts("effect_list")),
        *(
            plan
            for kind, names in _COLOURED.items()
            for plan in part(config, f"{kind} color", kind, Anything(), type="color", names=names)
        ),
    )


class _Warmth(TypedDict):
    limits: tuple[float, float, float] | None
    unit: str


def _warmth(config: Config) -> _Warmth:
    """Range and unit of a colour temperature: mireds unless it says that it is kelvin."""
    kind, unit = ("kelvin", "K") if config.flag("color_temp_kelvin") else ("mireds", "mired")
    low, high = config.number(f"min_{kind}", 0), config.number(f"max_{kind}", 0)
    return {"limits": (low, high, 1.0) if 0 < low < high else None, "unit": unit}


def _json_light(config: Config) -> tuple[Plan, ...]:
    topic = config.topic("state_topic")
    modes = config.texts("supported_color_modes") if isinstance(config.data.get("supported_color_modes"), list) else ()

    def read(meaning: Meaning, *steps: str) -> tuple[Source, ...]:
        return (Source(topic, config.templates.path(*steps), meaning),) if topic else ()

    def tell(
        field: str, options: tuple[str, ...] = (), limits: tuple[float, float, float] | None = None
    ) -> CommandForm | None:
        value = '"{value}"' if field == "effect" else "{value}"
        plain = f'{{"state": "ON", "{field}": {value}}}'
        return config.command(template="", plain=plain, options=options, limits=limits)

    main = config.command(
        template="",
        payloads={"on": '{"state": "ON"}', "off": '{"state": "OFF"}'},
        confirmed=_ON_OFF if topic else None,
    )
    plans = [config.plan(read(on_off(), "state"), _command(main))]
    if config.flag("brightness") or any(mode not in ("onoff",) for mode in modes):
        scale = config.number("brightness_scale", 255)
        command = tell("brightness", limits=(0, scale, 1))
        plans.append(config.plan(read(Number(), "brightness"), command, part="brightness", type="brightness"))
    if config.flag("color_temp") or "color_temp" in modes:
        warmth = _warmth(config)
        command = tell("color_temp", limits=warmth["limits"])
        reading = read(Number(), "color_temp")
        plans.append(config.plan(reading, command, part="color temperature", type="color_temp", unit=warmth["unit"]))
    if any(mode in _COLOURED for mode in modes) or any(config.flag(mode) for mode in ("hs", "xy", "rgb")):
        plans.append(config.plan(read(Anything(), "color"), tell("color"), part="color", type="color"))
    if config.flag("effect"):
        command = tell("effect", options=config.texts("effect_list"))
        plans.append(config.plan(read(Anything(), "effect"), command, part="effect", type="effect"))
    return tuple(plans)


def _template_light(config: Config) -> tuple[Plan, ...]:
    sources = config.source("state_topic", "state_template", on_off("on", "off"))
    if sources and "state_template" not in config:
        sources = ()
    payloads: dict[str, str] = {}
    for word in ("on", "off"):
        template = config.text(f"command_{word}_template")
        if not template:
            raise DecodeError(f"command_{word}_template: a light with this schema has to have one")
        # Nothing but the state is asked for, so what it makes is always the same.
        payloads[word] = config.templates.command(template, {"state": word}, config.now)
    command = config.command(template="", payloads=payloads, confirmed=_ON_OFF if sources else None)
    plans = [config.plan(sources, _command(command))]
    warmth = _warmth(config)
    parts: tuple[tuple[str, str, Meaning, tuple[float, float, float] | None, tuple[str, ...], str], ...] = (
        ("brightness", "brightness", Number(), (0, 255, 1), (), ""),
        ("color temperature", "color_temp", Number(), warmth["limits"], (), warmth["unit"]),
        ("effect", "effect", Anything(), None, config.texts("effect_list"), ""),
    )
    switch = config.text("command_on_template")
    for name, key, meaning, limits, options, unit in parts:
        reading = config.source("state_topic", f"{key}_template", meaning) if config.text(f"{key}_template") else ()
        told = None
        if key in switch:
            plain = "{% set state = 'on' %}" + named(switch, (key,))
            told = config.command(template="", plain=plain, limits=limits, options=options)
        if reading or told is not None:
            plans.append(config.plan(reading, told, part=name, type=key, unit=unit))
    return tuple(plans)


def fan(config: Config) -> tuple[Plan, ...]:
    on, off = config.text("payload_on", "ON"), config.text("payload_off", "OFF")
    sources = config.source("state_topic", "state_value_template", on_off(on, off))
    command = config.command(payloads={"on": on, "off": off}, confirmed=_ON_OFF if sources else None)
    low, high = config.number("speed_range_min", 1), config.number("speed_range_max", 100)
    swings = (config.text("payload_oscillation_on", "oscillate_on"), config.text("payload_oscillation_off", "oscillate_off"))
    ways = ("forward", "reverse")
    return (
        config.plan(sources, _command(command)),
        *part(
            config,
            "speed",
            "percentage",
            Number(strict=False),
            limits=(low - 1, high, 1),
            reset="payload_reset_percentage",
        ),
        *part(
            config,
            "preset mode",
            "preset_mode",
            Anything(),
            type="preset_mode",
            options=config.texts("preset_modes"),
            reset="payload_reset_preset_mode",
        ),
        *part(
            config, "oscillation", "oscillation", on_off(*swings), payloads={"on": swings[0], "off": swings[1]}, options=swings
        ),
        *part(config, "direction", "direction", Anything(), options=ways),
    )


def humidifier(config: Config) -> tuple[Plan, ...]:
    on, off = config.text("payload_on", "ON"), config.text("payload_off", "OFF")
    sources = config.source("state_topic", "state_value_template", on_off(on, off))
    command = config.command(payloads={"on": on, "off": off}, confirmed=_ON_OFF if sources else None)
    limits = (config.number("min_humidity", 0), config.number("max_humidity", 100), 1.0)
    current = config.source("current_humidity_topic", "current_humidity_template", Number())
    action = config.source("action_topic", "action_template", Anything(idle="off"))
    return (
        config.plan(sources, _command(command)),
        *part(
            config,
            "target humidity",
            "target_humidity",
            Number(),
            type="humidity",
            unit="%",
            limits=limits,
            reset="payload_reset_humidity",
        ),
        *part(config, "mode", "mode", Anything(), options=config.texts("modes"), reset="payload_reset_mode"),
        *((config.plan(current, part="current humidity", type="humidity", unit="%"),) if current else ()),
        *((config.plan(action, part="action", type="action"),) if action else ()),
    )


def vacuum(config: Config) -> tuple[Plan, ...]:
    topic = config.topic("state_topic")

    def read(field: str, meaning: Meaning) -> tuple[Source, ...]:
        return (Source(topic, config.templates.path(field), meaning),) if topic else ()

    words = ("start", "pause", "stop", "return_to_base", "clean_spot", "locate")
    payloads = {word: config.text(f"payload_{word}", word) for word in words}
    confirmed = {"start": "cleaning", "pause": "paused", "return_to_base": "returning"} if topic else None
    plans = [config.plan(read("state", Anything()), config.command(template="", payloads=payloads, confirmed=confirmed))]
    speeds = config.command("set_fan_speed_topic", "", options=config.texts("fan_speed_list"))
    if speeds is not None:
        plans.append(config.plan(read("fan_speed", Anything()), speeds, part="fan speed", type="fan_speed"))
    return tuple(plans)


def lawn_mower(config: Config) -> tuple[Plan, ...]:
    sources = config.source("activity_state_topic", "activity_value_template", Anything())
    plans = [config.plan(sources)] if sources else []
    for what, key, payload in (
        ("start", "start_mowing", "start_mowing"),
        ("pause", "pause", "pause"),
        ("dock", "dock", "dock"),
    ):
        command = config.command(f"{key}_command_topic", f"{key}_command_template", payloads={"press": payload})
        if command is not None:
            plans.append(config.plan((), command, part=what, type="button"))
    return tuple(plans)


def alarm_control_panel(config: Config) -> tuple[Plan, ...]:
    sources = config.source("state_topic", "value_template", Anything())
    names = ("arm_away", "arm_home", "arm_night", "arm_vacation", "arm_custom_bypass", "disarm", "trigger")
    payloads = {name: config.text(f"payload_{name}", name.upper()) for name in names}
    confirmed = {name: name.replace("arm_", "armed_") for name in names if name.startswith("arm_")}
    confirmed |= {"disarm": "disarmed", "trigger": "triggered"}
    command = config.command(payloads=payloads, confirmed=confirmed if sources else None, names=("action",))
    return (config.plan(sources, _command(command), type="alarm"),)


def _command(command: CommandForm | None) -> CommandForm:
    if command is None:
        raise DecodeError("command_topic: there has to be one")
    return command


COMPOUND: Final[Mapping[str, Reader]] = {
    "light": light, "fan": fan, "humidifier": humidifier, "vacuum": vacuum, "lawn_mower": lawn_mower,
    "alarm_control_panel": alarm_control_panel,
}  # fmt: skip
"""Components by name."""
