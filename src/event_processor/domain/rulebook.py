"""The rules, compiled and indexed, so that an event meets only those that concern it.

Immutable but for its caches; one thread uses it. Made by ``compile_rules``, which says what is wrong with a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Final, TypeAlias

from event_processor.domain.conditions import Condition, compile_condition
from event_processor.domain.entities import CommandForm
from event_processor.domain.events import Event
from event_processor.domain.links import Output, make_output
from event_processor.domain.mapping import matches
from event_processor.domain.patterns import is_pattern, name_matches
from event_processor.domain.registry import Registry
from event_processor.domain.rules import ModeSpec, Rule, Trigger
from event_processor.domain.windows import OpenHours, compile_windows
from pylib.errors import ConfigError

__all__ = ["HAPPENINGS", "MODES", "CompiledRule", "Concerned", "Rulebook", "compile_rules"]

HAPPENINGS: Final = ("mode", "schedule", "offline", "online", "signal", "unconfirmed")
MODES: Final = (ModeSpec(name="home"), ModeSpec(name="away", exit_delay_s=60, entry_delay_s=30), ModeSpec(name="night"))
MOST_REMEMBERED: Final = 100_000
"""Entities for which it is remembered which rules concern them."""

Concerned: TypeAlias = tuple[tuple["CompiledRule", tuple[Trigger, ...]], ...]


class CompiledRule:
    """A rule with its condition and windows compiled. Immutable."""

    __slots__ = ("condition", "hours", "modes", "place", "rule")

    def __init__(self, rule: Rule, place: int) -> None:
        self.rule = rule
        self.place = place
        self.condition: Condition | None = compile_condition(rule.condition) if rule.condition.strip() else None
        self.hours: OpenHours | None = compile_windows(rule.window)
        self.modes = frozenset(mode.lower() for mode in rule.modes)


class Rulebook:
    """All rules of a hub, its outputs, modes, groups and time zone. ``groups`` has patterns of entity keys by group name.

    ``render`` makes the payload of a command from a template that is more than ``{value}``.
    """

    def __init__(
        self,
        rules: Iterable[CompiledRule],
        *,
        outputs: Iterable[Output] = (),
        modes: Iterable[ModeSpec] = MODES,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        zone: tzinfo = UTC,
        disabled: frozenset[str] = frozenset(),
        control_expiry_s: float = 90.0,
        render: Callable[[CommandForm, str], str] | None = None,
    ) -> None:
        self.rules = {compiled.rule.id: compiled for compiled in rules}
        self.outputs = {output.name.lower(): output for output in outputs}
        self.modes = {mode.name.lower(): mode for mode in modes}
        self.first_mode = next(iter(self.modes), "home")
        self.groups = {
            name.lower(): tuple(pattern.lower() for pattern in patterns) for name, patterns in (groups or {}).items()
        }
        self.zone = zone
        self.disabled = disabled
        self.control_expiry_s = control_expiry_s
        self.render = render
        self._by_device: dict[str, list[tuple[CompiledRule, Trigger]]] = {}
        self._by_type: dict[str, list[tuple[CompiledRule, Trigger]]] = {}
        self._patterns: list[tuple[CompiledRule, Trigger]] = []
        self._happenings: dict[str, list[tuple[CompiledRule, Trigger, str]]] = {}
        self._waiting = [compiled for compiled in self.rules.values() if compiled.rule.for_s > 0 and compiled.condition]
        self._topics = False
        for compiled in self.rules.values():
            for trigger in compiled.rule.trigger:
                self._index(compiled, trigger)
        self._remembered: dict[str, tuple[str, str, Concerned]] = {}
        self._same: dict[tuple[str, str, Concerned], tuple[str, str, Concerned]] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._readers: dict[str, tuple[CompiledRule, ...]] = {}
        self._spelt: dict[str, str] = {}

    def _index(self, compiled: CompiledRule, trigger: Trigger) -> None:
        for kind in HAPPENINGS:
            if subject := getattr(trigger, kind):
                self._happenings.setdefault(kind, []).append((compiled, trigger, subject.lower()))
                return
        if trigger.device and not is_pattern(trigger.device):
            self._by_device.setdefault(trigger.device.lower(), []).append((compiled, trigger))
        elif trigger.type and not (trigger.device or trigger.group or trigger.topic):
            self._by_type.setdefault(trigger.type.lower(), []).append((compiled, trigger))
        else:
            self._patterns.append((compiled, trigger))
        self._topics = self._topics or bool(trigger.topic)

    def forget(self) -> None:
        """Forget what was derived from the registry, after it has changed: rooms, groups."""
        self._remembered.clear()
        self._same.clear()
        self.forget_members()

    def forget_members(self) -> None:
        """Forget who is in which group, after a new entity was heard."""
        self._members.clear()
        self._readers.clear()
        self._spelt.clear()

    def concerned(self, event: Event, registry: Registry) -> Concerned:
        """The rules that look at this event, in their order, each with the triggers that match it.

        The answer is remembered, so that the next event of the same entity costs the same whatever rules there are.
        """
        known = self._remembered.get(event.device)
        topic = event.topic if self._topics else ""
        if known is not None and known[0] == event.type and known[1] == topic:
            return known[2]
        found = self._find(event, registry)
        answer = (event.type, topic, found)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
            self._same.clear()
        entity = registry.entity(event.device)
        # Equal answers are one object, and the key is the registry's: this is kept for every entity.
        self._remembered[event.device if entity is None else entity.key] = self._same.setdefault(answer, answer)
        return found

    def _find(self, event: Event, registry: Registry) -> Concerned:
        device, kind = event.device.lower(), event.type.lower()
        candidates = [*self._by_device.get(device, ()), *self._by_type.get(kind, ())]
        found: dict[int, tuple[CompiledRule, list[Trigger]]] = {}
        for compiled, trigger in candidates:
            if self._fits(trigger, event, device, kind, registry):
                found.setdefault(compiled.place, (compiled, []))[1].append(trigger)
        for compiled, trigger in self._patterns:
            if trigger.device and not name_matches(trigger.device.lower(), device):
                continue
            if self._fits(trigger, event, device, kind, registry):
                found.setdefault(compiled.place, (compiled, []))[1].append(trigger)
        return tuple((found[place][0], tuple(found[place][1])) for place in sorted(found))

    def _fits(self, trigger: Trigger, event: Event, device: str, kind: str, registry: Registry) -> bool:
        if trigger.type and trigger.type.lower() != kind:
            return False
        if trigger.topic and matches(tuple(trigger.topic.split("/")), event.topic) is None:
            return False
        return not trigger.group or self.in_group(trigger.group.lower(), event.device, device, registry)

    def in_group(self, group: str, key: str, lowered: str, registry: Registry) -> bool:
        """Say whether an entity is in a group of the rule file, in one of the registry, or in the room of that name."""
        if any(name_matches(pattern, lowered) for pattern in self.groups.get(group, ())):
            return True
        if registry.room_of(key).lower() == group:
            return True
        return any(name.lower() == group for name in registry.groups_of(key))

    def members(self, group: str, values: Iterable[str], registry: Registry) -> tuple[str, ...]:
        """The entities of a group, of those heard or described; remembered until ``forget`` or ``forget_members``."""
        name = group.lower()
        found = self._members.get(name)
        if found is None:
            keys = dict.fromkeys((*values, *registry.entities))
            found = tuple(key for key in keys if self.in_group(name, key, key.lower(), registry))
            self._members[name] = found
        return found

    def spelt(self, key: str, values: Iterable[str], registry: Registry) -> str:
        """The key as its entity is really called, where only the case differs; else the key as it is."""
        if not self._spelt:
            self._spelt.update((name.lower(), name) for name in (*registry.entities, *values))
        return self._spelt.get(key.lower(), key)

    def readers(self, key: str, registry: Registry) -> tuple[CompiledRule, ...]:
        """The rules with a duration whose condition reads this entity, so that its news can end a wait."""
        if not self._waiting:
            return ()
        found = self._readers.get(key)
        if found is None:
            lowered = key.lower()
            found = tuple(
                compiled
                for compiled in self._waiting
                if compiled.condition is not None
                and (
                    any(device.lower() == lowered for device in compiled.condition.devices)
                    or any(self.in_group(group.lower(), key, lowered, registry) for group in compiled.condition.groups)
                )
            )
            self._readers[key] = found
        return found

    def happening(self, kind: str, subject: str) -> tuple[CompiledRule, ...]:
        """The rules that look at a change of mode, a schedule, a device that goes or comes, a button."""
        lowered = subject.lower()
        return tuple(
            dict.fromkeys(
                compiled for compiled, _, pattern in self._happenings.get(kind, ()) if name_matches(pattern, lowered)
            )
        )

    def output(self, name: str) -> Output:
        """The output of that name; one that nothing describes is an application on RabbitMQ. Raises ``ConfigError``."""
        return self.outputs.get(name.lower()) or make_output(name)


def compile_rules(rules: Iterable[Rule]) -> list[CompiledRule]:
    """Compile rules. Raises ``ConfigError`` that names the first rule at fault ("rule siren: condition: ...")."""
    compiled: list[CompiledRule] = []
    for place, rule in enumerate(rules):
        try:
            compiled.append(CompiledRule(rule, place))
        except ConfigError as error:
            raise ConfigError(f"rule {rule.id}: {error}") from None
    return compiled
