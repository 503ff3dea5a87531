"""What one device costs in memory: registry, discovery and their shared templates, for devices of three entities.

    python benchmarks/registry_memory.py --devices 10000

Three kinds of devices announce themselves as zigbee2mqtt, ESPHome and Tasmota's Home Assistant discovery do, each with three
entities and an availability topic; the plugs have a command. Measured is what Python's allocator holds more after than before
(tracemalloc).
"""

from __future__ import annotations

import argparse
import gc
import json
import tracemalloc
from collections.abc import Callable
from typing import TypeAlias

from event_processor.discovery.discovery import Discovery

Maker: TypeAlias = Callable[[int], list[tuple[str, dict[str, object]]]]


def zigbee(index: int) -> list[tuple[str, dict[str, object]]]:
    """A climate sensor of zigbee2mqtt."""
    address, name = f"0x00158d{index:010x}", f"Room {index} climate"
    device = {
        "identifiers": [f"zigbee2mqtt_{address}"],
        "manufacturer": "Aqara",
        "model": "Temperature and humidity sensor",
        "name": name,
        "via_device": "zigbee2mqtt_bridge_0x00124b0024c1a2b3",
    }
    configs: list[tuple[str, dict[str, object]]] = []
    for kind, unit in (("temperature", "°C"), ("humidity", "%"), ("battery", "%")):
        config: dict[str, object] = {
            "availability": [
                {"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"},
                {"topic": f"zigbee2mqtt/{name}/availability", "value_template": "{{ value_json.state }}"},
            ],
            "availability_mode": "all",
            "device": device,
            "device_class": kind,
            "enabled_by_default": True,
            "object_id": f"room_{index}_climate_{kind}",
            "state_class": "measurement",
            "state_topic": f"zigbee2mqtt/{name}",
            "unique_id": f"{address}_{kind}_zigbee2mqtt",
            "unit_of_measurement": unit,
            "value_template": f"{{{{ value_json.{kind} }}}}",
        }
        configs.append((f"homeassistant/sensor/{address}/{kind}/config", config))
    return configs


def esphome(index: int) -> list[tuple[str, dict[str, object]]]:
    """A multi-sensor of ESPHome, with a topic for each value."""
    node, mac = f"multi-{index}", f"a4cf{index:08x}"
    configs: list[tuple[str, dict[str, object]]] = []
    for kind, unit in (("temperature", "°C"), ("humidity", "%"), ("illuminance", "lx")):
        config: dict[str, object] = {
            "dev_cla": kind,
            "unit_of_meas": unit,
            "stat_cla": "measurement",
            "name": kind.capitalize(),
            "stat_t": f"{node}/sensor/{kind}/state",
            "avty_t": f"{node}/status",
            "uniq_id": f"ESPsensor{kind}{index}",
            "dev": {"ids": mac, "name": node, "sw": "esphome v2024.6.0", "mdl": "nodemcuv2", "mf": "espressif"},
        }
        configs.append((f"homeassistant/sensor/{node}/{kind}/config", config))
    return configs


def plug(index: int) -> list[tuple[str, dict[str, object]]]:
    """A plug of Tasmota: a relay with a command, power and energy."""
    id, topic = f"{index:06X}", f"plug_{index}"
    shared: dict[str, object] = {
        "avty_t": f"tele/{topic}/LWT",
        "pl_avail": "Online",
        "pl_not_avail": "Offline",
        "dev": {"ids": [id], "name": f"Plug {index}", "mdl": "Gosund", "sw": "9.1.0", "mf": "Tasmota"},
    }
    relay: dict[str, object] = {
        "name": None,
        "stat_t": f"tele/{topic}/STATE",
        "cmd_t": f"cmnd/{topic}/POWER",
        "val_tpl": "{{value_json.POWER}}",
        "pl_off": "OFF",
        "pl_on": "ON",
        "uniq_id": f"{id}_RL_1",
    }
    configs: list[tuple[str, dict[str, object]]] = [(f"homeassistant/switch/{id}_RL_1/config", {**relay, **shared})]
    for what, unit, kind in (("Power", "W", "power"), ("Total", "kWh", "energy")):
        config: dict[str, object] = {
            "name": what,
            "stat_t": f"tele/{topic}/SENSOR",
            "val_tpl": f"{{{{value_json['ENERGY']['{what}']}}}}",
            "unit_of_meas": unit,
            "dev_cla": kind,
            "uniq_id": f"{id}_ENERGY_{what}",
        }
        configs.append((f"homeassistant/sensor/{id}_ENERGY_{what}/config", {**config, **shared}))
    return configs


def fill(discovery: Discovery, devices: int, kinds: list[Maker]) -> None:
    for index in range(devices):
        for topic, config in kinds[index % len(kinds)](index):
            found = discovery.read(topic, json.dumps(config).encode(), retained=True, now=1.0)
            assert not found.problems, found.problems


def measure(name: str, devices: int, kinds: list[Maker]) -> float:
    fill(Discovery(), 3, kinds)  # what is made once, such as the sandbox's own tables
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    discovery = Discovery()
    fill(discovery, devices, kinds)
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before) / devices
    tracemalloc.stop()
    assert len(discovery.registry.entities) == 3 * devices, len(discovery.registry.entities)
    templates = len(discovery.catalogue.templates)
    print(f"{name}: {each:.0f} bytes for each of {devices} devices of three entities; {templates} templates in all")
    return each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    options = parser.parse_args()
    kinds: tuple[tuple[str, Maker], ...] = (("zigbee2mqtt", zigbee), ("ESPHome", esphome), ("Tasmota", plug))
    worst = max(measure(name, options.devices, [make]) for name, make in kinds)
    print(f"the largest kind: {worst:.0f} bytes for each device")
    print(f"mixed: {measure('all three', options.devices, [make for _, make in kinds]):.0f} bytes for each device")


if __name__ == "__main__":
    main()
