"""Values that Home Assistant reads in a way of its own, beyond what a template says."""

from __future__ import annotations

from typing import Final

import msgspec

from event_processor.discovery.payload import Payload, as_text
from event_processor.discovery.templates import MISSING, Extractor
from event_processor.domain.pictures import decoded
from pylib.errors import DecodeError

__all__ = ["EventType", "Inside", "PictureBytes", "Reset", "StateOrText", "Update", "Version"]

_VERSIONS: Final = ("installed_version", "latest_version")


class EventType:
    """The ``event_type`` of an event, which is JSON, also where a template makes it."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Extractor | None) -> None:
        self._inner = inner

    def of(self, payload: Payload) -> object:
        found: object
        if self._inner is None:
            found = payload.json
        else:
            made = self._inner.of(payload)
            if made is MISSING:
                return MISSING
            try:
                found = msgspec.json.decode(made) if isinstance(made, str) else made
            except (msgspec.DecodeError, RecursionError):
                raise DecodeError("the template does not make JSON") from None
        if found == {}:
            return MISSING  # it tells its state, and nothing has happened
        if not isinstance(found, dict) or "event_type" not in found:
            raise DecodeError("expected an object with an event_type")
        return found["event_type"]


class PictureBytes:
    """A picture as it is, or in Base64; which of them the announcement says need not be true."""

    __slots__ = ()

    def of(self, payload: Payload) -> object:
        return decoded(payload.body)


class Inside:
    """The first of several keys of a JSON object, or the text where it is none; ``number`` passes over other text."""

    __slots__ = ("_inner", "_keys", "_number")

    def __init__(self, inner: Extractor, keys: tuple[str, ...], *, number: bool) -> None:
        self._inner, self._keys, self._number = inner, keys, number

    def of(self, payload: Payload) -> object:
        made = self._inner.of(payload)
        if isinstance(made, str) and made.lstrip().startswith("{"):
            try:
                made = msgspec.json.decode(made)
            except (msgspec.DecodeError, RecursionError):
                raise DecodeError("the payload is not JSON") from None
        if isinstance(made, dict):
            made = next((made[key] for key in self._keys if made.get(key) is not None), MISSING)
        if self._number and isinstance(made, str) and not made[:1].isdigit() and made[:1] not in ("-", "+", "."):
            return MISSING
        return made


class StateOrText:
    """``{"state": "ON", ...}`` or plain ``ON``."""

    __slots__ = ()

    def of(self, payload: Payload) -> object:
        found = payload.json_or_none()
        if isinstance(found, dict):
            return found.get("state", MISSING)
        return payload.text


class Reset:
    """A value of which one word means that nothing is known any more."""

    __slots__ = ("_inner", "_word")

    def __init__(self, inner: Extractor, word: str) -> None:
        self._inner, self._word = inner, word

    def of(self, payload: Payload) -> object:
        made = self._inner.of(payload)
        return None if made is not MISSING and as_text(made) == self._word else made


def _text_or_object(extract: Extractor | None, payload: Payload) -> object:
    found = payload.text if extract is None else extract.of(payload)
    if isinstance(found, str) and found.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(found)
        except (msgspec.DecodeError, RecursionError):
            return MISSING
    return found


class Update:
    """Whether the latest version is another one than that installed: "on" means that there is an update.

    The first template makes a JSON object with both versions, or that installed; then the second makes the other one.
    """

    __slots__ = ("_installed", "_latest")

    def __init__(self, installed: Extractor | None, latest: Extractor | None) -> None:
        self._installed, self._latest = installed, latest

    def of(self, payload: Payload) -> object:
        told = self._told(self._installed, payload)
        installed = told.get("installed_version") if isinstance(told, dict) else told
        other = told if self._latest is None else self._told(self._latest, payload)
        latest = other.get("latest_version") if isinstance(other, dict) else None if self._latest is None else other
        if installed in (None, MISSING, "") or latest in (None, MISSING, ""):
            return MISSING
        return "off" if as_text(installed) == as_text(latest) else "on"

    _told = staticmethod(_text_or_object)


class Version:
    """One of two versions that come on two topics; ``said`` is what either has said, and belongs to one entity."""

    __slots__ = ("_inner", "_said", "_which")

    def __init__(self, inner: Extractor, which: str, said: dict[str, str]) -> None:
        self._inner, self._which, self._said = inner, which, said

    def of(self, payload: Payload) -> object:
        told = _text_or_object(self._inner, payload)
        for which, version in told.items() if isinstance(told, dict) else ((self._which, told),):
            if which in _VERSIONS and version not in (None, MISSING, ""):
                self._said[which] = as_text(version)[:200]
        installed, latest = (self._said.get(which) for which in _VERSIONS)
        return MISSING if installed is None or latest is None else "off" if installed == latest else "on"
