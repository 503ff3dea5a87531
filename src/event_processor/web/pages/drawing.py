"""Boxes and arrows as SVG: where each box goes, and the text of it. Pure; the colours are the style sheet's, by class.

What a class says is said by words in the box too: nobody has to see colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

__all__ = ["Arrow", "Box", "columns", "draw"]

WIDE: Final = 168
HIGH: Final = 68
ACROSS: Final = 56
DOWN: Final = 26
EDGE: Final = 14
LETTERS: Final = 20
"""Letters on one line of a box; what is longer is cut, and whole in its title."""


@dataclass(frozen=True, slots=True)
class Box:
    """``lines`` are the name and up to two lines below it; ``kind`` is a class of the style sheet ("sick", "broker box")."""

    id: str
    lines: tuple[str, ...]
    kind: str = ""
    href: str = ""
    title: str = ""
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one box to another, with a few words on it."""

    start: str
    end: str
    label: str = ""
    kind: str = ""
    title: str = ""


def columns(
    ids: Sequence[str], arrows: Iterable[Arrow], first: Iterable[str] = (), second: Iterable[str] = ()
) -> dict[str, int]:
    """Put each box in a column, such that arrows go to the right, but for those that close a circle.

    :param first: those that stand at the left, whatever leads to them.
    :param second: those that stand next to them: what else leads to these goes back.
    """
    out: dict[str, list[str]] = {each: [] for each in ids}
    into: dict[str, int] = dict.fromkeys(ids, 0)
    for arrow in arrows:
        if arrow.start in out and arrow.end in out and arrow.end != arrow.start and arrow.end not in out[arrow.start]:
            out[arrow.start].append(arrow.end)
            into[arrow.end] += 1
    chosen = [each for each in first if each in out]
    roots = [*chosen, *(each for each in ids if not into[each] and each not in chosen), *ids]
    order: list[str] = []
    state: dict[str, int] = {}
    forward: list[tuple[str, str]] = []
    fixed, near = frozenset(chosen), frozenset(second)
    for root in roots:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(out[root]))]
        while stack:
            here, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                state[here] = 2
                order.append(here)
            elif state.get(following) != 1 and following not in fixed and (following not in near or here in fixed):
                forward.append((here, following))
                if following not in state:
                    state[following] = 1
                    stack.append((following, iter(out[following])))
    column = dict.fromkeys(ids, 0)
    targets: dict[str, list[str]] = {}
    for start, end in forward:
        targets.setdefault(start, []).append(end)
    for here in reversed(order):
        for end in targets.get(here, ()):
            column[end] = max(column[end], column[here] + 1)
    return column


def draw(boxes: Sequence[Box], arrows: Sequence[Arrow], column: Mapping[str, int], label: str, ident: str) -> Markup:
    """The drawing. Boxes of one column stand below each other, near what leads to them."""
    places = _places(boxes, arrows, column)
    if not places:
        return Markup("")
    width = max(x for x, _ in places.values()) + WIDE + EDGE
    height = max(y for _, y in places.values()) + HIGH + EDGE
    lanes = [arrow for arrow in arrows if arrow.start in places and arrow.end in places]
    back = [arrow for arrow in lanes if places[arrow.end][0] <= places[arrow.start][0]]
    lane = {id(arrow): number for number, arrow in enumerate(back)}
    height += 22 * len(back)
    parts = [_arrow(arrow, places, height - EDGE - 22 * lane.get(id(arrow), 0), f"url(#{ident}-head)") for arrow in lanes]
    parts += [_box(box, *places[box.id]) for box in boxes if box.id in places]
    head = Markup(
        '<svg id="{i}" role="group" aria-label="{l}" viewBox="0 0 {w} {h}" width="{w}" height="{h}">'
        '<defs><marker id="{i}-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="arrow" d="M0 0 8 4 0 8z"/></marker></defs>'
    ).format(i=ident, l=label, w=width, h=height)
    return head + Markup("").join(parts) + Markup("</svg>")


def _places(boxes: Sequence[Box], arrows: Sequence[Arrow], column: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Left upper corners. A box takes the height of those that lead to it, and the next free place below."""
    used = {number: place for place, number in enumerate(sorted({column[box.id] for box in boxes}))}
    sources: dict[str, list[str]] = {}
    for arrow in arrows:
        sources.setdefault(arrow.end, []).append(arrow.start)
    places: dict[str, tuple[int, int]] = {}
    for number, place in used.items():
        mine = [box.id for box in boxes if column[box.id] == number]

        def wanted(box: str, mine: Sequence[str] = mine) -> float:
            known = [places[start][1] for start in sources.get(box, ()) if start in places]
            return sum(known) / len(known) if known else mine.index(box) * (HIGH + DOWN)

        free = EDGE
        for box in sorted(mine, key=wanted):
            y = max(free, int(wanted(box))) if place else free
            places[box] = (EDGE + place * (WIDE + ACROSS), y)
            free = y + HIGH + DOWN
    return places


def _box(box: Box, x: int, y: int) -> Markup:
    lines = Markup("").join(
        Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
            "name" if number == 0 else "faint alarm" if box.alarm else "faint",
            x + 12,
            y + 22 + 18 * number,
            line if number and len(line) <= LETTERS + 4 else _cut(line),
        )
        for number, line in enumerate(box.lines[:3])
    )
    shape = Markup('<title>{}</title><rect class="box {}" x="{}" y="{}" width="{}" height="{}" rx="10"/>').format(
        box.title or " – ".join(box.lines), box.kind, x, y, WIDE, HIGH
    )
    group = Markup('<g class="{}" data-box="{}">').format(box.kind, box.id) + shape + lines + Markup("</g>")
    return Markup('<a href="{}">').format(box.href) + group + Markup("</a>") if box.href else group


def _arrow(arrow: Arrow, places: Mapping[str, tuple[int, int]], below: int, head: str) -> Markup:
    (x1, y1), (x2, y2) = places[arrow.start], places[arrow.end]
    if x2 > x1:
        sx, sy, ex, ey = x1 + WIDE, y1 + HIGH // 2, x2, y2 + HIGH // 2
        bend = max(30, (ex - sx) // 2)
        path, tx, ty = f"M{sx} {sy} C{sx + bend} {sy} {ex - bend} {ey} {ex - 2} {ey}", ex - 8, ey - 7
        anchor = "end"
        if sy != ey:
            ty = ey - 7
    else:
        sx, sy, ex, ey = x1 + WIDE - 24, y1 + HIGH, x2 + 24, y2 + HIGH
        there = f"C{sx} {below} {sx} {below} {sx - 20} {below}"
        path = f"M{sx} {sy} {there} L{ex + 20} {below} C{ex} {below} {ex} {below} {ex} {ey + 2}"
        tx, ty, anchor = (sx + ex) // 2, below - 5, "middle"
    label = Markup('<text class="faint" x="{}" y="{}" text-anchor="{}">{}</text>').format(tx, ty, anchor, arrow.label)
    line = Markup('<path class="pipe {}" d="{}" marker-end="{}"/>').format(arrow.kind, path, head)
    return (
        Markup("<g><title>{}</title>").format(arrow.title or arrow.label)
        + line
        + (label if arrow.label else "")
        + Markup("</g>")
    )


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
