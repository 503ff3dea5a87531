"""The devices of the simulated home, and the one that is an application on RabbitMQ."""

from __future__ import annotations

from typing import Final

from event_processor.simulator.devices import Device, Part

__all__ = ["DEVICES", "GARDEN"]


def _battery() -> Part:
    return _sensor("battery", "battery", "%")


def _sensor(name: str, kind: str, unit: str, state: str = "measurement") -> Part:
    return Part("sensor", name, name, {"device_class": kind, "unit_of_measurement": unit, "state_class": state})


def _binary(kind: str, field: str) -> Part:
    return Part("binary_sensor", "", field, {"device_class": kind})


def _opening(id: str, name: str, room: str, kind: str = "door") -> Device:
    return Device(id, name, room, "Contact sensor", (_binary(kind, "contact"), _battery()))


def _motion(id: str, name: str, room: str) -> Device:
    parts = (_binary("motion", "occupancy"), _sensor("illuminance", "illuminance", "lx"), _battery())
    return Device(id, name, room, "Motion sensor", parts)


def _light(id: str, name: str, room: str) -> Device:
    light = {"schema": "json", "command_topic": "./set", "brightness": True, "supported_color_modes": ["brightness"]}
    return Device(id, name, room, "Lamp", (Part("light", more=light),))


_CLIMATE: Final = Part("climate", more={
    "modes": ["heat", "off"], "temperature_unit": "C", "min_temp": 7, "max_temp": 28, "temp_step": 0.5,
    "mode_state_topic": "./state", "mode_state_template": "{{ value_json.mode }}", "mode_command_topic": "./mode/set",
    "temperature_state_topic": "./state", "temperature_state_template": "{{ value_json.target }}",
    "temperature_command_topic": "./target/set",
    "current_temperature_topic": "./state", "current_temperature_template": "{{ value_json.temperature }}",
})  # fmt: skip

_CAMERA: Final = Device(
    "entrance_camera", "Entrance Camera", "Garden", "Camera",
    (
        _binary("occupancy", "person"),
        Part("image", "picture", more={"image_topic": "./picture", "content_type": "image/png"}),
    ),
    link="camera",
)  # fmt: skip

_PLUG: Final = Device(
    "coffee_plug", "Coffee Machine", "Kitchen", "Plug with meter",
    (
        Part("switch", "", "state", {"command_topic": "./set", "device_class": "outlet"}),
        _sensor("power", "power", "W"),
        _sensor("energy", "energy", "kWh", "total_increasing"),
    ),
    link="plug",
)  # fmt: skip

DEVICES: Final[tuple[Device, ...]] = (
    _opening("entrance_door", "Entrance Door", "Hall"),
    _opening("kitchen_door", "Kitchen Door", "Kitchen"),
    _opening("bedroom_window", "Bedroom Window", "Bedroom", "window"),
    _motion("hall_motion", "Hall Motion", "Hall"),
    _motion("kitchen_motion", "Kitchen Motion", "Kitchen"),
    Device("living_climate", "Living Room Heating", "Living Room", "Thermostat", (_CLIMATE,)),
    Device(
        "bathroom_climate", "Bathroom Climate", "Bathroom", "Thermometer",
        (_sensor("temperature", "temperature", "°C"), _sensor("humidity", "humidity", "%"), _battery()),
    ),
    Device(
        "water_meter", "House Water", "Cellar", "Water meter",
        (_sensor("total", "water", "L", "total_increasing"), _sensor("flow", "volume_flow_rate", "L/min")),
    ),
    Device(
        "water_valve", "Water Valve", "Cellar", "Valve",
        (Part("valve", "", "state", {"command_topic": "./set", "device_class": "water"}),),
    ),
    Device(
        "house_power", "House Power", "Cellar", "Electricity meter",
        (_sensor("power", "power", "W"), _sensor("energy", "energy", "kWh", "total_increasing")),
    ),
    _light("hall_light", "Hall Light", "Hall"),
    _light("living_light", "Living Room Light", "Living Room"),
    Device("siren", "Hall Siren", "Hall", "Siren", (
        Part("siren", more={"command_topic": "./set", "state_value_template": "{{ value_json.state }}"}),
    )),
    Device("phone", "Anna Phone", "", "Telephone", (Part("device_tracker", "", "presence"),)),
    _CAMERA,
    _PLUG,
)  # fmt: skip

GARDEN: Final = {"device_key": "Garden Thermometer", "type": "temperature", "device_label": "Garden"}
"""An application on RabbitMQ, in the form of the first ones."""
