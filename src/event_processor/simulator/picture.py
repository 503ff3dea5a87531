"""What the camera sees, drawn as a PNG with nothing but zlib: a sky as bright as the hour, a door, at times a person."""

from __future__ import annotations

import struct
import zlib
from datetime import datetime
from typing import Final

__all__ = ["HEIGHT", "WIDTH", "draw"]

WIDTH: Final = 160
HEIGHT: Final = 120

# Rows of three bits each, for the clock in the corner.
_FONT: Final = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711",
    "5": "74717", "6": "74757", "7": "71222", "8": "75757", "9": "75717", ":": "02020",
}  # fmt: skip
_SKY, _GROUND, _WALL, _DOOR, _PERSON, _TEXT, _LAMP = range(7)


def draw(local: datetime, light: float, *, person: bool) -> bytes:
    """A picture of the front door.

    :param light: how bright it is outside, 0 to 1.
    :param person: whether somebody stands there.
    """
    rows = [bytearray([_SKY]) * WIDTH for _ in range(HEIGHT)]
    _fill(rows, 0, 84, WIDTH, HEIGHT, _GROUND)
    _fill(rows, 44, 24, 132, 90, _WALL)
    _fill(rows, 72, 42, 100, 90, _DOOR)
    _fill(rows, 108, 40, 114, 46, _LAMP)
    if person:
        _disc(rows, 60, 60, 7, _PERSON)
        _fill(rows, 52, 68, 69, 98, _PERSON)
        _fill(rows, 54, 98, 59, 112, _PERSON)
        _fill(rows, 62, 98, 67, 112, _PERSON)
    _write(rows, 4, 4, f"{local:%H:%M:%S}")
    return _png(rows, _palette(light, person))


def _palette(light: float, person: bool) -> list[tuple[int, int, int]]:
    dim = 0.12 + 0.88 * min(1.0, max(0.0, light))

    def lit(red: int, green: int, blue: int) -> tuple[int, int, int]:
        return int(red * dim), int(green * dim), int(blue * dim)

    lamp = (255, 214, 120) if person and light < 0.1 else lit(150, 140, 120)
    return [
        lit(130, 180, 230),
        lit(110, 130, 90),
        lit(205, 190, 170),
        lit(120, 70, 40),
        lit(60, 60, 90),
        (255, 255, 255),
        lamp,
    ]


def _fill(rows: list[bytearray], left: int, top: int, right: int, bottom: int, colour: int) -> None:
    for row in rows[top:bottom]:
        row[left:right] = bytes([colour]) * (right - left)


def _disc(rows: list[bytearray], x: int, y: int, radius: int, colour: int) -> None:
    for down in range(-radius, radius + 1):
        half = int((radius * radius - down * down) ** 0.5)
        _fill(rows, x - half, y + down, x + half + 1, y + down + 1, colour)


def _write(rows: list[bytearray], x: int, y: int, text: str) -> None:
    for letter in text:
        for down, bits in enumerate(_FONT[letter]):
            for across in range(3):
                if int(bits) & (4 >> across):
                    left, top = x + 2 * across, y + 2 * down
                    _fill(rows, left, top, left + 2, top + 2, _TEXT)
        x += 8


def _png(rows: list[bytearray], palette: list[tuple[int, int, int]]) -> bytes:
    """An indexed PNG (PNG specification, third edition, section 11.2)."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
    colours = b"".join(bytes(colour) for colour in palette)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
