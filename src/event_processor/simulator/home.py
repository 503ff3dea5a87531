"""The simulated home: what its devices say, second by second, on a clock that is handed in. Pure: the same seed, start and
commands give the same messages.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Final

from event_processor.simulator import days, picture
from event_processor.simulator.catalogue import DEVICES, GARDEN
from event_processor.simulator.commands import read_command
from event_processor.simulator.days import Act
from event_processor.simulator.devices import BASE
from event_processor.simulator.states import States
from event_processor.simulator.supply import Supply
from event_processor.simulator.values import RABBITMQ, Sent
from event_processor.simulator.weather import daylight, outdoors

__all__ = ["COMMANDS", "Home"]

COMMANDS: Final = (f"{BASE}/+/set", f"{BASE}/+/+/set")
"""Where the devices are commanded."""

TICK: Final = 30.0
"""Simulated seconds between two looks at what changes by itself."""

SEEN: Final = 75.0
"""Simulated seconds after which a motion sensor that saw nobody any more says so."""

_WATTS: Final = {"hall_light": 9.0, "living_light": 34.0}
_WATER: Final = ("shower", "tap", "hose", "dishwasher_water")
_PERSON_STAYS: Final = 40.0
_BRIGHT: Final = 20_000.0


class Home:
    """Sixteen devices, a garden thermometer and the people who use them.

    ``announcements`` says what there is, ``until`` what happens up to a moment, ``told`` what a command leads to. One thread
    owns it. Times are seconds since the epoch, and may run at any speed.

    :param seed: two homes with one seed live the same life.
    :param start: when it begins.
    :param zone: whose clock its people live by.
    :param prefix: the first level of the announcements' topics.
    """

    def __init__(self, seed: int = 1, *, start: float, zone: tzinfo = UTC, prefix: str = "homeassistant") -> None:
        self.now = start
        self._seed, self._zone, self._prefix = seed, zone, prefix
        self._chance = random.Random(seed)
        self._states = States(DEVICES, self._chance)
        self._water = Supply(start, 184_230.0, 1 / 60)
        self._power = Supply(start, 7_411.5, 1 / 3_600_000, base=130.0)
        self._coffee = Supply(start, 63.2, 1 / 3_600_000)
        self._indoors, self._target, self._heats = 19.5, 19.0, True
        self._steam = 0.0
        self._motion_until: dict[str, float] = {}
        self._queue: list[tuple[float, int, Callable[[], list[Sent]]]] = []
        self._order = 0
        self._garden: float | None = None
        self._first_day = self._local(start).replace(hour=0, minute=0, second=0, microsecond=0)
        self._settle()
        self._plan(0)
        self._later(start + TICK, self._tick)

    @property
    def next_due(self) -> float:
        """When something happens again."""
        return self._queue[0][0]

    def announcements(self, link: str | None = None) -> list[Sent]:
        """Every device's announcement, whether it can be reached, and its state; or those of one connection."""
        told: list[Sent] = []
        for device in DEVICES:
            if link in (None, device.link):
                told.append(device.announcement(self._prefix))
                told += self._states.availability(device.id)
                told += self._states.report(device.id)
        return told

    def until(self, moment: float) -> list[Sent]:
        """Everything that is said up to a moment, in its order. A moment that has passed gives nothing."""
        told: list[Sent] = []
        while self._queue[0][0] <= moment:
            self.now, _, happen = heapq.heappop(self._queue)
            told += happen()
        self.now = max(self.now, moment)
        return told

    def told(self, topic: str, payload: bytes) -> list[Sent]:
        """A command has come, now. What makes no sense to a device is ignored, as devices do."""
        device, told = read_command(topic, payload)
        states = self._states
        if device in ("hall_light", "living_light"):
            on = told.state if told.state is not None else True
            return self._lamp(device, on, told.brightness)
        if device == "siren" and told.state is not None:
            return states.put("siren", state=_word(told.state))
        if device == "coffee_plug" and told.state is not None:
            if not told.state:
                self._draw("coffee_plug", 0.0)
            return states.put("coffee_plug", state=_word(told.state)) + self._plug()
        if device == "water_valve" and told.state is not None:
            self._water.shut_off(not told.state, self.now)
            return states.put("water_valve", state="open" if told.state else "closed") + self._metered()
        if device == "living_climate":
            if told.number is not None and 7.0 <= told.number <= 28.0:
                self._target = told.number
            elif told.state is not None:
                self._heats = told.state
            return self._rooms()
        return []

    # -- what happens ------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """How it is before anything happens."""
        for door in ("entrance_door", "kitchen_door", "bedroom_window"):
            self._states.put(door, contact="OFF")
        for motion in ("hall_motion", "kitchen_motion"):
            self._states.put(motion, occupancy="OFF", illuminance=self._illuminance(motion))
        for lamp in ("hall_light", "living_light"):
            self._states.put(lamp, state="OFF", brightness=200)
        self._states.put("siren", state="OFF")
        self._states.put("phone", presence="home")
        self._states.put("entrance_camera", person="OFF")
        self._states.put("water_valve", state="open")
        self._states.put("coffee_plug", state="ON")
        self._rooms()
        self._metered()
        self._plug()

    def _plan(self, number: int) -> list[Sent]:
        """Put a day's acts into the queue, and the planning of the next day."""
        midnight = self._first_day + timedelta(days=number)
        for act in days.day(number, self._seed, weekend=midnight.weekday() >= 5):
            at = midnight.timestamp() + act.at
            if at >= self.now:
                self._later(at, partial(self._act, act))
        self._later((midnight + timedelta(days=1)).timestamp(), lambda: self._plan(number + 1))
        return []

    def _act(self, act: Act) -> list[Sent]:
        states = self._states
        match act.what:
            case "see":
                return self._seen(act.who)
            case "open" | "close":
                return states.put(act.who, contact="ON" if act.what == "open" else "OFF")
            case "run":
                return self._run(act.who, act.amount, act.seconds)
            case "lamp":
                # Nobody switches a lamp on in daylight.
                return self._lamp(act.who, act.amount > 0 and self._outside_light() < 2_000)
            case "come" | "go":
                return states.put(act.who, presence="home" if act.what == "come" else "not_home")
            case "bell":
                self._later(self.now + _PERSON_STAYS, lambda: states.put("entrance_camera", person="OFF"))
                return [self._picture(person=True), *states.put("entrance_camera", person="ON")]
            case "drop" | "reach":
                return states.reach(act.who, act.what == "reach")
            case "ask":
                self._target = act.amount
                return self._rooms()
            case "mend":
                self._water.shut_off(False, self.now)
                return states.put("siren", state="OFF") + states.put("water_valve", state="open")

    def _seen(self, sensor: str) -> list[Sent]:
        self._motion_until[sensor] = self.now + SEEN
        self._later(self.now + SEEN, lambda: self._gone(sensor))
        return self._states.put(sensor, illuminance=self._illuminance(sensor), occupancy="ON")

    def _gone(self, sensor: str) -> list[Sent]:
        if self.now < self._motion_until[sensor]:
            return []  # somebody was seen meanwhile
        return self._states.put(sensor, occupancy="OFF", illuminance=self._illuminance(sensor))

    def _run(self, who: str, amount: float, seconds: float) -> list[Sent]:
        if who == "coffee_plug" and self._states.get("coffee_plug", "state") != "ON":
            return []  # switched off: no coffee today
        self._draw(who, amount)
        self._later(self.now + max(seconds, 1.0), lambda: self._stopped(who))
        return self._metered() + (self._plug() if who == "coffee_plug" else [])

    def _stopped(self, who: str) -> list[Sent]:
        self._draw(who, 0.0)
        return self._metered() + (self._plug() if who == "coffee_plug" else [])

    def _draw(self, who: str, amount: float) -> None:
        (self._water if who in _WATER else self._power).draw(who, amount, self.now)
        if who == "coffee_plug":
            self._coffee.draw(who, amount, self.now)

    def _lamp(self, lamp: str, on: bool, brightness: int | None = None) -> list[Sent]:
        bright = brightness if brightness is not None else self._states.get(lamp, "brightness")
        share = (bright if isinstance(bright, int) else 255) / 255
        self._power.draw(lamp, _WATTS[lamp] * share if on else 0.0, self.now)
        return self._states.put(lamp, state=_word(on), brightness=bright)

    def _picture(self, *, person: bool) -> Sent:
        light = min(1.0, self._outside_light() / _BRIGHT * 1.6)
        drawn = picture.draw(self._local(self.now), light, person=person)
        camera = self._states.devices["entrance_camera"]
        return Sent(camera.topic("picture"), drawn, True, camera.link)

    # -- what changes by itself --------------------------------------------------------------------------------------

    def _tick(self) -> list[Sent]:
        self._later(self.now + TICK, self._tick)
        minutes = round((self.now - self._first_day.timestamp()) / 60.0, 2)
        # A fridge: fifteen minutes of every forty.
        self._draw("fridge", 85.0 if minutes % 40 < 15 else 0.0)
        told = self._metered() if self._water.rate or minutes % 1 == 0 else []
        told += self._warm()
        if minutes % 10 < TICK / 60:
            for sensor in ("hall_motion", "kitchen_motion"):
                told += self._states.put(sensor, illuminance=self._illuminance(sensor))
            told.append(self._picture(person=self._states.get("entrance_camera", "person") == "ON"))
            told += self._heard_from_the_garden()
        return told

    def _warm(self) -> list[Sent]:
        """A room loses heat to the outside and gains it from the heating."""
        outside = outdoors(self._local(self.now), self._seed)
        window = self._states.get("bedroom_window", "contact") == "ON"
        hours = TICK / 3600.0
        self._indoors += (outside - self._indoors) * hours * (0.25 if window else 0.04)
        if self._heats and self._indoors < self._target:
            self._indoors += min(1.6 * hours, self._target - self._indoors)
        showering = self._water.taken_by("shower") > 0 and not self._water.shut
        self._steam = min(38.0, self._steam + 3.0) if showering else self._steam * 0.985
        return self._rooms()

    def _rooms(self) -> list[Sent]:
        bathroom = round(self._indoors + 0.8 + self._steam / 25, 1)
        return [
            *self._states.put("living_climate", temperature=round(self._indoors, 1), target=self._target,
                              mode="heat" if self._heats else "off"),
            *self._states.put("bathroom_climate", temperature=bathroom, humidity=round(52 + self._steam)),
        ]  # fmt: skip

    def _metered(self) -> list[Sent]:
        water, power, now = self._water, self._power, self.now
        return [
            *self._states.put("water_meter", total=round(water.read(now), 1), flow=round(water.rate, 1)),
            *self._states.put("house_power", power=round(power.rate), energy=round(power.read(now), 3)),
        ]

    def _plug(self) -> list[Sent]:
        used = round(self._coffee.read(self.now), 3)
        return self._states.put("coffee_plug", power=round(self._coffee.rate), energy=used)

    def _heard_from_the_garden(self) -> list[Sent]:
        """An application tells what its devices are at each sign of life, and a value when it is another one."""
        sample = round(outdoors(self._local(self.now), self._seed), 1)
        told = [Sent("event.heartbeat.garden", {"device_info": {"inputs": [GARDEN]}}, link=RABBITMQ)]
        if sample != self._garden:
            self._garden = sample
            device = GARDEN | {"sample_value": sample}
            body = {"device_info": {"inputs": [device]}, "active_devices": [device] if sample > 35 else []}
            told.append(Sent("event.notify.garden", body, link=RABBITMQ))
        return told

    def _illuminance(self, sensor: str) -> int:
        inside = self._outside_light() * (0.012 if sensor == "hall_motion" else 0.03)
        lit = self._states.get("hall_light", "state") == "ON" and sensor == "hall_motion"
        return round(inside + (60 if lit else 0))

    def _outside_light(self) -> float:
        return daylight(self._local(self.now))

    def _local(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, self._zone)

    def _later(self, at: float, happen: Callable[[], list[Sent]]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (at, self._order, happen))


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
