"""What waits for one target as one message: the latest text of each label, and as many pictures as fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from event_processor.notify.notes import Message, Note

__all__ = ["MOST_LABELS", "compose"]

MOST_LABELS: Final = 20
"""Labels in one message; what is left goes with the next."""

_MOST_TITLES: Final = 3


def compose(waiting: Sequence[Note], most_pictures: int = 10) -> Message | None:
    """Make the next message of the notes that wait, oldest first; ``None`` if there are none.

    A text is replaced by a later one of its label, and says how often; pictures are never replaced: those that do not fit
    stay with their note, and are the first ones of the next message.
    """
    if not waiting:
        return None
    by_label: dict[str, list[Note]] = {}
    for note in waiting:
        if note.label in by_label or len(by_label) < MOST_LABELS:
            by_label.setdefault(note.label, []).append(note)
    chosen = [note for note in waiting if note.label in by_label]
    room = most_pictures
    taken: list[Note] = []
    for note in chosen:
        pictures = note.pictures[:room]
        room -= len(pictures)
        taken.append(msgspec.structs.replace(note, pictures=pictures))
    lines, titles = [], dict[str, None]()
    for label, notes in by_label.items():
        line = _line(label, notes)
        if line:
            lines.append(line)
        for title in (note.title for note in notes if note.title):
            titles[title] = None
    shown = list(titles)[:_MOST_TITLES]
    more = len(titles) - len(shown)
    return Message(
        title=", ".join(shown) + (f" and {more} more" if more else ""),
        text="\n".join(lines),
        pictures=tuple(picture for note in taken for picture in note.pictures),
        # A note none of whose pictures fitted any more, and whose text was told before, was not touched by this message.
        notes=tuple(note for note in taken if note.pictures or not note.told),
    )


def _line(label: str, notes: Sequence[Note]) -> str:
    fresh = [note for note in notes if not note.told]
    if not fresh:
        return f"{label}: more pictures" if any(note.pictures for note in notes) else ""
    text = fresh[-1].text or fresh[-1].title or label
    return f"{text} ({len(fresh)} times)" if len(fresh) > 1 else text
