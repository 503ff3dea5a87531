"""Shelly devices of the second generation and later, which speak JSON-RPC over MQTT.

    <id>/events/rpc              NotifyStatus, NotifyFullStatus: what has changed; NotifyEvent: what has happened
    <id>/status/<component>      the whole status of a component, where that is switched on
    <id>/online                  the last will: true or false
    <id>/rpc                     commands

There is no announcement: what a device has is learned from what it reports. Source: https://shelly-api-docs.shelly.cloud/gen2/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from sys import intern
from typing import Final

import msgspec

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.identities import mac_token
from event_processor.discovery.meaning import Momentary
from event_processor.discovery.naming import clean
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Source, Watching, Who, Word
from event_processor.discovery.shelly_components import FIELDS, Field, command_of, field_of
from event_processor.discovery.templates import MISSING, Extractor
from event_processor.domain.entities import CommandForm, Role
from event_processor.domain.registry import MOST_DEVICES, MOST_ENTITIES
from pylib.errors import DecodeError

__all__ = ["Shelly"]

_COMPONENT: Final = re.compile(r"[a-z0-9_]{1,30}(:\d{1,6})?", re.ASCII)
_NOTIFICATIONS: Final = ("NotifyStatus", "NotifyFullStatus", "NotifyEvent")
_PUSHED: Final = "event"
_EDGES: Final = ("btn_down", "btn_up")
_PUSHABLE: Final = ("input", "button", "bthomedevice")


class _Happened:
    """The event of one component in a ``NotifyEvent``."""

    __slots__ = ("_component",)

    def __init__(self, component: str) -> None:
        self._component = component

    def of(self, payload: Payload) -> object:
        told = payload.object()
        params = told.get("params")
        events = params.get("events") if told.get("method") == "NotifyEvent" and isinstance(params, dict) else None
        said: object = MISSING
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict) and event.get("component") == self._component:
                happened = event.get("event", MISSING)
                if said is MISSING or happened not in _EDGES:  # what the finger did comes beside what it meant
                    said = happened
        return said


class Shelly:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        # The fields of each device; devices of one model share the set.
        self._fields: dict[str, frozenset[str]] = {}
        self._sets: dict[frozenset[str], frozenset[str]] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to. A prefix of several levels is to be subscribed to beside these."""
        return ("+/events/rpc", "+/online", "+/status/+")

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Learn what a report shows of its device. Return whether the topic is that of one."""
        prefix, rest = _split(payload.topic)
        if not prefix:
            return False
        if not payload.body:
            return rest == "events/rpc"
        try:
            if rest == "events/rpc":
                self._notified(payload, out, prefix)
                return True
            if not self._is_shelly(prefix):
                return False
            if rest == "online":
                self._learn(payload, out, prefix, prefix, ())
            else:
                component = rest.removeprefix("status/")
                status = payload.json_or_none()
                if _COMPONENT.fullmatch(component) and isinstance(status, dict):
                    self._learn(payload, out, prefix, prefix, _seen(component, status))
        except DecodeError as error:
            out.problem(payload.topic, str(error))
        return True

    def _is_shelly(self, prefix: str) -> bool:
        return prefix in self._fields or prefix.rpartition("/")[2].lower().startswith("shelly")

    def _notified(self, payload: Payload, out: Findings, prefix: str) -> None:
        told = payload.object()
        params, method = told.get("params"), told.get("method")
        if method not in _NOTIFICATIONS:
            raise DecodeError("method: expected a notification such as NotifyStatus")
        if not isinstance(params, dict):
            raise DecodeError("params: expected an object")
        seen: set[str] = set()
        if method == "NotifyEvent":
            events = params.get("events")
            if not isinstance(events, list):
                raise DecodeError("events: expected a list")
            for event in events:
                component = event.get("component") if isinstance(event, dict) else None
                if not isinstance(component, str) or not _COMPONENT.fullmatch(component):
                    continue
                if component.partition(":")[0] in _PUSHABLE:
                    seen.add(f"{component}.{_PUSHED}")
        else:
            for component, status in params.items():
                if isinstance(status, dict) and _COMPONENT.fullmatch(component):
                    seen.update(_seen(component, status))
        self._learn(payload, out, prefix, clean(told.get("src")) or prefix, seen)

    def _learn(self, payload: Payload, out: Findings, prefix: str, id: str, seen: Iterable[str]) -> None:
        known = self._fields.get(prefix)
        fields = frozenset(intern(field) for field in seen)
        if known is not None:
            if fields <= known:
                return
            fields |= known
        if len(fields) > MOST_ENTITIES:
            raise DecodeError(f"the device has more than {MOST_ENTITIES} values")
        if known is None and len(self._fields) >= MOST_DEVICES:
            raise DecodeError(f"{MOST_DEVICES} devices are known, and this one is not taken in")
        self._fields[prefix] = self._sets.setdefault(fields, fields)
        raw = self.catalogue.templates.extractor("")
        name = id.rpartition("/")[2]
        model, _, tail = name.rpartition("-")
        mac = mac_token(tail)
        who = Who(
            tokens=(name, mac) if mac else (name,), name=name, convention="shelly", manufacturer="Shelly", model=model or name
        )
        plans = [plan for field in sorted(fields) for plan in self._plan(prefix, name, field)]
        watching = Watching((Word(f"{prefix}/online", raw, "true", "false"),))
        self.catalogue.announce(out, payload.topic, f"shelly:{prefix}", who, plans, watching)

    def _plan(self, prefix: str, device: str, field: str) -> Iterable[Plan]:
        component, _, rest = field.partition(".")
        kind, _, number = component.partition(":")
        name = f"{kind.replace('_', ' ').capitalize()} {number}".strip()
        rpc = f"{prefix}/events/rpc"
        if rest == _PUSHED:
            happened: Extractor = self.catalogue.templates.shared(f"shelly {component}", lambda: _Happened(component))
            source = Source(rpc, happened, Momentary())
            label = name if kind == "button" else f"{name} button"
            yield Plan(unique=f"{device}/{field}", name=label, type="button", component=kind, sources=(source,))
            return
        what = field_of(kind, rest)
        if what is None:
            return
        path = self.catalogue.templates.path
        steps = rest.split(".")
        sources = (
            Source(rpc, path("params", component, *steps), what.meaning),
            Source(f"{prefix}/status/{component}", path(*steps), what.meaning),
        )
        command = command_of(kind, rest, int(number or 0), f"{prefix}/rpc")
        if command is not None:
            mapping = self.catalogue.templates.mapping
            command = msgspec.structs.replace(
                command, payloads=mapping(command.payloads), confirmed_by=mapping(command.confirmed_by)
            )
        yield Plan(
            unique=f"{device}/{field}",
            name=f"{name} {what.name}".strip(),
            hint=kind,
            role=_role(what, command),
            type=what.type or kind,
            component=kind,
            unit=what.unit,
            command=command,
            sources=sources,
            category=what.category,
            enabled=not what.category,
        )


def _role(what: Field, command: CommandForm | None) -> Role:
    return "both" if command is not None else "meter" if what.meaning.kind == "meter" else "input"


def _split(topic: str) -> tuple[str, str]:
    """Split a topic into the device's prefix and what it tells; nothing where it is none of a Shelly's."""
    if topic.endswith("/events/rpc"):
        return topic[: -len("/events/rpc")], "events/rpc"
    if topic.endswith("/online"):
        return topic[: -len("/online")], "online"
    prefix, found, component = topic.rpartition("/status/")
    return (prefix, f"status/{component}") if found and component else ("", "")


def _seen(component: str, status: Mapping[str, object]) -> Iterable[str]:
    """The fields of a component that are known to mean something and are there."""
    kind = component.partition(":")[0]
    for field in FIELDS.get(kind, ()):
        found: object = status
        for step in field.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if found is not None:
            yield f"{component}.{field}"
