"""One colour and one marker per normalizer, the same in every report and whoever else is present.

The page defines the colours, once for light and once for dark; figures are drawn with stand-ins that `svg.py` turns
into these. Hues are those of Okabe & Ito (2008), told apart by most colour-blind readers; the marker tells the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

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
INK = "#0a0b01"
FAINT = "#0a0b02"


@dataclass(frozen=True)
class Look:
    """How one series is drawn: the number of its colour on the page, and its marker."""

    slot: int
    marker: str

    @property
    def stand_in(self) -> str:
        """The colour it is drawn with before the page's own takes its place."""
        return f"#0a0c{self.slot:02x}"


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


def on_page() -> dict[str, str]:
    """Map every stand-in to what the page calls it."""
    series = {Look(slot, "").stand_in: f"var(--series-{slot})" for slot in range(len(LIGHT))}
    return series | {INK: "currentColor", FAINT: "var(--faint)"}
