"""One thing to tell somebody, as a step asks for it, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from event_processor.domain.outcome import Step
from event_processor.domain.pictures import MOST_BYTES as MOST_PICTURE
from event_processor.domain.pictures import kind_of_picture
from pylib.errors import MessageError, Rejected

__all__ = ["Message", "Note", "Picture", "PictureOf", "Told", "read_step"]

log = logging.getLogger("event_processor.notify")

MOST_TEXT: Final = 4000
"""Characters of a text; a longer one is cut. The services take between 1,000 and 32,000."""

MOST_TITLE: Final = 200
MOST_PICTURES: Final = 50
"""Pictures of one note."""

PictureOf = Callable[[str, float], Path | bytes | None]
"""The latest picture of a camera up to that time, where there is one. Called on the notifier's thread."""


class Picture(msgspec.Struct, frozen=True):
    """A picture and the name under which it is attached. ``row`` is its number in the queue."""

    name: str
    type: str
    data: bytes
    row: int = 0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told to one target. Of the notes of one ``label`` that wait, the latest text counts. ``expires_at`` is
    ``None`` where it is of use for ever; times are in seconds since the epoch."""

    step: str
    target: str
    label: str
    rule: str
    title: str
    text: str
    at: float
    expires_at: float | None = None
    urgent: bool = False
    tries: int = 0
    told: bool = False
    row: int = 0
    pictures: tuple[Picture, ...] = ()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent at once: the rows of the queue that are settled when it has arrived."""

    title: str
    text: str
    pictures: tuple[Picture, ...] = ()
    notes: tuple[Note, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a note: sent, deferred by the quiet time, failed for good, or expired. For store and dashboard."""

    step: str
    target: str
    title: str
    text: str
    at: float
    status: Literal["sent", "deferred", "failed", "expired"]
    attempts: int = 1
    reason: str | None = None


def read_step(step: Step, images: Path | None = None, picture_of: PictureOf | None = None) -> Note:
    """The note that a step of kind "notify" asks for; ``output`` is the target's name.

    The body has ``text``, and may have ``title``, ``label`` (else the device, else the rule), ``urgent``, ``image`` (true: the
    latest picture of ``camera``, else of the device) and ``images``: bytes, or paths below the folder of pictures.
    :raises Rejected: there is nothing to tell in it.
    """
    body = step.body
    if not isinstance(body, Mapping):
        raise Rejected(f"notification {step.id}: expected an object with a text, got {type(body).__name__}")
    text, title = str(body.get("text") or ""), str(body.get("title") or "")
    pictures: list[Picture] = []
    missing = 0
    for source in _sources(step, body, picture_of):
        try:
            pictures.append(_picture(source, images, len(pictures) + 1))
        except (OSError, MessageError) as error:
            missing += 1
            log.warning("A notification of %s goes without a picture: %s", step.rule or step.output, error)
    if missing:
        text = f"{text}\n({missing} {'picture is' if missing == 1 else 'pictures are'} missing)".lstrip()
    if not text and not title and not pictures:
        raise Rejected(f"notification {step.id} of {step.rule or 'nobody'} has neither a text nor a picture")
    return Note(
        step=step.id,
        target=step.output,
        label=str(body.get("label") or body.get("device") or step.rule),
        rule=step.rule,
        title=_cut(title, MOST_TITLE),
        text=_cut(text, MOST_TEXT),
        at=step.at,
        expires_at=step.expires_at if step.expires_at > step.at else None,
        urgent=body.get("urgent") is True,
        pictures=tuple(pictures),
    )


def _sources(step: Step, body: Mapping[object, object], picture_of: PictureOf | None) -> list[object]:
    given = body.get("images")
    sources: list[object] = list(given) if isinstance(given, (list, tuple)) else []
    if body.get("image") is True and picture_of is not None:
        found = picture_of(str(body.get("camera") or body.get("device") or ""), step.at)
        if found is not None:
            sources.append(found)
    return sources[:MOST_PICTURES]


def _picture(source: object, images: Path | None, number: int) -> Picture:
    name = ""
    if isinstance(source, Path):
        name, source = source.name, _read(source)
    elif isinstance(source, str):
        if images is None:
            raise Rejected("there is no folder of pictures")
        path = (images / source).resolve()
        # Whoever writes a rule may name a picture, and no other file of this machine.
        if not path.is_relative_to(images.resolve()):
            raise Rejected("the path leads out of the folder of pictures")
        source, name = _read(path), path.name
    if not isinstance(source, bytes):
        raise Rejected(f"expected bytes or a path, got {type(source).__name__}")
    if len(source) > MOST_PICTURE:
        raise Rejected(f"it has {len(source)} bytes, and {MOST_PICTURE} are the limit")
    kind = kind_of_picture(source)
    if kind is None:
        raise Rejected("it is neither JPEG, PNG, GIF nor WebP")
    return Picture(name or f"picture-{number}.{kind[0]}", kind[1], source)


def _read(path: Path) -> bytes:
    if path.stat().st_size > MOST_PICTURE:
        raise Rejected(f"{path.name} has more than {MOST_PICTURE} bytes")
    return path.read_bytes()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
