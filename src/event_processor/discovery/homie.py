"""Homie 5: devices that describe themselves in one JSON document (https://homieiot.github.io/specification/).

<domain>/5/<device>/$description     nodes and their properties
<domain>/5/<device>/$state           init, ready, disconnected, sleeping, lost (the last will)
<domain>/5/<device>/<node>/<property>          a value; .../set tells it
<domain>/5/<device>/$alert/<id>      something is wrong, in words
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.meaning import Anything, Meaning, Momentary, Number, Words, on_off
from event_processor.discovery.naming import clean, words_of
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Source, Watching, Who, Word
from event_processor.discovery.templates import MISSING
from event_processor.domain.entities import CommandForm, Role
from pylib.errors import DecodeError

__all__ = ["Homie"]

_VERSION: Final = "5"
_STATES: Final[Mapping[str, str]] = {"ready": "online", "sleeping": "online", "disconnected": "offline", "lost": "offline"}
_NUMBERS: Final = ("integer", "float")
_EMPTY: Final = "\0"
# A range may be open at one end; what is exact in a float ends there.
_FURTHEST: Final = float(2**53)


class _State:
    """``$state`` as online or offline; while it says ``init`` it has said neither."""

    __slots__ = ()

    def of(self, payload: Payload) -> object:
        word = payload.text.strip()
        return _STATES.get(word, MISSING if word == "init" else word)


class Homie:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return ("+/5/+/$state", "+/5/+/$description", "+/5/+/$alert/+")

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Read an announcement. Return whether the topic is that of one."""
        levels = payload.topic.split("/")
        if len(levels) < 4 or levels[1] != _VERSION or levels[3] not in ("$state", "$description", "$alert"):
            return False
        base = "/".join(levels[:3])
        if levels[3] == "$alert" and len(levels) == 5:
            self._alert(payload, out, base, levels[4])
        elif not payload.body:
            # A device is removed by clearing its $state, or its $description.
            self.catalogue.withdraw(out, base)
            self.catalogue.withdraw(out, f"{base}/$alert")
        elif levels[3] == "$description":
            try:
                self._describe(payload, out, base, levels)
            except DecodeError as error:
                out.problem(payload.topic, str(error))
        return True

    def _describe(self, payload: Payload, out: Findings, base: str, levels: list[str]) -> None:
        told = payload.object()
        version = clean(told.get("homie"))
        if not version.startswith(f"{_VERSION}"):
            raise DecodeError("homie: expected version 5")
        nodes = told.get("nodes")
        if nodes is not None and not isinstance(nodes, dict):
            raise DecodeError("nodes: expected an object")
        name = clean(told.get("name")) or words_of(levels[2])
        plans: list[Plan] = []
        for node_id, node in (nodes or {}).items():
            properties = node.get("properties") if isinstance(node, dict) else None
            if not isinstance(properties, dict):
                if properties is not None or not isinstance(node, dict):
                    out.problem(payload.topic, f"node {clean(node_id)}: expected an object with properties")
                continue
            for property_id, described in properties.items():
                try:
                    plans.append(self._property(base, node_id, node, property_id, described))
                except DecodeError as error:
                    out.problem(payload.topic, f"property {clean(node_id)}/{clean(property_id)}: {error}")
        parent, root = clean(told.get("parent")), clean(told.get("root"))
        words = [self._word(base)]
        if root and root != levels[2]:
            words.append(self._word("/".join((*levels[:2], root))))  # what its root has lost is lost, too
        who = Who(
            tokens=(f"homie:{levels[0]}/{levels[2]}",),
            name=name,
            convention="homie",
            model=clean(told.get("type"), 80),
            via=f"homie:{levels[0]}/{parent or root}" if parent or root else "",
        )
        self.catalogue.announce(out, payload.topic, base, who, plans, Watching(tuple(words), "all"))

    def _word(self, base: str) -> Word:
        return Word(f"{base}/$state", self.catalogue.templates.shared("homie state", _State), "online", "offline")

    def _property(self, base: str, node_id: str, node: Mapping[str, object], id: str, told: object) -> Plan:
        if not isinstance(told, dict):
            raise DecodeError("expected an object")
        for level in (node_id, id):
            if not level or set(level) & set("/+#$\0"):
                raise DecodeError("an id is a single level of a topic")
        datatype, form, unit = clean(told.get("datatype")), clean(told.get("format"), 4000), clean(told.get("unit"), 40)
        if not datatype:
            raise DecodeError("datatype: there has to be one")
        settable, kept = told.get("settable") is True, told.get("retained") is not False
        topic = f"{base}/{node_id}/{id}"
        options: tuple[str, ...] = ()
        limits: tuple[float, float, float] | None = None
        payloads: dict[str, str] = {}
        meaning: Meaning
        if datatype in _NUMBERS:
            meaning, limits = Number(), _limits(form, datatype == "integer")
        elif datatype == "boolean":
            meaning, payloads = on_off("true", "false"), {"on": "true", "off": "false"}
        elif datatype == "enum":
            options = tuple(option for option in form.split(",") if option)
            if not options:
                raise DecodeError("format: an enum names its values")
            payloads = {option: option for option in options}
            meaning = Words(payloads)
        elif datatype in ("string", "color", "datetime", "duration", "json"):
            meaning = Anything(empty=_EMPTY)
        else:
            raise DecodeError("datatype: not one of Homie's")
        if not kept and not settable:
            meaning = Momentary(types=options)  # not retained: it happens, and does not last
        mapping = self.catalogue.templates.mapping
        command = None
        if settable:
            confirmed = mapping({word: word for word in payloads}) if kept else mapping({})
            command = CommandForm(
                topic=f"{topic}/set", payloads=mapping(payloads), confirmed_by=confirmed, options=options, limits=limits
            )
        label, of_node = clean(told.get("name")) or words_of(id), clean(node.get("name")) or words_of(node_id)
        role: Role = "both" if settable and kept else "output" if settable else "input"
        sources = (Source(topic, self.catalogue.templates.extractor(""), meaning),) if kept or not settable else ()
        return Plan(
            unique=topic,
            name=label if label.casefold().startswith(of_node.casefold()) else f"{of_node} {label}",
            hint=words_of(id),
            role=role,
            type=_type(id, datatype, settable),
            component=datatype,
            unit=unit,
            command=command,
            sources=sources,
        )

    def _alert(self, payload: Payload, out: Findings, base: str, alert: str) -> None:
        who = self._known(base)
        if who is None or not payload.body:
            return
        origin = f"{base}/$alert/{alert}"
        if not self.catalogue.origins(origin):
            source = Source(payload.topic, self.catalogue.templates.extractor(""), Momentary())
            plan = Plan(unique=origin, name=f"Alert {words_of(alert)}", type="alert", component="alert", sources=(source,))
            self.catalogue.announce(out, payload.topic, origin, who, [plan], None)

    def _known(self, base: str) -> Who | None:
        domain, _, device = base.split("/")
        info = self.catalogue.identities.find((f"homie:{domain}/{device}",))
        return None if info is None else Who(tokens=(info.id,), name=info.name, convention="homie")


def _limits(form: str, whole: bool) -> tuple[float, float, float] | None:
    """Read ``min:max`` or ``min:max:step``, where each may be left out."""
    parts = [*form.split(":"), "", ""][:3]
    try:
        low, high, step = (float(part) if part else None for part in parts)
    except ValueError:
        return None
    if low is None and high is None:
        return None
    low, high = -_FURTHEST if low is None else low, _FURTHEST if high is None else high
    return low, high, step or (1.0 if whole else 0.0)


def _type(id: str, datatype: str, settable: bool) -> str:
    if datatype == "boolean":
        return id if not settable else "switch"
    return id if datatype in _NUMBERS else datatype if datatype in ("enum", "color") else id
