"""Reads the two forms of Home Assistant's MQTT discovery: one message for each component, or one for the whole device.

    homeassistant/<component>/[<node>/]<object>/config      an entity, and the device that it belongs to
    homeassistant/device/[<node>/]<object>/config           a device with all of its components

An empty payload takes an announcement back. In the device form a component that is no longer there, or of which only the
platform is left, is taken back too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.homeassistant.abbreviations import written_out
from event_processor.discovery.homeassistant.climates import CLIMATES
from event_processor.discovery.homeassistant.compound import COMPOUND
from event_processor.discovery.homeassistant.config import AVAILABILITY_KEYS, Config
from event_processor.discovery.homeassistant.openings import OPENINGS
from event_processor.discovery.homeassistant.simple import SIMPLE, Reader
from event_processor.discovery.identities import mac_token
from event_processor.discovery.naming import clean
from event_processor.discovery.payload import Payload, as_text
from event_processor.discovery.plan import Plan, Watching, Who
from event_processor.domain.entities import Found
from event_processor.domain.registry import MOST_ENTITIES
from pylib.errors import DecodeError

__all__ = ["BIRTH_TOPIC", "HomeAssistant"]

BIRTH_TOPIC: Final = "homeassistant/status"
"""Where Home Assistant says that it is there (``online``), so that announcements are sent again."""

_READERS: Final[Mapping[str, Reader]] = {**SIMPLE, **COMPOUND, **OPENINGS, **CLIMATES}
# What the root of the device form says for all of its components that do not say otherwise.
_SHARED: Final = ("state_topic", "command_topic", "qos", "encoding")


class HomeAssistant:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None, *, prefix: str = "homeassistant", own: Iterable[str] = ()) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self._prefix = prefix.split("/")
        self._own = frozenset(own)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        prefix = "/".join(self._prefix)
        return (f"{prefix}/+/+/config", f"{prefix}/+/+/+/config")

    def read(self, topic: str, body: bytes, *, retained: bool, now: float) -> Found:
        """Read one message, an announcement or a report. Never raises."""
        out, payload = Findings(), Payload(topic, body, retained=retained, now=now)
        self.catalogue.hear(payload, out)
        self.announced(payload, out)
        return out.found()

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Read an announcement. Return whether the topic is that of one."""
        levels = payload.topic.split("/")
        start = len(self._prefix)
        if payload.topic in self._own:
            return True  # what the hub announces of itself is not one of its devices
        if levels[:start] != self._prefix or levels[-1] != "config" or len(levels) - start not in (3, 4):
            return False
        component, object_id = levels[start], " ".join(levels[start + 1 : -1])
        if not payload.body:
            self.catalogue.withdraw(out, payload.topic)
            return True
        try:
            config = payload.object()
            if config.get("migrate_discovery") or config.get("migr_discvry"):
                return True  # the device form follows, and takes the entities over by their unique ids
            if component == "device":
                self._device(payload, out, config, object_id)
            else:
                self._component(payload, out, component, object_id, config)
        except DecodeError as error:
            out.problem(payload.topic, str(error))
        return True

    def _component(
        self, payload: Payload, out: Findings, component: str, object_id: str, config: Mapping[str, object]
    ) -> None:
        data = written_out(config)
        reader = _reader(component)
        who = self._who(data, f"{component}.{object_id}")
        read = Config(component, object_id, data, self.catalogue.templates, who.name, payload.now)
        plans = reader(read)
        self._announce(out, payload, who, [_watched(plan, read.watching()) for plan in plans], None)

    def _device(self, payload: Payload, out: Findings, config: Mapping[str, object], object_id: str) -> None:
        root = written_out(config)
        components = root.get("components")
        if not isinstance(components, dict) or not components:
            raise DecodeError("components: expected an object with the device's components")
        if not isinstance(root.get("device"), dict):
            raise DecodeError("device: expected an object with at least identifiers or connections")
        who = self._who(root, f"device.{object_id}")
        shared: dict[str, object] = {key: root[key] for key in _SHARED if key in root}
        watching = Config("device", object_id, root, self.catalogue.templates, who.name, payload.now).watching()
        plans: list[Plan] = []
        if len(components) > MOST_ENTITIES:
            out.problem(payload.topic, f"{len(components)} components, and the first {MOST_ENTITIES} are taken in")
        for name, component in list(components.items())[:MOST_ENTITIES]:
            try:
                if not isinstance(component, dict):
                    raise DecodeError("expected an object")
                data = written_out(component, config.get("~"))
                platform = as_text(data.pop("platform", ""))
                if not data:
                    continue  # only the platform is left: the component is taken back
                reader = _reader(platform)
                mine = shared | data
                read = Config(platform, f"{object_id} {name}", mine, self.catalogue.templates, who.name, payload.now)
                own = read.watching() if any(key in data for key in AVAILABILITY_KEYS) else None
                plans += [_watched(plan, own) for plan in reader(read)]
            except DecodeError as error:
                out.problem(payload.topic, f"component {clean(name)}: {error}")
        self._announce(out, payload, who, plans, watching)

    def _announce(self, out: Findings, payload: Payload, who: Who, plans: list[Plan], watching: Watching | None) -> None:
        self.catalogue.announce(out, payload.topic, payload.topic, who, plans, watching)

    def _who(self, data: Mapping[str, object], fallback: str) -> Who:
        device = data.get("device")
        if device is None:
            # An entity may come without a device; it is one of its own then.
            name = clean(data.get("name")) or clean(data.get("unique_id")) or fallback
            return Who(tokens=(f"{clean(data.get('unique_id')) or fallback}",), name=name, convention="homeassistant")
        if not isinstance(device, dict):
            raise DecodeError("device: expected an object")
        tokens: dict[str, None] = {}
        listed = device.get("identifiers")
        for identifier in listed if isinstance(listed, list) else [listed]:
            token = clean(identifier)
            if token:
                tokens[token] = None
        pairs = device.get("connections")
        for pair in pairs if isinstance(pairs, list) else ():
            if isinstance(pair, list) and len(pair) == 2:
                kind, value = clean(pair[0]), clean(pair[1])
                token = mac_token(value) if kind == "mac" else f"{kind}:{value}"
                if kind and value and token:
                    tokens[token] = None
        if not tokens:
            raise DecodeError("device: expected identifiers or connections, and found neither")
        software, hardware = clean(device.get("sw_version"), 80), clean(device.get("hw_version"), 80)
        return Who(
            tokens=tuple(tokens)[:16],
            name=clean(device.get("name")),
            convention="homeassistant",
            room=clean(device.get("suggested_area"), 80),
            manufacturer=clean(device.get("manufacturer"), 80),
            model=clean(device.get("model"), 80) or clean(device.get("model_id"), 80),
            software=software or hardware,
            via=clean(device.get("via_device")),
        )


def _reader(component: str) -> Reader:
    reader = _READERS.get(component)
    if reader is None:
        raise DecodeError(f"{clean(component, 40) or 'a component without a platform'} is not a component that is known")
    return reader


def _watched(plan: Plan, watching: Watching | None) -> Plan:
    return plan if watching is None else plan.watched(watching)
