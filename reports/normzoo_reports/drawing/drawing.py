"""A figure not drawn yet: a page asks for its markup, `normzoo figures` for a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

from matplotlib.figure import Figure

from normzoo_reports.drawing.style import PAGE, PAPER, Colours, drawn_with
from normzoo_reports.drawing.svg import to_svg

Format = Literal["pdf", "png", "svg"]
_DPI = 200


@dataclass(frozen=True)
class Drawing:
    """What can be drawn.

    Attributes:
        title: what it shows, in words; a screen reader says it.
        make: draws it with the colours in use (`style.drawn_with`).

    """

    title: str
    make: Callable[[], Figure]

    def svg(self, prefix: str) -> str:
        """Give it as an `<svg>` element for a page, whose colours it takes.

        Args:
            prefix: what keeps its ids apart from those of others on the page.

        """
        with _drawn(PAGE):
            return to_svg(self.make(), prefix, self.title)

    def save(self, file: BinaryIO, format_: Format) -> None:
        """Write it as a file of its own, with colours for white paper; the same bytes each time."""
        # a date or a version in the file would make equal figures differ
        metadata = {"pdf": {"CreationDate": None, "Producer": None}, "svg": {"Date": None}, "png": {"Software": None}}
        with _drawn(PAPER):
            self.make().savefig(file, format=format_, dpi=_DPI, metadata=metadata[format_])


@contextmanager
def _drawn(colours: Colours) -> Iterator[None]:
    with drawn_with(colours), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's machine picks the font, not matplotlib
        yield
