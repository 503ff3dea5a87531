"""``event-processor state``: the mode, what is switched off, what is under way, and whether a hub runs."""

from __future__ import annotations

import argparse

from event_processor.commands.list_devices import state_of
from event_processor.commands.opening import ask_hubs, house, reader
from event_processor.commands.output import clock, print_json, visible

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
        "mode": None if mode is None else mode.current,
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
    print(f"Mode: {mode.current if mode is not None else 'the first'}{leaving}")
    print(f"Maintenance: {'yes, outputs stay quiet' if shown['maintenance'] else 'no'}")
    print(f"Switched off: {visible(', '.join(off)) or 'nothing'}")
    print(f"Devices: {len(registry.devices)}, with {len(registry.entities)} entities")
    for at, key in timers:
        print(f"  {clock(at, home.zone)}  {visible(key)}")
    return 0


def _problems(health: dict[str, object]) -> list[str]:
    found = health.get("problems")
    return (
        [f"{one.get('part')}: {one.get('what')}" for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    )
