"""The hub's state as the pages see it: a mirror in memory, kept by what the store's writer tells, so that no page reads a
database to say which devices are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from event_processor.domain.entities import DeviceInfo, Entity
from event_processor.domain.memos import Alive, ModeState, Seen
from event_processor.domain.outcome import Outcome, Scope
from event_processor.domain.schedules import ScheduleState

__all__ = ["Mirror"]

T = TypeVar("T")

_DECODERS: Final[Mapping[Scope, msgspec.json.Decoder[Any]]] = {
    "device": msgspec.json.Decoder(DeviceInfo),
    "entity": msgspec.json.Decoder(Entity),
    "value": msgspec.json.Decoder(Seen),
    "online": msgspec.json.Decoder(Alive),
    "mode": msgspec.json.Decoder(ModeState),
    "schedule": msgspec.json.Decoder(ScheduleState),
    "output": msgspec.json.Decoder(float),
}
_ANY: Final = msgspec.json.Decoder()
# What no page shows: timers and what rules remember change with every decision.
_PASSED_OVER: Final = frozenset(("timer", "rule"))


class Mirror:
    """``tell`` is called on the writer's thread, everything else on the web's; neither waits for the other.

    Values are kept as they are stored and decoded when they are looked at; one that cannot be read is passed over.

    :param state: what the store had at the start.
    """

    def __init__(self, state: Mapping[tuple[Scope, str], bytes]) -> None:
        self._raw: dict[Scope, dict[str, bytes]] = {}
        self._decoded: dict[Scope, dict[str, tuple[bytes, Any]]] = {}
        for (scope, key), value in state.items():
            if scope not in _PASSED_OVER:
                self._raw.setdefault(scope, {})[key] = value

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take over what is different now. Never blocks and never raises."""
        for outcome in outcomes:
            for change in outcome.changes:
                if change.scope in _PASSED_OVER:
                    continue
                table = self._raw.get(change.scope)
                if table is None:
                    table = self._raw[change.scope] = {}
                if change.value is None:
                    table.pop(change.key, None)
                else:
                    table[change.key] = change.value

    def devices(self) -> dict[str, DeviceInfo]:
        """The devices by id."""
        return self._table("device")

    def entities(self) -> dict[str, Entity]:
        """The entities by key."""
        return self._table("entity")

    def values(self) -> dict[str, Seen]:
        """What entities said last, by key."""
        return self._table("value")

    def online(self) -> dict[str, Alive]:
        """Which devices are there and which are not, by id; who was never missed is not in it."""
        return self._table("online")

    def schedules(self) -> dict[str, ScheduleState]:
        """What is remembered of schedules, by id."""
        return self._table("schedule")

    def outputs(self) -> dict[str, float]:
        """When outputs were last driven, by name."""
        return self._table("output")

    def mode(self) -> ModeState | None:
        """The mode of the house, or None while it was never set."""
        found: ModeState | None = self._table("mode").get("house")
        return found

    def settings(self) -> dict[str, object]:
        """Switches that people have set: ``enabled:rule:<id>``, ``maintenance:``, ``group:<name>``."""
        return self._table("setting")

    def enabled(self, kind: str, key: str) -> bool:
        """Whether a rule, device or output is switched on."""
        return self.settings().get(f"enabled:{kind}:{key.lower()}") is not False

    def meter(self, key: str) -> Mapping[str, object]:
        """What is remembered of a meter, as it is stored."""
        found = self._table("meter").get(key)
        return found if isinstance(found, dict) else {}

    def meters(self) -> tuple[str, ...]:
        """The meters that have said something, by name."""
        return tuple(sorted(self._raw.get("meter", {}).copy()))

    def of_device(self, device: str) -> tuple[Entity, ...]:
        """The entities of a device."""
        return tuple(entity for entity in self.entities().values() if entity.device == device)

    def _table(self, scope: Scope) -> dict[str, Any]:
        # A dict's copy() is one step for the other thread; what is equal to before is not decoded again.
        raw = self._raw.get(scope, {}).copy()
        known = self._decoded.get(scope, {})
        decoder = _DECODERS.get(scope, _ANY)
        fresh = {key: seen if (seen := known.get(key)) is not None and seen[0] is value else (value, _read(decoder, value))
                 for key, value in raw.items()}  # fmt: skip
        self._decoded[scope] = fresh
        return {key: value for key, (_, value) in fresh.items() if value is not None}


def _read(decoder: msgspec.json.Decoder[Any], value: bytes) -> Any:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def rooms(entities: Iterable[Entity], devices: Mapping[str, DeviceInfo]) -> dict[str, list[Entity]]:
    """The entities by room, "" for those without one; rooms in alphabetical order."""
    found: dict[str, list[Entity]] = {}
    for entity in entities:
        device = devices.get(entity.device)
        found.setdefault(entity.room or (device.room if device is not None else ""), []).append(entity)
    return dict(sorted(found.items(), key=lambda pair: (not pair[0], pair[0].casefold())))
