"""What rules mean, written a second time and as plainly as can be: lists of what happened, searched from the start each time.

It knows one rule and shares nothing with the engine. Two timers at the same time are taken in the order of their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class Guards:
    """The one rule: on activation or on level; fires A, and B after ``delay``."""

    on: str = "activation"
    modes: tuple[str, ...] = ()
    windows: tuple[tuple[int, int, tuple[int, ...]], ...] = ()  # minutes of the day, and days of the week from Monday
    latch: float = 0.0
    latch_per_rule: bool = False
    times: int = 0
    within: float = 0.0
    count_per_rule: bool = False
    lasting: float = 0.0
    run: str = "single"
    queue: int = 1
    delay: float = 0.0
    max_age: float = 120.0


@dataclass
class Model:
    """The house: what was said, tried, fired and done, each with its time."""

    rule: Guards
    now: float
    exit_delay: float = 0.0
    mode: str = "home"
    leaving: tuple[str, float] | None = None
    said: dict[str, bool | None] = field(default_factory=dict)
    tried: list[tuple[float, str]] = field(default_factory=list)
    fired: list[tuple[float, str]] = field(default_factory=list)
    holds: dict[str, tuple[float, bool]] = field(default_factory=dict)
    second_half: float | None = None
    queued: int = 0
    done: list[tuple[float, str]] = field(default_factory=list)

    def hear(self, device: str, active: bool | None, age: float = 0.0, retained: bool = False) -> None:
        before, self.said[device] = self.said.get(device), active
        if device in self.holds:
            if active is not True:
                del self.holds[device]
            return
        if retained or age > self.rule.max_age or active is not True:
            return
        if self.rule.on == "activation" and before is True:
            return
        if self.rule.lasting > 0:
            self.holds[device] = (self.now, False)
        else:
            self.attempt(device)

    def gone(self, device: str) -> None:
        if self.said.get(device, "never") != "never":
            self.said[device] = None
            self.holds.pop(device, None)

    def attempt(self, device: str) -> None:
        rule = self.rule
        if rule.modes and self.mode not in rule.modes:
            return
        if rule.windows and not open_at(rule.windows, self.now):
            return
        if self.second_half is not None and (rule.run == "single" or (rule.run == "queued" and self.queued >= rule.queue)):
            return
        if rule.times > 1 and rule.within > 0:
            self.tried.append((self.now, device))
            of_these = [at for at, who in self.tried if (rule.count_per_rule or who == device) and self.now - at < rule.within]
            if len(of_these) < rule.times:
                return
        if rule.latch > 0:
            mine = [at for at, who in self.fired if rule.latch_per_rule or who == device]
            if mine and self.now - mine[-1] < rule.latch:
                return
        self.fired.append((self.now, device))
        if self.second_half is not None and rule.run == "queued":
            self.queued += 1
        else:
            self.begin()

    def begin(self) -> None:
        self.done.append((self.now, "A"))
        if self.rule.delay > 0:
            self.second_half = self.now + self.rule.delay
        else:
            self.done.append((self.now, "B"))

    def go(self, mode: str, at_once: bool) -> None:
        if mode == self.mode:
            self.leaving = None
        elif self.exit_delay > 0 and mode == "away" and not at_once:
            if self.leaving is None:
                self.leaving = (mode, self.now + self.exit_delay)
        else:
            self.mode, self.leaving = mode, None

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [(since + self.rule.lasting, f"hold:{device}") for device, (since, fired) in self.holds.items() if not fired]
            if self.leaving is not None:
                due.append((self.leaving[1], "mode"))
            if self.second_half is not None:
                due.append((self.second_half, "run"))
            due = [one for one in due if one[0] <= end]
            if not due:
                break
            self.now, what = min(due)
            if what == "mode" and self.leaving is not None:
                self.mode, self.leaving = self.leaving[0], None
            elif what == "run":
                self.done.append((self.now, "B"))
                self.second_half = None
                if self.queued:
                    self.queued -= 1
                    self.begin()
            else:
                device = what.partition(":")[2]
                self.holds[device] = (self.holds[device][0], True)
                self.attempt(device)
        self.now = end


SUMMER = datetime(2026, 3, 29, 1, tzinfo=UTC)
WINTER = datetime(2026, 10, 25, 1, tzinfo=UTC)


def berlin(now: float) -> datetime:
    """The clock on the wall in Berlin in 2026, from the dates at which it is set."""
    moment = datetime.fromtimestamp(now, UTC)
    return (moment + timedelta(hours=2 if SUMMER <= moment < WINTER else 1)).replace(tzinfo=None)


def open_at(windows: tuple[tuple[int, int, tuple[int, ...]], ...], now: float) -> bool:
    """Walk each window minute by minute through the week, and look whether this minute is among them."""
    wall = berlin(now)
    this = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
    for start, end, days in windows:
        length = (end - start) % 1440 or 1440
        for day in days or range(7):
            for minute in range(length):
                if (day * 1440 + start + minute) % 10080 == this:
                    return True
    return False
