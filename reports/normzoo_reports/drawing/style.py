"""One colour and one marker per normalizer, the same in every report and whoever else is present.

On a page figures are drawn with stand-ins for colours, which `svg.py` turns into the page's own, defined once for light
and once for dark; on paper they are drawn with those for light. Hues are those of Okabe & Ito (2008), told apart by
most colour-blind readers; the marker tells the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
OTHERS_MARKERS = ("<", ">", "p", "d", "h", "8")
BUILT_IN = (
    "batch_norm",
    "sync_batch_norm",
    "batch_renorm",
    "group_norm",
    "layer_norm",
    "layer_norm_channels",
    "none",
    "sync_batch_renorm",
)
"""They own the first slots, in this order; a new one is appended, so that the old ones keep their colour."""

LIGHT = (
    "#0072b2", "#3a9bdc", "#cc5a00", "#007d5a", "#b3588f", "#7a4fa3", "#6b7280",
    "#a67c00", "#8c2d19", "#00808c", "#5c6f00", "#b0305c", "#3b4cc0", "#6d4c2f", "#4f7f3a",
)  # fmt: skip
DARK = (
    "#4aa8e0", "#8fd0ff", "#f28a3c", "#2cc59b", "#e39ac6", "#b794e0", "#9ca3af",
    "#e0b43a", "#e07a62", "#3fc3cf", "#b5c93a", "#f07ba0", "#93a0ff", "#c8a27c", "#97cc7c",
)  # fmt: skip


@dataclass(frozen=True)
class Colours:
    """What figures are drawn with: the series' colours by slot, that of words and lines that matter, that of others."""

    series: tuple[str, ...]
    ink: str
    faint: str


PAGE = Colours(tuple(f"#0a0c{slot:02x}" for slot in range(len(LIGHT))), "#0a0b01", "#0a0b02")
"""Stand-ins, which no figure has by itself."""

PAPER = Colours(LIGHT, "#1d2126", "#d3d7dc")
_in_use = ContextVar("colours", default=PAGE)


def on_paper() -> bool:
    """Whether a file of its own is being drawn, and not a part of a page."""
    return _in_use.get() is PAPER


def ink() -> str:
    """Give the colour of words and of lines that matter, of what is being drawn."""
    return _in_use.get().ink


@contextmanager
def drawn_with(colours: Colours) -> Iterator[None]:
    """Draw with these colours and in the house's manner; only here are matplotlib's settings changed, and put back."""
    token = _in_use.set(colours)
    try:
        with mpl.rc_context(_manner(colours)):
            yield
    finally:
        _in_use.reset(token)


def _manner(colours: Colours) -> Any:  # newer matplotlib types every key, older ones know less of them
    return {
        "svg.fonttype": "none",
        "pdf.fonttype": 42,  # journals refuse type 3 fonts
        "svg.hashsalt": "normzoo",
        "text.parse_math": False,  # a name may hold a dollar sign
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.linewidth": 0.8,
        "grid.color": colours.faint,
        "axes.edgecolor": colours.faint,
        "axes.labelcolor": colours.ink,
        "axes.titlecolor": colours.ink,
        "text.color": colours.ink,
        "xtick.color": colours.faint,
        "ytick.color": colours.faint,
        "xtick.labelcolor": colours.ink,
        "ytick.labelcolor": colours.ink,
        "legend.frameon": False,
    }


@dataclass(frozen=True)
class Look:
    """How one series is drawn: the number of its colour, and its marker."""

    slot: int
    marker: str

    @property
    def colour(self) -> str:
        """Its colour in what is being drawn."""
        return _in_use.get().series[self.slot]


def normalizer_look(name: str) -> Look:
    """Give a normalizer's look; one that is not built in, or has options, gets its own from its name alone."""
    if name in BUILT_IN:
        index = BUILT_IN.index(name)
        return Look(index, MARKERS[index])
    # hash() differs from process to process, this does not
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    free = len(LIGHT) - len(BUILT_IN)
    return Look(len(BUILT_IN) + number % free, OTHERS_MARKERS[number // free % len(OTHERS_MARKERS)])


def looks(hue: str, names: Iterable[str]) -> dict[str, Look]:
    """Give each series its look: by name for normalizers, else in the order of appearance."""
    if hue == "normalizer":
        return {name: normalizer_look(name) for name in names}
    return {name: Look(i % len(LIGHT), MARKERS[i % len(MARKERS)]) for i, name in enumerate(dict.fromkeys(names))}


def variables(palette: tuple[str, ...]) -> str:
    """Give a palette as the page's CSS variables."""
    return " ".join(f"--series-{slot}: {colour};" for slot, colour in enumerate(palette))


def of_page() -> dict[str, str]:
    """Map every stand-in to what the page calls it."""
    series = {colour: f"var(--series-{slot})" for slot, colour in enumerate(PAGE.series)}
    return series | {PAGE.ink: "currentColor", PAGE.faint: "var(--faint)"}
