"""``event-processor ask``: have a running hub do something, and say what became of it."""

from __future__ import annotations

import argparse

import msgspec

from event_processor.commands.opening import ask_hubs, user
from event_processor.commands.output import print_json
from pylib.errors import ConfigError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Ask. 1 where the hub refuses."""
    if options.what == "reload":
        answers = ask_hubs({"ask": "reload"})
        done = True
        texts = [_goes_on(answer) for answer in answers]
    else:
        request = {"ask": "request", "what": options.what, "about": options.about, "value": _value(options), "who": user()}
        answers = ask_hubs(request)
        done = all(answer["done"] for answer in answers)
        texts = [str(answer["text"]) for answer in answers]
    if not answers:
        raise ConfigError("No hub runs with these settings: start one, or name its settings with --config.")
    if options.json:
        print_json({"done": done, "answers": answers})
    else:
        print(*texts, sep="\n")
    return 0 if done else 1


def _goes_on(answer: dict[str, object]) -> str:
    rules, schedules = answer["rules"], answer.get("schedules")
    timed = f" and {schedules} schedule{'' if schedules == 1 else 's'}" if schedules else ""
    return f"The hub goes on with {rules} rule{'' if rules == 1 else 's'}{timed}."


def _value(options: argparse.Namespace) -> object:
    """What was typed: JSON where it is some, else a word. What is about nothing may have its value first."""
    if options.what == "maintenance" and options.value is None:
        options.about, options.value = "", options.about or "true"
    text = options.value
    if text is None:
        return None
    text = {"on": "true", "off": "false"}.get(text, text) if options.what == "maintenance" else text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
