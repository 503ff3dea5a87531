"""The mode of the house: going to another one, with the exit delay of that one; and what it ends."""

from __future__ import annotations

from event_processor.domain.memos import ModeState
from event_processor.domain.turn import Turn

__all__ = ["MODE_TIMER", "enter_mode", "set_mode"]

MODE_TIMER = "mode::"


def set_mode(turn: Turn, wanted: str, at_once: bool = False) -> str:
    """Go to a mode, at once or after its exit delay. Returns what was done, in words.

    An exit delay under way gives way to the newest wish.
    """
    spec = turn.book.modes.get(wanted.lower())
    if spec is None:
        return f"there is no mode {wanted}: there are {', '.join(mode.name for mode in turn.book.modes.values())}"
    mode = turn.mode
    if mode.current == spec.name:
        if mode.next:
            turn.draft.modes.put("house", ModeState(mode.current, mode.since))
            turn.draft.timers.put(MODE_TIMER, None)
            return f"the mode stays {spec.name}; going to {mode.next} was called off"
        return f"the mode is {spec.name} already"
    if spec.exit_delay_s > 0 and not at_once:
        if mode.next == spec.name:
            return f"the mode will be {spec.name} in {max(0.0, mode.at - turn.now):.0f} s anyway"
        turn.draft.modes.put("house", ModeState(mode.current, mode.since, spec.name, turn.now + spec.exit_delay_s))
        turn.timer(MODE_TIMER, turn.now + spec.exit_delay_s)
        return f"the mode will be {spec.name} in {spec.exit_delay_s:g} s"
    enter_mode(turn, spec.name)
    return f"the mode is {spec.name} now"


def enter_mode(turn: Turn, name: str) -> None:
    """Be in a mode from now on, and let the rules that wait for it know."""
    turn.draft.modes.put("house", ModeState(name, turn.now))
    turn.draft.timers.put(MODE_TIMER, None)
    turn.chain.append(("mode", name))
