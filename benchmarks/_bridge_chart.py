"""The picture that ``bridge_comparison.py`` leaves: events/s, CPU per event and latency, one bar or span per bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of the palette by Okabe and Ito, which stays apart for every kind of colour vision. Position and words say the same.
OURS, OTHERS, TAIL, INK = "#0072B2", "#E69F00", "#56B4E9", "#222222"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bridge in one panel: the median, and the least and most of all rounds. ``note`` is written beside it."""

    name: str
    ours: bool
    median: float
    least: float
    most: float
    note: str


def draw(path: Path, speed: Sequence[Bar], cpu: Sequence[Bar], latency: Sequence[Bar], caption: Mapping[str, str]) -> None:
    """Write the PNG. Raises ImportError without the ``bench`` extra."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = max(len(speed), len(cpu), len(latency))
    figure, panels = plt.subplots(1, 3, figsize=(17, 2.6 + 0.48 * rows), dpi=110)
    _bars(panels[0], speed, "events/s (more is better)")
    _bars(panels[1], cpu, "CPU per event, µs (less is better)")
    _spans(panels[2], latency, "latency, ms (less is better)")
    figure.suptitle(
        "MQTT at QoS 1 into a durable RabbitMQ queue: this library and its peers, same run", fontsize=14, color=INK
    )
    words = "\n".join(f"{name}: {text}" for name, text in caption.items())
    figure.text(0.01, 0.01, words, fontsize=8.5, color=INK, va="bottom", ha="left", linespacing=1.4)
    figure.tight_layout(rect=(0, 0.045 * (words.count("\n") + 1) * 5 / (2.6 + 0.48 * rows), 1, 0.97))
    figure.savefig(path)
    plt.close(figure)


def _bars(panel: Any, bars: Sequence[Bar], title: str) -> None:
    places = range(len(bars))
    colours = [OURS if bar.ours else OTHERS for bar in bars]
    spread = [[bar.median - bar.least for bar in bars], [bar.most - bar.median for bar in bars]]
    panel.barh(places, [bar.median for bar in bars], color=colours, xerr=spread, ecolor="#555555", capsize=2.5, height=0.66)
    _dress(panel, bars, title)


def _spans(panel: Any, bars: Sequence[Bar], title: str) -> None:
    """From p50 (dot) to p99 (bar's end)."""
    for place, bar in enumerate(bars):
        colour = OURS if bar.ours else OTHERS
        panel.plot([bar.median, bar.most], [place, place], color=colour, linewidth=3, alpha=0.55)
        panel.plot([bar.median], [place], "o", color=colour, markersize=8)
        panel.plot([bar.most], [place], "|", color=colour, markersize=15, markeredgewidth=2.5)
    panel.set_xscale("log")
    least, most = min(bar.least for bar in bars), max(bar.most for bar in bars)
    _dress(panel, bars, f"{title}: ● p50, | p99", gap=1.3)
    panel.set_xlim(least / 1.5, most * (most / least) ** 0.45)
    panel.xaxis.set_major_formatter("{x:g}")


def _dress(panel: Any, bars: Sequence[Bar], title: str, gap: float = 0.0) -> None:
    """``gap``: how far from its bar a note stands, as a factor; 0: a share of the axis."""
    most = max((bar.most for bar in bars), default=1.0)
    for place, bar in enumerate(bars):
        panel.text(bar.most * gap or bar.most + most * 0.02, place, bar.note, va="center", fontsize=9, color=INK)
    panel.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=10, color=INK)
    panel.invert_yaxis()
    if not gap:
        panel.set_xlim(0, most * 1.3)
    panel.set_title(title, fontsize=11, color=INK, loc="left")
    panel.grid(axis="x", color="#dddddd")
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
