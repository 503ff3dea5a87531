"""How Home Assistant sees the hub: as a device with its modes, its rules as switches, and which devices are there.

Pure functions: they return the messages to publish, and read those that Home Assistant sends. Publish ``announcement`` and
``states`` on each connection and whenever Home Assistant says ``online`` on its birth topic; ``last_will`` is the will of the
connection. What is gone has to be told once with ``gone``, or Home Assistant keeps it for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from event_processor.discovery.plan import hash_of

__all__ = [
    "Asked", "HubDevice", "HubRule", "HubView", "Message", "announcement", "announcement_topic", "command_filters",
    "components", "is_birth", "last_will", "read_command", "slug_of", "states",
]  # fmt: skip

What: TypeAlias = Literal["mode", "rule", "maintenance", "button"]
_SLUG: Final = re.compile(r"[^a-z0-9]+")


class Message(NamedTuple):
    """A message to publish, with QoS 1."""

    topic: str
    payload: str
    retain: bool


class HubRule(msgspec.Struct, frozen=True):
    """A rule, and whether it is switched on. ``id`` is what its topics are made of; without one, its name."""

    name: str
    enabled: bool
    id: str = ""

    @property
    def slug(self) -> str:
        """Its level of a topic."""
        return slug_of(self.id or self.name)


class HubDevice(msgspec.Struct, frozen=True):
    """A device, and whether it is there; ``None`` where nothing is known."""

    id: str
    name: str
    online: bool | None


class HubView(msgspec.Struct, frozen=True, kw_only=True):
    """What Home Assistant is to see. ``id`` is the hub's own, the same for all hubs of a standby set; ``availability`` is the
    topic of the connection's last will, where it is not one of these."""

    id: str
    name: str = "Event hub"
    version: str = ""
    modes: tuple[str, ...] = ()
    mode: str = ""
    maintenance: bool = False
    rules: tuple[HubRule, ...] = ()
    devices: tuple[HubDevice, ...] = ()
    buttons: tuple[str, ...] = ()
    prefix: str = "homeassistant"
    base: str = "event-processor"
    availability: str = ""


class Asked(NamedTuple):
    """What somebody asks for in Home Assistant. ``name`` is the rule's or the button's as its slug; see ``slug_of``."""

    what: What
    slug: str
    value: str


def slug_of(name: str) -> str:
    """A level of a topic for a name; names that only differ in what a topic cannot hold get different ones."""
    plain = _SLUG.sub("_", name.lower()).strip("_")[:40]
    return plain if plain == name else f"{plain}_{hash_of(name) & 0xFFFFFF:06x}".lstrip("_")


def announcement_topic(view: HubView) -> str:
    """Where the hub announces itself. ``Discovery`` is told to pass it over (``own``)."""
    return f"{view.prefix}/device/{slug_of(view.id)}/config"


def components(view: HubView) -> dict[str, dict[str, object]]:
    """The hub's entities by their ids."""
    base, hub = f"{view.base}/{slug_of(view.id)}", slug_of(view.id)
    made: dict[str, dict[str, object]] = {}

    def add(platform: str, id: str, name: str, topic: str, *, told: bool = True, shown: bool = True, **more: object) -> None:
        entry: dict[str, object] = {"p": platform, "unique_id": f"{hub}_{id}", "name": name, **more}
        if shown:
            entry["state_topic"] = f"{base}/{topic}/state"
        if told:
            entry["command_topic"] = f"{base}/{topic}/set"
        made[id] = entry

    if view.modes:
        add("select", "mode", "Mode", "mode", options=list(view.modes), icon="mdi:shield-home")
    add("switch", "maintenance", "Maintenance", "maintenance", entity_category="config")
    for rule in view.rules:
        slug = rule.slug
        add("switch", f"rule_{slug}", rule.name, f"rule/{slug}", entity_category="config", icon="mdi:script-text")
    for button in view.buttons:
        add("button", f"button_{slug_of(button)}", button, f"button/{slug_of(button)}", shown=False)
    for device in view.devices:
        slug = slug_of(device.id)
        add(
            "binary_sensor", f"device_{slug}", device.name, f"device/{slug}", told=False,
            device_class="connectivity", entity_category="diagnostic",
        )  # fmt: skip
    return made


def announcement(view: HubView, gone: Mapping[str, str] | None = None) -> Message:
    """The hub's own device announcement. ``gone`` has the ids and platforms of entities that are to be taken away."""
    told: dict[str, dict[str, object]] = {id: {"p": platform} for id, platform in (gone or {}).items()}
    hub = slug_of(view.id)
    payload = {
        "dev": {
            "ids": [f"event_processor_{hub}"],
            "name": view.name,
            "mf": "event-processor",
            "mdl": "Event hub",
            **({"sw": view.version} if view.version else {}),
        },
        "o": {"name": "event-processor", **({"sw": view.version} if view.version else {})},
        "avty": [{"t": last_will(view).topic}],
        "cmps": told | components(view),
        "qos": 1,
    }
    return Message(announcement_topic(view), json.dumps(payload, ensure_ascii=False, separators=(",", ":")), True)


def states(view: HubView, before: HubView | None = None) -> tuple[Message, ...]:
    """The state of each entity; with ``before``, of those that are different now. What is gone is cleared."""
    now, then = _states(view), {} if before is None else _states(before)
    changed = [Message(topic, payload, True) for topic, payload in now.items() if then.get(topic) != payload]
    return (*changed, *(Message(topic, "", True) for topic in then if topic not in now))


def _states(view: HubView) -> dict[str, str]:
    base = f"{view.base}/{slug_of(view.id)}"
    made = {last_will(view).topic: "online", f"{base}/maintenance/state": _word(view.maintenance)}
    if view.modes:
        made[f"{base}/mode/state"] = view.mode
    for rule in view.rules:
        made[f"{base}/rule/{rule.slug}/state"] = _word(rule.enabled)
    for device in view.devices:
        made[f"{base}/device/{slug_of(device.id)}/state"] = "None" if device.online is None else _word(device.online)
    return made


def last_will(view: HubView) -> Message:
    """What the broker is to say when the hub is gone."""
    return Message(view.availability or f"{view.base}/{slug_of(view.id)}/availability", "offline", True)


def command_filters(view: HubView) -> tuple[str, ...]:
    """What to subscribe to: commands, and Home Assistant's birth."""
    base = f"{view.base}/{slug_of(view.id)}"
    return (f"{base}/+/set", f"{base}/+/+/set", f"{view.prefix}/status")


def is_birth(view: HubView, topic: str, body: bytes) -> bool:
    """Whether Home Assistant says that it has started, and everything is to be announced again."""
    return topic == f"{view.prefix}/status" and body.strip() == b"online"


def read_command(view: HubView, topic: str, body: bytes, *, retained: bool) -> Asked | None:
    """Read what Home Assistant asks for; ``None`` where it is nothing that the hub has.

    What was retained is no command: somebody asked for it in the past.
    """
    base = f"{view.base}/{slug_of(view.id)}/"
    if retained or not topic.startswith(base) or not topic.endswith("/set"):
        return None
    what, _, slug = topic[len(base) : -len("/set")].partition("/")
    value = body[:200].decode("utf-8", "replace").strip()
    if what == "mode" and not slug and value in view.modes:
        return Asked("mode", "", value)
    if what == "maintenance" and not slug and value in ("ON", "OFF"):
        return Asked("maintenance", "", value)
    if what == "rule" and value in ("ON", "OFF") and slug in {rule.slug for rule in view.rules}:
        return Asked("rule", slug, value)
    if what == "button" and slug in map(slug_of, view.buttons):
        return Asked("button", slug, value)
    return None


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
