"""Which device is this? Two conventions may announce one plug, each under its own id; what they share makes it one device."""

from __future__ import annotations

import re
from collections.abc import Iterable
from sys import intern

from event_processor.discovery.plan import Who
from event_processor.domain.entities import DeviceInfo
from event_processor.domain.registry import Registry

__all__ = ["Identities", "mac_token"]

_MAC = re.compile(r"[0-9a-f]{12}")


def mac_token(address: str) -> str:
    """The token of a MAC address, however it is written; empty for what is none."""
    digits = re.sub(r"[:\-. ]", "", address.strip().lower())
    return f"mac:{digits}" if _MAC.fullmatch(digits) else ""


def _variants(token: str) -> tuple[str, ...]:
    """An id that is a MAC address (ESPHome's, for one) is one identity, not two, so no alias has to be stored."""
    if token.startswith("mac:"):
        return token, token[4:], token[4:].upper()
    mac = mac_token(token) if len(token) == 12 else ""
    return (token, mac) if mac else (token,)


class Identities:
    """From each identity of a device to its id. A device's first identity is its id, so that one costs nothing here."""

    __slots__ = ("_aliases", "_registry")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._aliases: dict[str, str] = {}
        for device in registry.devices.values():
            self.learn(device)

    def find(self, tokens: Iterable[str]) -> DeviceInfo | None:
        """The device that has any of these identities."""
        for token in (variant for written in tokens for variant in _variants(written)):
            device = self._registry.device(token) or self._registry.device(self._aliases.get(token, ""))
            if device is not None:
                return device
        return None

    def learn(self, device: DeviceInfo) -> None:
        """Remember the identities of a device."""
        for token in device.aliases:
            self._aliases.setdefault(token, device.id)

    def forget(self, device: str) -> None:
        """A device is gone."""
        for token in [token for token, id in self._aliases.items() if id == device]:
            del self._aliases[token]

    def merged(self, known: DeviceInfo | None, who: Who) -> DeviceInfo:
        """Describe a device by what is known and what is told now. The convention that came first keeps its word, and another
        one fills in what it left out."""
        via = self.find((who.via,)) if who.via else None
        told = DeviceInfo(
            id=who.tokens[0] if known is None else known.id,
            name=who.name or (who.tokens[0] if known is None else known.name),
            convention=who.convention,
            room=intern(who.room),
            manufacturer=intern(who.manufacturer),
            model=intern(who.model),
            software=intern(who.software),
            via=intern(who.via if via is None else via.id),
            aliases=who.tokens[1:],
        )
        if known is None:
            return told
        ours = known.convention == who.convention
        first, second = (told, known) if ours else (known, told)
        aliases = dict.fromkeys((*known.aliases, *(token for token in who.tokens if token != known.id)))
        return DeviceInfo(
            id=known.id,
            name=first.name or second.name,
            convention=known.convention,
            room=first.room or second.room,
            manufacturer=first.manufacturer or second.manufacturer,
            model=first.model or second.model,
            software=first.software or second.software,
            via=first.via or second.via,
            aliases=tuple(aliases),
        )
