"""What an adapter tells the catalogue: a device, its entities, where their values come from, and who says that it is there."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from event_processor.discovery.meaning import Meaning
from event_processor.discovery.templates import Extractor
from event_processor.domain.availability import Mode
from event_processor.domain.entities import CommandForm, Convention, Role

__all__ = ["Plan", "Source", "Watching", "Who", "Word", "hash_of"]


class Source(NamedTuple):
    """Where a value comes from: a topic (a filter with wildcards too), what reads it, and what it means."""

    topic: str
    extract: Extractor
    meaning: Meaning


class Word(NamedTuple):
    """One topic that says whether a device is there, and the payloads for yes and no."""

    topic: str
    extract: Extractor
    yes: str
    no: str


class Watching(NamedTuple):
    """All topics that say whether a device is there."""

    words: tuple[Word, ...]
    mode: Mode = "latest"


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """A device. ``tokens`` are its identities, the first of which becomes its id unless one of them is known already."""

    tokens: tuple[str, ...]
    name: str
    convention: Convention
    room: str = ""
    manufacturer: str = ""
    model: str = ""
    software: str = ""
    via: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An entity. Without a ``name`` it is called as its device; ``hint`` is what to add where the name is taken already."""

    unique: str
    name: str = ""
    hint: str = ""
    role: Role = "input"
    type: str = ""
    component: str = ""
    unit: str = ""
    room: str = ""
    command: CommandForm | None = None
    sources: tuple[Source, ...] = ()
    watching: Watching | None = None
    expire_after_s: float = 0.0
    category: str = ""
    enabled: bool = True
    key: str = ""

    def watched(self, watching: Watching) -> Plan:
        """The same, with an availability."""
        return msgspec.structs.replace(self, watching=watching)


def hash_of(text: str) -> int:
    """A number for a text, the same in every run. With 53 bits two of 100,000 texts share one once in a million times."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) >> 11
