"""Values that Home Assistant reads in a way of its own, beyond what a template says."""

from __future__ import annotations

import msgspec

from event_processor.discovery.payload import Payload, as_text
from event_processor.discovery.templates import MISSING, Extractor
from event_processor.domain.pictures import decoded
from pylib.errors import DecodeError

__all__ = ["EventType", "PictureBytes", "StateOrText", "Update"]


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
        if not isinstance(found, dict) or "event_type" not in found:
            raise DecodeError("expected an object with an event_type")
        return found["event_type"]


class PictureBytes:
    """A picture as it is, or in Base64; which of them the announcement says need not be true."""

    __slots__ = ()

    def of(self, payload: Payload) -> object:
        return decoded(payload.body)


class StateOrText:
    """``{"state": "ON", ...}`` or plain ``ON``."""

    __slots__ = ()

    def of(self, payload: Payload) -> object:
        found = payload.json_or_none()
        if isinstance(found, dict):
            return found.get("state", MISSING)
        return payload.text


class Update:
    """Whether the latest version is another one than that installed: "on" means that there is an update."""

    __slots__ = ("_installed", "_latest")

    def __init__(self, installed: Extractor | None, latest: Extractor | None) -> None:
        self._installed, self._latest = installed, latest

    def of(self, payload: Payload) -> object:
        installed, latest = self._one(self._installed, payload, "installed"), self._one(self._latest, payload, "latest")
        if installed is MISSING or latest is MISSING or installed is None or latest is None:
            return MISSING
        return "off" if as_text(installed) == as_text(latest) else "on"

    @staticmethod
    def _one(extract: Extractor | None, payload: Payload, which: str) -> object:
        found: object = payload.json_or_none() if extract is None else extract.of(payload)
        if isinstance(found, str) and found.startswith("{"):
            try:
                found = msgspec.json.decode(found)
            except (msgspec.DecodeError, RecursionError):
                return MISSING
        if isinstance(found, dict):
            return found.get(f"{which}_version", MISSING)
        return MISSING if extract is None else found
