"""All that the hub knows and that changes, in one object with one owner.

Decisions read it through a ``Draft`` and write into the draft only. What the draft holds in the end becomes ``Change``
values, for the store, and is taken over with ``accept``. ``apply`` and ``restore`` rebuild the same state from changes or
from the store's rows. Not thread-safe: one thread owns it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from event_processor.domain.fields import Scalar
from event_processor.domain.memos import Alive, Awaited, Entry, Hold, Memo, ModeState, Run, Seen, Timer
from event_processor.domain.outcome import Change, Scope

__all__ = ["SHARED", "Draft", "HubState", "View"]

V = TypeVar("V")
_MEMOS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "latch": msgspec.json.Decoder(float),
    "count": msgspec.json.Decoder(tuple[float, ...]),
    "hold": msgspec.json.Decoder(Hold),
    "entry": msgspec.json.Decoder(Entry),
    "run": msgspec.json.Decoder(Run),
    "confirm": msgspec.json.Decoder(Awaited),
}
_SEEN: Final = msgspec.json.Decoder(Seen)
_ALIVE: Final = msgspec.json.Decoder(Alive)
_TIMER: Final = msgspec.json.Decoder(Timer)
_MODE: Final = msgspec.json.Decoder(ModeState)
_FLOAT: Final = msgspec.json.Decoder(float)
_SETTING: Final = msgspec.json.Decoder(bool | int | float | str | None)
SHARED: Final = 16
"""Characters of a value up to which equal ones are kept as one object."""
_OURS: Final[frozenset[Scope]] = frozenset({"value", "online", "rule", "timer", "mode", "output", "setting"})
# Which settings are switches of rules; a setting's key starts with what it is about.
_SETTINGS: Final = ("enabled:", "maintenance:")
_encode: Final = msgspec.json.Encoder().encode


class HubState:
    """Values of entities, what rules remember, timers, modes, outputs, settings; and what is derived from them.

    ``held`` has the devices for which a rule's ``for`` is under way; ``version`` grows whenever an entity is heard for the
    first time, for those who keep something derived. Descriptions of devices are the registry's.
    """

    __slots__ = ("held", "memos", "modes", "online", "outputs", "settings", "timers", "values", "version")

    def __init__(self) -> None:
        self.values: dict[str, Seen] = {}
        self.online: dict[str, Alive] = {}
        self.memos: dict[str, Memo] = {}
        self.timers: dict[str, Timer] = {}
        self.modes: dict[str, ModeState] = {}
        self.outputs: dict[str, float] = {}
        self.settings: dict[str, Scalar] = {}
        self.held: dict[str, dict[str, None]] = {}
        self.version = 0

    def accept(self, draft: Draft) -> None:
        """Take over what a draft of this state holds."""
        for view in draft.views:
            for key, value in view.over.items():
                self._put(view.scope, key, value)

    def apply(self, changes: Iterable[Change]) -> None:
        """Take over changes; those that belong to others (the registry, meters, schedules) are passed over."""
        for change in changes:
            if change.scope in _OURS and (change.scope != "setting" or change.key.startswith(_SETTINGS)):
                value = None if change.value is None else _decoded(change.scope, change.key, change.value)
                self._put(change.scope, change.key, value)

    @classmethod
    def restore(cls, rows: Iterable[tuple[Scope, str, bytes]]) -> HubState:
        """Rebuild the state from the store's rows: scope, key, value as JSON."""
        state = cls()
        state.apply(Change(scope, key, value) for scope, key, value in rows)
        return state

    def rows(self) -> Iterator[tuple[Scope, str, bytes]]:
        """Give all of the state, as ``restore`` takes it."""
        for scope, table in self._tables().items():
            for key, value in table.items():
                yield cast(Scope, scope), key, _encode(value)

    def _tables(self) -> dict[str, dict[str, Any]]:
        # Each table has its own type of value; drafts and decoders give nothing else.
        return {
            "value": self.values, "online": self.online, "rule": self.memos, "timer": self.timers, "mode": self.modes,
            "output": self.outputs, "setting": self.settings,
        }  # fmt: skip

    def _put(self, scope: Scope, key: str, value: object) -> None:
        if scope == "value":
            self._seen(key, value)
        elif scope == "rule":
            self._memo(key, value)
        else:
            table = self._tables()[scope]
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value

    def _seen(self, key: str, value: object) -> None:
        if isinstance(value, Seen):
            if key not in self.values:
                self.version += 1
            self.values[key] = value
        elif self.values.pop(key, None) is not None:
            self.version += 1

    def _memo(self, key: str, value: object) -> None:
        what, rule, device = key.split(":", 2)
        if value is None:
            self.memos.pop(key, None)
        else:
            self.memos[key] = value  # type: ignore[assignment]  # a draft and a decoder give nothing else
        if what == "hold":
            held = self.held.setdefault(rule, {})
            if value is None:
                held.pop(device, None)
                if not held:
                    del self.held[rule]
            else:
                held[device] = None


def _decoded(scope: Scope, key: str, value: bytes) -> object:
    if scope == "value":
        seen = _SEEN.decode(value)
        word = sys.intern(seen.value) if isinstance(seen.value, str) and len(seen.value) <= SHARED else seen.value
        since = seen.at if seen.since == seen.at else seen.since
        return Seen(word, seen.active, seen.at, since, sys.intern(seen.type), seen.known)
    if scope == "rule":
        return _MEMOS[key.partition(":")[0]].decode(value)
    if scope == "timer":
        return _TIMER.decode(value)
    if scope == "online":
        return _ALIVE.decode(value)
    if scope == "mode":
        return _MODE.decode(value)
    return _FLOAT.decode(value) if scope == "output" else _SETTING.decode(value)


class View(Generic[V]):
    """One table as a decision sees it: what it has written itself, over what was there."""

    __slots__ = ("base", "over", "scope")

    def __init__(self, scope: Scope, base: dict[str, V]) -> None:
        self.scope: Scope = scope
        self.base = base
        self.over: dict[str, V | None] = {}

    def get(self, key: str) -> V | None:
        """The value under ``key``, or ``None``."""
        return self.over[key] if key in self.over else self.base.get(key)

    def put(self, key: str, value: V | None) -> None:
        """Write a value; ``None`` takes it away."""
        self.over[key] = value


class Draft:
    """A state and what a decision wants different about it."""

    __slots__ = ("memos", "modes", "online", "outputs", "settings", "state", "timers", "values", "views")

    def __init__(self, state: HubState) -> None:
        self.state = state
        self.values = View("value", state.values)
        self.online = View("online", state.online)
        self.memos = View("rule", state.memos)
        self.timers = View("timer", state.timers)
        self.modes = View("mode", state.modes)
        self.outputs = View("output", state.outputs)
        self.settings = View("setting", state.settings)
        self.views: tuple[View[Any], ...] = (
            self.values, self.online, self.memos, self.timers, self.modes, self.outputs, self.settings,
        )  # fmt: skip

    def changes(self) -> tuple[Change, ...]:
        """All that was written, table by table. An equal value is written too: 1 and true are equal, and not the same."""
        return tuple(
            Change(view.scope, key, None if value is None else _encode(value))
            for view in self.views
            for key, value in view.over.items()
            if value is not view.base.get(key)
        )
