"""Who says that it is there: availability topics and last wills of devices, and of single entities that have their own."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from event_processor.discovery.findings import Findings
from event_processor.discovery.payload import Payload, as_text
from event_processor.discovery.plan import Watching, Word
from event_processor.discovery.templates import MISSING, MOST_TEMPLATES
from event_processor.domain.availability import Mode, judge
from event_processor.domain.entities import Availability
from event_processor.domain.registry import Registry
from pylib.errors import DecodeError

__all__ = ["MOST_WORDS", "Presence"]

MOST_WORDS: Final = 16
"""Availability topics of one device."""


class _Style(NamedTuple):
    """How words are read and joined; the same for all devices of a bridge."""

    forms: tuple[Word, ...]
    mode: Mode


class _Watch(msgspec.Struct, gc=False):
    """One device, or one entity of it, and what its topics have said. ``topics`` and ``style.forms`` are parallel.

    There are as many of these as devices, so a single topic is kept without a tuple around it.
    """

    device: str
    entity: str
    origin: int
    style: _Style
    told_on: str | tuple[str, ...]
    said: tuple[bool | None, ...] | None = None
    latest: bool | None = None
    online: bool | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        return (self.told_on,) if isinstance(self.told_on, str) else self.told_on

    def same(self, style: _Style, topics: tuple[str, ...]) -> bool:
        return self.style == style and self.topics == topics


class Presence:
    """All that is watched. Devices share the form of their words; most have one topic of their own, and one of a bridge."""

    __slots__ = ("_entities", "_registry", "_said", "_styles", "_topics", "_watches")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._styles: dict[_Style, _Style] = {}
        self._watches: dict[str, _Watch] = {}
        self._entities: dict[str, _Watch] = {}
        self._topics: dict[str, _Watch | list[_Watch]] = {}
        self._said: dict[tuple[bool | None, ...], tuple[bool | None, ...]] = {}

    def topics(self) -> tuple[str, ...]:
        """The topics to subscribe to."""
        return tuple(self._topics)

    def watch(self, out: Findings, device: str, entity: str, watching: Watching, origin: int, *, renew: bool = True) -> None:
        """Listen to what a device says of itself. The first entity that says how speaks for its whole device; another one that
        says it differently speaks for itself only. With ``renew`` the one that spoke for the device may say it anew."""
        words = watching.words[:MOST_WORDS]
        style = _Style(tuple(word._replace(topic="") for word in words), watching.mode)
        if len(self._styles) < MOST_TEMPLATES:
            style = self._styles.setdefault(style, style)
        topics = tuple(self._known(word.topic) for word in words)
        told_on = topics[0] if len(topics) == 1 else topics
        whole = self._watches.get(device)
        if whole is not None and whole.same(style, topics):
            if entity:
                self.forget_entity(entity)
            return
        if not entity or whole is None or (renew and whole.origin == origin):
            if whole is not None:
                self._drop(whole)
            made = self._watches[device] = _Watch(device, "", origin, style, told_on)
        else:
            old = self._entities.get(entity)
            if old is not None:
                if old.same(style, topics):
                    return
                self._drop(old)
            made = self._entities[entity] = _Watch(device, entity, origin, style, told_on)
        for topic in dict.fromkeys(topics):
            there = self._topics.get(topic)
            if there is None:
                self._topics[topic] = made
                out.subscribe[topic] = None
            elif isinstance(there, list):
                there.append(made)
                self._catch_up(there[0], made, topic)
            else:
                self._topics[topic] = [there, made]
                self._catch_up(there, made, topic)

    def hear(self, payload: Payload, out: Findings) -> bool:
        """Take over a word. Return whether anyone is watched by this topic."""
        there = self._topics.get(payload.topic)
        if there is None:
            return False
        if payload.body:
            for watch in there if isinstance(there, list) else (there,):
                self._heard(watch, payload, out)
        return True

    def forget(self, device: str) -> None:
        """A device is gone."""
        watch = self._watches.pop(device, None)
        if watch is not None:
            self._drop(watch)

    def forget_entity(self, key: str) -> None:
        """An entity is gone, or is there whenever its device is."""
        watch = self._entities.pop(key, None)
        if watch is not None:
            self._drop(watch)

    def _known(self, topic: str) -> str:
        """The same topic, as the very text that is kept of it already: a bridge's is that of thousands of devices."""
        there = self._topics.get(topic)
        watch = there[0] if isinstance(there, list) else there
        return topic if watch is None else watch.topics[watch.topics.index(topic)]

    def _heard(self, watch: _Watch, payload: Payload, out: Findings) -> None:
        said = list(watch.said or (None,) * len(watch.topics))
        for index, topic in enumerate(watch.topics):
            if topic != payload.topic:
                continue
            try:
                word = _word(watch.style.forms[index], payload)
            except DecodeError as error:
                out.problem(payload.topic, str(error))
                continue
            if word is not None:
                said[index] = watch.latest = word
        watch.said = self._said.setdefault(tuple(said), tuple(said)) if len(said) <= 3 else tuple(said)
        online = judge(watch.style.mode, watch.said, watch.latest)
        # Each word is passed on where it is the first; a repeated one tells nothing new.
        if online is not None and online != watch.online:
            watch.online = online
            at = payload.now
            out.availability.append(Availability(device=watch.device, online=online, at=at, entity=watch.entity))

    def _catch_up(self, there: _Watch, made: _Watch, topic: str) -> None:
        """A newcomer on a shared topic (a bridge's) that has spoken already: its broker will not repeat the word for it."""
        if there.said is None or topic not in there.topics:
            return
        word = there.said[there.topics.index(topic)]
        if word is not None and there.style.forms[there.topics.index(topic)] == made.style.forms[made.topics.index(topic)]:
            made.said = tuple(word if mine == topic else None for mine in made.topics)
            made.latest = word
            made.online = judge(made.style.mode, made.said, made.latest)

    def _drop(self, watch: _Watch) -> None:
        for topic in set(watch.topics):
            there = self._topics.get(topic)
            if isinstance(there, list):
                there[:] = [other for other in there if other is not watch]
                if not there:
                    del self._topics[topic]
            elif there is watch:
                del self._topics[topic]


def _word(form: Word, payload: Payload) -> bool | None:
    """What a payload says. A template that does not fit the payload's form is passed over: zigbee2mqtt has sent both plain
    words and ``{"state": "online"}`` under the same configuration."""
    tried = [payload.text.strip()]
    raw: object = None
    try:
        raw = form.extract.of(payload)
        if raw is not MISSING:
            tried.insert(0, as_text(raw))
    except DecodeError:
        pass
    found = payload.json_or_none()
    if isinstance(found, dict) and isinstance(found.get("state"), str):
        tried.append(found["state"])
    for text in tried:
        if text == form.yes:
            return True
        if text == form.no:
            return False
    if raw is MISSING:
        return None  # it spoke, and has not said yet
    raise DecodeError(f"expected {form.yes} or {form.no}, got other text")
