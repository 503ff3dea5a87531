"""A house in a few lines: rules as TOML, a clock in the hand, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any

from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability, CommandForm, DeviceInfo, Entity
from event_processor.domain.events import Event
from event_processor.domain.heard import Request
from event_processor.domain.links import Output
from event_processor.domain.outcome import Evaluation, Outcome, Step
from event_processor.domain.registry import Registry
from event_processor.domain.rule_file import load
from event_processor.domain.rulebook import MODES, Rulebook, compile_rules
from event_processor.domain.rules import ModeSpec, Rule
from event_processor.domain.state import HubState

START = 1_700_000_000.0


def rules_of(text: str) -> list[Rule]:
    """Rules written as ``[[rule]]``."""
    return list(load(text).rule)


class House:
    """An engine, its clock, and all that it ever decided."""

    def __init__(
        self,
        text: str = "",
        *,
        rules: Sequence[Rule] = (),
        outputs: Sequence[Output] = (),
        modes: Sequence[ModeSpec] = MODES,
        groups: dict[str, tuple[str, ...]] | None = None,
        zone: tzinfo = UTC,
        now: float = START,
        **options: Any,
    ) -> None:
        self.rules = [*rules_of(text), *rules] if text else list(rules)
        self.options = {"outputs": outputs, "modes": modes, "groups": groups, "zone": zone, **options}
        self.engine = Engine(Rulebook(compile_rules(self.rules), **self.options), Registry())
        self.now = now
        self.outcomes: list[Outcome] = []
        self._number = 0

    def cause(self) -> str:
        """The next event's id."""
        self._number += 1
        return f"event-{self._number}"

    def hear(self, device: str, active: bool | None = True, value: object = None, **fields: Any) -> Outcome:
        """A device reports."""
        event = Event(
            **{
                "device": device,
                "kind": "input",
                "active": active,
                "value": value,
                "created_at": self.now,
                "source": "mqtt",
                "topic": f"sensor/{device}",
                **fields,
            }
        )
        return self._kept(self.engine.take(event, self.cause(), self.now))

    def presence(self, device: str, online: bool, entity: str = "") -> Outcome:
        """A device goes silent or comes back."""
        said = Availability(device=device, online=online, at=self.now, entity=entity)
        return self._kept(self.engine.take(said, self.cause(), self.now))

    def ask(self, what: str, about: str = "", value: object = None, who: str = "Anna") -> Outcome:
        """A person asks for something."""
        request = Request(id=self.cause(), at=self.now, what=what, who=who, about=about, value=value)
        return self._kept(self.engine.command(request, self.now))

    def happen(self, kind: str, subject: str) -> Outcome:
        """A schedule is due, a button is pressed."""
        return self._kept(self.engine.happen(kind, subject, self.cause(), self.now))

    def wait(self, seconds: float) -> list[Outcome]:
        """Let time pass, and every timer ring at its time."""
        end, rung = self.now + seconds, []
        while (at := self.engine.next_due()) is not None and at <= end:
            self.now = max(self.now, at)
            rung += [self._kept(outcome) for outcome in self.engine.due(self.now)]
        self.now = end
        return rung

    def restart(self, down: float = 0.0) -> list[Outcome]:
        """Kill the hub; ``down`` seconds later another one starts from what was stored."""
        rows = list(self.engine.state.rows())
        self.engine = Engine(Rulebook(compile_rules(self.rules), **self.options), self.engine.registry)
        self.engine.restore(rows)
        self.now += down
        return [self._kept(outcome) for outcome in self.engine.due(self.now)]

    def switch(self, key: str, *, reports: bool = True) -> None:
        """A lamp that can be switched, and says so afterwards."""
        form = CommandForm(
            topic=f"{key}/set", payloads={"on": "ON", "off": "OFF"}, confirmed_by={"on": "ON", "off": "OFF"} if reports else {}
        )
        self.engine.registry.put_device(DeviceInfo(id=f"d-{key}", name=key, convention="homeassistant"))
        self.engine.registry.put_entity(Entity(key=key, device=f"d-{key}", name=key, role="both", command=form))
        self.engine.book.forget()

    def _kept(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        return outcome

    @property
    def steps(self) -> list[Step]:
        """All that was sent."""
        return [step for outcome in self.outcomes for step in outcome.steps]

    @property
    def mode(self) -> str:
        """The mode of the house."""
        state: HubState = self.engine.state
        return state.modes["house"].current if "house" in state.modes else self.engine.book.first_mode


def sent(outcome: Outcome | list[Outcome]) -> list[str]:
    """The names of the outputs and targets that something was sent to."""
    outcomes = outcome if isinstance(outcome, list) else [outcome]
    return [step.output for one in outcomes for step in one.steps]


def verdict(outcome: Outcome, rule: str = "") -> Evaluation:
    """The one evaluation of a rule."""
    (found,) = [one for one in outcome.evaluations if not rule or one.rule == rule]
    return found
