"""What the people of the simulated home do in a day, and what happens to them. Pure: the same seed gives the same days."""

from __future__ import annotations

import random
from typing import Literal, TypeAlias

import msgspec

__all__ = ["Act", "What", "day"]

What: TypeAlias = Literal["see", "open", "close", "run", "lamp", "come", "go", "bell", "drop", "reach", "ask", "mend"]

_HOUR = 3600.0
_MINUTE = 60.0


class Act(msgspec.Struct, frozen=True, order=True):
    """Something happens ``at`` so many seconds after midnight.

    see     somebody moves in front of a motion sensor
    open    a door or window is opened, ``close`` closes it
    run     something takes ``amount`` (litres a minute, or watts) for ``seconds``
    lamp    somebody switches a lamp; amount 1 is on, 0 is off
    come    the phone is home, ``go``: it is not
    bell    somebody stands before the camera
    drop    a device cannot be reached any more, ``reach``: it can
    ask     somebody sets the heating to ``amount`` degrees
    mend    somebody looks after things: the siren off, the water on
    """

    at: float
    what: What
    who: str
    amount: float = 0.0
    seconds: float = 0.0


def day(number: int, seed: int, *, weekend: bool) -> list[Act]:
    """Everything of one day, in its order. ``number`` counts from the first, which has a break-in and a leak."""
    chance = random.Random(f"{seed}/{number}")
    acts: list[Act] = []
    wake = (8.25 if weekend else 6.6) * _HOUR + chance.uniform(-15, 15) * _MINUTE
    acts += _night(chance)
    acts += _morning(chance, wake)
    if weekend:
        away = chance.uniform(10.0, 11.0) * _HOUR
        back = away + chance.uniform(1.5, 3.0) * _HOUR
    else:
        away = wake + chance.uniform(75, 95) * _MINUTE
        back = 17.2 * _HOUR + chance.uniform(-25, 40) * _MINUTE
    acts += _leave(away)
    acts += _mishaps(chance, away + 12 * _MINUTE, back - 25 * _MINUTE, first=number == 0)
    acts += _return(back)
    acts += _evening(chance, max(back + 30 * _MINUTE, 18.0 * _HOUR))
    return sorted(acts)


def _night(chance: random.Random) -> list[Act]:
    up = chance.uniform(2.0, 4.5) * _HOUR
    unreachable = chance.uniform(0.5, 1.5) * _HOUR
    return [
        Act(up, "see", "hall_motion"),
        Act(up + 90, "run", "tap", 8, 45),
        Act(up + 200, "see", "hall_motion"),
        # A battery device at the edge of the radio's reach.
        Act(unreachable, "drop", "bedroom_window"),
        Act(unreachable + 20 * _MINUTE, "reach", "bedroom_window"),
    ]


def _morning(chance: random.Random, wake: float) -> list[Act]:
    shower = wake + 6 * _MINUTE
    coffee = wake + 20 * _MINUTE
    acts = [
        Act(wake, "ask", "living_climate", 21.0),
        Act(wake, "see", "hall_motion"),
        Act(wake + 20, "lamp", "hall_light", 1),
        Act(shower, "run", "shower", 9, chance.uniform(240, 480)),
        Act(shower + 9 * _MINUTE, "run", "tap", 6, 60),
        Act(wake + 12 * _MINUTE, "open", "bedroom_window"),
        Act(wake + 27 * _MINUTE, "close", "bedroom_window"),
        Act(coffee, "run", "coffee_plug", 1150, 240),
        Act(coffee + 60, "run", "kettle", 2000, 150),
        Act(coffee + 20 * _MINUTE, "run", "tap", 7, 90),
        Act(wake + 50 * _MINUTE, "lamp", "hall_light", 0),
    ]
    return acts + _moving(chance, "kitchen_motion", coffee - 60, coffee + 35 * _MINUTE, 4 * _MINUTE)


def _leave(away: float) -> list[Act]:
    return [
        Act(away - 3 * _MINUTE, "see", "hall_motion"),
        Act(away, "open", "entrance_door"),
        Act(away + 8, "bell", "entrance_camera"),
        Act(away + 25, "close", "entrance_door"),
        Act(away + 4 * _MINUTE, "go", "phone"),
        Act(away + 4 * _MINUTE, "ask", "living_climate", 18.0),
    ]


def _mishaps(chance: random.Random, start: float, end: float, *, first: bool) -> list[Act]:
    """What happens while nobody is at home: the post, sometimes a break-in, sometimes a hose that bursts."""
    post = chance.uniform(start, end)
    acts = [Act(post, "bell", "entrance_camera")]
    if chance.random() < 0.3 or first:
        when = chance.uniform(start, min(start + 1.5 * _HOUR, end))
        acts += [
            Act(when - 40, "bell", "entrance_camera"),
            Act(when, "open", "kitchen_door"),
            Act(when + 15, "see", "kitchen_motion"),
            Act(when + 50, "see", "hall_motion"),
            Act(when + 4 * _MINUTE, "close", "kitchen_door"),
        ]
    if chance.random() < 0.3 or first:
        when = chance.uniform((start + end) / 2, end - 20 * _MINUTE)
        acts.append(Act(when, "run", "hose", 26, 20 * _MINUTE))
    return acts


def _return(back: float) -> list[Act]:
    return [
        Act(back - 3 * _MINUTE, "come", "phone"),
        Act(back - 2 * _MINUTE, "ask", "living_climate", 21.0),
        Act(back - 20, "bell", "entrance_camera"),
        Act(back, "open", "entrance_door"),
        Act(back + 20, "see", "hall_motion"),
        Act(back + 40, "close", "entrance_door"),
        Act(back + 2 * _MINUTE, "mend", "home"),
        Act(back + 3 * _MINUTE, "run", "tap", 7, 40),
    ]


def _evening(chance: random.Random, start: float) -> list[Act]:
    bed = 22.6 * _HOUR + chance.uniform(-25, 30) * _MINUTE
    acts = [
        Act(start, "run", "oven", 2200, chance.uniform(25, 50) * _MINUTE),
        Act(start + 10 * _MINUTE, "run", "tap", 8, 120),
        Act(start + 20 * _MINUTE, "lamp", "living_light", 1),
        Act(start + 60 * _MINUTE, "run", "television", 95, bed - start - 80 * _MINUTE),
        Act(start + 75 * _MINUTE, "run", "dishwasher", 1800, 20 * _MINUTE),
        Act(start + 76 * _MINUTE, "run", "dishwasher_water", 5, 90),
        Act(start + 110 * _MINUTE, "open", "kitchen_door"),
        Act(start + 112 * _MINUTE, "close", "kitchen_door"),
        Act(bed - 10 * _MINUTE, "run", "tap", 6, 80),
        Act(bed - 5 * _MINUTE, "see", "hall_motion"),
        Act(bed, "lamp", "living_light", 0),
        Act(bed + 60, "ask", "living_climate", 18.0),
    ]
    return acts + _moving(chance, "kitchen_motion", start - 120, start + 70 * _MINUTE, 6 * _MINUTE)


def _moving(chance: random.Random, sensor: str, start: float, end: float, usual: float) -> list[Act]:
    """Somebody is about, and is seen now and then."""
    acts = []
    at = start
    while at < end:
        acts.append(Act(at, "see", sensor))
        at += chance.uniform(0.4, 1.6) * usual
    return acts
