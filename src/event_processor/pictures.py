"""Keeps the pictures that devices send: writes each to its file, and sends on its name and its entry in place of its bytes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec

from event_processor.domain.events import Event
from event_processor.domain.heard import Heard
from event_processor.domain.pictures import TYPE, decoded
from event_processor.domain.records import ImageRecord
from event_processor.store.images import ImageFolder
from pylib.errors import DecodeError

__all__ = ["Pictures"]

log = logging.getLogger("event_processor.pictures")

AT_ONCE: Final = 10
"""Pictures of one camera that are kept however fast they come."""

EVERY_S: Final = 6.0
"""Seconds in which one more is: of a camera that sends a film, some pictures are kept."""

MOST_CAMERAS: Final = 1000
"""Cameras whose last picture is remembered."""

MOST_SAID: Final = 1000
"""Problems that are remembered, so that each is said once and not with every picture."""

OLDEST_S: Final = 86_400.0
"""Seconds by which a picture's own time may be behind; one with a stranger time is of now."""


class _Camera:
    """The last picture's name, and how many may come at once."""

    __slots__ = ("at", "name", "room", "told")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.room = float(AT_ONCE)
        self.at = 0.0
        self.told = False

    def has_room(self, now: float) -> bool:
        """Whether one more is kept now."""
        self.room = min(float(AT_ONCE), self.room + max(0.0, now - self.at) / EVERY_S)
        self.at = now
        if self.room < 1.0:
            return False
        self.room -= 1.0
        return True


class Pictures:
    """Owned by one thread, the one that reads. Writes files on it, a picture at a time, and waits for no disk to be safe.

    :param folder: where the files go.
    :param known: the name of the last picture of each entity, as after a restart (``domain.pictures.names_in``): what a broker
        has retained comes again at each connection, and is kept once.
    """

    def __init__(self, folder: ImageFolder, known: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._cameras = OrderedDict((key, _Camera(name)) for key, name in (known or {}).items())
        self._said: set[tuple[str, str]] = set()
        self._failing = False

    def keep(self, heard: Heard, pictures: tuple[tuple[int, object], ...], now: float) -> Heard:
        """What was heard, with names in place of pictures, and their entries. Never raises for what a device or a disk does.

        The value of an event that has none is the picture's name. An event that says nothing but that there is a picture is
        left out where that one is not kept, as of a film; any other goes on without it.

        :param pictures: with the number of the event that each belongs to.
        """
        at = heard.at if 0.0 <= now - heard.at <= OLDEST_S else now
        events: list[Event | None] = list(heard.events)
        images: dict[int, ImageRecord] = {}
        for number, value in pictures:
            event = heard.events[number]
            name, record, passed = self._one(event, value, at, now)
            if record is not None:
                images[number] = record
            if passed and event.type == TYPE:
                events[number] = None
            elif name and event.value is None:
                events[number] = msgspec.structs.replace(event, value=name)
        left = [(number, event) for number, event in enumerate(events) if event is not None]
        return msgspec.structs.replace(
            heard,
            events=tuple(event for _, event in left),
            images=tuple((new, images[old]) for new, (old, _) in enumerate(left) if old in images),
        )

    def _one(self, event: Event, value: object, at: float, now: float) -> tuple[str, ImageRecord | None, bool]:
        """The picture's name, its entry where it is new, and whether it was passed over."""
        try:
            data = decoded(value)
        except DecodeError as error:
            self._say(event.device, f"a picture of {event.device} is not kept: {error}")
            return "", None, False
        camera = self._camera(event.device)
        try:
            if event.retained and self._has(camera, data, event.device):
                return camera.name, None, False
            if not camera.has_room(now):
                if not camera.told:
                    camera.told = True
                    log.info(
                        "%s sends more pictures than are kept: one in %g s, and some more at times.", event.device, EVERY_S
                    )
                return "", None, True
            record = self._folder.save(data, device=event.device, at=at)
        except OSError as error:  # the folder can be looked into no more, or the disk is full
            if not self._failing:
                self._failing = True
                log.warning("Pictures are not kept, and events go on without them: %s. Make room, or %s writable.", error,
                            self._folder.folder)  # fmt: skip
            return "", None, False
        if self._failing:
            self._failing = False
            log.info("Pictures are kept again.")
        camera.name = record.name
        return record.name, record, False

    def _camera(self, key: str) -> _Camera:
        camera = self._cameras.get(key)
        if camera is None:
            camera = self._cameras[key] = _Camera()
            if len(self._cameras) > MOST_CAMERAS:
                self._cameras.popitem(last=False)
        self._cameras.move_to_end(key)
        return camera

    def _has(self, camera: _Camera, data: bytes, device: str) -> bool:
        """Whether it is the last picture of this camera, and still there."""
        return bool(camera.name) and self._folder.is_same(camera.name, data, device)

    def _say(self, device: str, problem: str) -> None:
        if (device, problem) not in self._said and len(self._said) < MOST_SAID:
            self._said.add((device, problem))
            log.warning("%s", problem)
