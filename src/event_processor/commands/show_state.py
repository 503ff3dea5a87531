"""``event-processor state``: the mode, what is switched off, what is under way, and whether a hub runs."""

from __future__ import annotations

import argparse
from typing import Final

from event_processor.app import rulebook
from event_processor.commands.list_devices import state_of
from event_processor.commands.opening import ask_hubs, house, reader
from event_processor.commands.output import clock, print_json, visible
from event_processor.settings import load, read_rules
from pylib.config import app_config
from pylib.errors import ConfigError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Show it."""
    home = house()
    opened = reader(home)
    state, registry = state_of(opened)
    opened.close()
    mode = state.modes.get("house")
    off = sorted(key.removeprefix("enabled:") for key, value in state.settings.items() if value is False)
    timers = sorted((timer.at, key) for key, timer in state.timers.items())
    running = ask_hubs({"ask": "health"})
    shown = {
        "running": len(running),
        "ready": all(bool(one.get("ready")) for one in running) if running else False,
        "problems": [problem for one in running for problem in _problems(one)],
        "mode": _first_mode() if mode is None else mode.current,
        "next_mode": None if mode is None or not mode.next else {"mode": mode.next, "at": mode.at},
        "maintenance": state.settings.get("maintenance:") is True,
        "switched_off": off,
        "timers": [{"what": key, "at": at} for at, key in timers],
        "devices": len(registry.devices),
        "entities": len(registry.entities),
    }
    if options.json:
        print_json(shown)
        return 0
    print(f"Running: {'yes' if running else 'no'}{'' if shown['ready'] or not running else ', with problems'}")
    for problem in shown["problems"] if isinstance(shown["problems"], list) else []:
        print(f"  {visible(str(problem))}")
    leaving = f", {mode.next} from {clock(mode.at, home.zone)}" if mode is not None and mode.next else ""
    print(f"Mode: {shown['mode'] or 'the first of the rules, once they are right'}{leaving}")
    print(f"Maintenance: {'yes, outputs stay quiet' if shown['maintenance'] else 'no'}")
    print(f"Switched off: {visible(', '.join(off)) or 'nothing'}")
    print(f"Devices: {len(registry.devices)} ({_count(len(registry.entities), 'entity', 'entities')})")
    if timers:
        print("Waiting for a time:")
    for at, key in timers:
        print(f"  {clock(at, home.zone)}  {visible(_timer(key))}")
    return 0


def _first_mode() -> str | None:
    """The mode of a house whose mode nobody has changed yet; None where the rules cannot be read."""
    try:
        settings = load(app_config)
        return rulebook(settings, read_rules(settings)).first_mode
    except ConfigError:
        return None


#: What a timer is for, by the first part of its key.
_TIMERS: Final = {
    "mode": "the change of the mode",
    "hold": "whether what set it off still lasts",
    "entry": "the end of the entry delay",
    "run": "the next of its actions",
    "confirm": "whether the command was carried out",
}


def _timer(key: str) -> str:
    what, _, about = key.partition(":")
    rule, _, device = about.partition(":")
    words = [f"rule {rule}" if rule else "", device, _TIMERS.get(what, what)]
    return ": ".join(filter(None, words))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _problems(health: dict[str, object]) -> list[str]:
    found = health.get("problems")
    return (
        [f"{one.get('part')}: {one.get('what')}" for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    )
