"""All conventions in one object: a message goes in, and what it says comes out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Protocol

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.commands import Command, command
from event_processor.discovery.findings import Findings
from event_processor.discovery.homeassistant.adapter import HomeAssistant
from event_processor.discovery.homie import Homie
from event_processor.discovery.mappings import FreeMapping, Mappings
from event_processor.discovery.native import Native
from event_processor.discovery.payload import Payload
from event_processor.discovery.shelly import Shelly
from event_processor.discovery.shelly_first import FirstShelly
from event_processor.discovery.tasmota import Tasmota
from event_processor.domain.entities import Entity, Found
from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar
from event_processor.domain.mapping import TopicMapping, matches, without_covered
from event_processor.domain.outcome import Change
from event_processor.domain.registry import Registry
from pylib.errors import DecodeError

__all__ = ["CONVENTIONS", "MOST_EARLY", "Discovery"]

CONVENTIONS: Final = ("seed", "homeassistant", "tasmota", "shelly", "homie")
"""The conventions that are listened to unless others are named. What the mappings say is always listened to."""


# What an announcement's topic looks like. Most messages are reports of known entities, and are spared the adapters.
_ANNOUNCES: Final = re.compile(r"/config$|/sensors$|/events/rpc$|/online$|/status/[^/]*$|/5/[^/]+/\$|^shellies/")


_EARLY: Final = re.compile(r"/online$|/5/[^/]+/\$state$")
MOST_EARLY: Final = 5000
"""Last words that are kept until the device that they are about is known: a broker sends what it retained in any order."""


class _Adapter(Protocol):
    @property
    def filters(self) -> tuple[str, ...]: ...  # pragma: no cover

    def announced(self, payload: Payload, out: Findings) -> bool: ...  # pragma: no cover


class Discovery:
    """Reads every MQTT message of the hub. Owned by one thread; reads no clock.

    :param registry: what is known already, as after a restart. It is filled from here on, and by nobody else.
    :param mappings: what ``app.conf`` says of devices without a convention.
    :param conventions: which of ``CONVENTIONS`` to listen to.
    :param prefix: the first levels of Home Assistant's discovery topics.
    :param own: topics on which the hub announces itself (``announce.announcement_topic``), to be passed over.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        mappings: Iterable[FreeMapping | TopicMapping] = (),
        conventions: Iterable[str] = CONVENTIONS,
        prefix: str = "homeassistant",
        own: Iterable[str] = (),
    ) -> None:
        self.catalogue = Catalogue(registry)
        self.native = Native(self.catalogue)
        self._mappings = Mappings(mappings, self.catalogue)
        wanted = frozenset(conventions)
        adapters: list[tuple[str, _Adapter]] = [
            ("homeassistant", HomeAssistant(self.catalogue, prefix=prefix, own=own)),
            ("tasmota", Tasmota(self.catalogue)),
            ("homie", Homie(self.catalogue)),
            ("shelly", FirstShelly(self.catalogue)),
            ("shelly", Shelly(self.catalogue)),
        ]
        self._adapters = tuple(adapter for name, adapter in adapters if name in wanted)
        self._seed = "seed" in wanted
        self._early: dict[str, bytes] = {}
        self._wide = tuple(tuple(topic.split("/")) for topic in self._own_filters())

    @property
    def registry(self) -> Registry:
        """The devices and entities that are known. To be read only: ``read`` fills it."""
        return self.catalogue.registry

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to on a new connection, what is known already included."""
        ours = self._own_filters()
        wide = [tuple(topic.split("/")) for topic in ours]
        known = (topic for topic in self.catalogue.topics() if not any(matches(levels, topic) is not None for levels in wide))
        return (*ours, *known)

    def _own_filters(self) -> tuple[str, ...]:
        seed = self.native.filters if self._seed else ()
        return without_covered((*seed, *(topic for adapter in (self._mappings, *self._adapters) for topic in adapter.filters)))

    def start(self) -> Found:
        """What is known without any message: the outputs of mappings that never report."""
        out = Findings()
        self._mappings.start(out)
        return out.found()

    def read(self, topic: str, body: bytes, *, retained: bool, now: float) -> Found:
        """Read one message that arrived at ``now`` (seconds since the epoch). Never raises.

        What is new is in the registry already when this returns; ``domain.registry.changes_of`` says what to store of it.
        """
        out, payload = Findings(), Payload(topic, body, retained=retained, now=now)
        try:
            claimed = False
            if _ANNOUNCES.search(topic):
                for adapter in self._adapters:
                    claimed = adapter.announced(payload, out) or claimed
            heard = self.catalogue.hear(payload, out)
            claimed = heard or claimed
            if not heard and _EARLY.search(topic) and payload.body and len(self._early) < MOST_EARLY:
                self._early[topic] = payload.body[:100]
            for topic in [topic for topic in out.subscribe if topic in self._early]:
                word = Payload(topic, self._early.pop(topic), retained=True, now=now)
                self.catalogue.hear(word, out)
            claimed = self._mappings.announced(payload, out) or claimed
            if not claimed and self._seed:
                self.native.announced(payload, out)
        except DecodeError as error:  # what no adapter has caught must not cost more than this message
            out.problem(topic, str(error))
        except (RecursionError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            out.problem(topic, f"the message could not be read ({type(error).__name__}), which is a fault of this program")
        for topic in [topic for topic in out.subscribe if any(matches(wide, topic) is not None for wide in self._wide)]:
            del out.subscribe[topic]  # a broker may deliver once for each subscription that matches
        return out.found()

    def due(self, now: float) -> Found:
        """What happens without a message: entities with an ``off_delay`` are off again. To be called at ``next_due``."""
        out = Findings()
        self.catalogue.due(now, out)
        return out.found()

    def next_due(self) -> float | None:
        """When ``due`` is to be called next, in seconds since the epoch; ``None`` where nobody waits for it."""
        return self.catalogue.next_due()

    def take_changes(self) -> tuple[Change, ...]:
        """What is to be stored besides what ``read`` found, since the last call: who will be off again, and when."""
        return self.catalogue.take_changes()

    def restore(self, changes: Iterable[Change]) -> None:
        """Take back what ``take_changes`` gave in an earlier run."""
        self.catalogue.restore(changes)

    def noticed(self, where: str, events: Iterable[Event]) -> Found:
        """Know the devices of events that were read elsewhere, as those from RabbitMQ are. Never raises."""
        return self.native.noticed(where, events)

    def command(self, key: str, asked: Scalar, now: float) -> Command:
        """Return the message that tells an entity to do something: a word such as "on", or a value.

        Raises ``DecodeError``, with what is allowed, where there is no such entity or it cannot do that.
        """
        entity = self.registry.entity(key)
        if entity is None or entity.command is None:
            raise DecodeError(f"{key}: {'no such device' if entity is None else 'it takes no commands'}")
        try:
            return command(entity.command, asked, self.catalogue.templates, now)
        except DecodeError as error:
            raise DecodeError(f"{key}: {error}") from None

    def enable(self, key: str, enabled: bool = True) -> Entity | None:
        """Listen, or no longer listen, to an entity that its device suggests to leave out. Returns it as it is now."""
        return self.catalogue.enable(key, enabled)

    @property
    def unclaimed(self) -> frozenset[str]:
        """Keys known from before the restart that nothing has announced since."""
        return self.catalogue.unclaimed

    def remove(self, key: str) -> Found:
        """Forget an entity, such as an unclaimed one, as a person asks for."""
        out = Findings()
        self.catalogue.drop(out, key)
        return out.found()
