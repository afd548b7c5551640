"""The page of a comparison: one HTML file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from normzoo_reports import words
from normzoo_reports.comparing.comparison import Comparison
from normzoo_reports.comparing.figure import MOST, drawable, drawing
from normzoo_reports.comparing.outcomes import OUTCOMES
from normzoo_reports.comparing.results import QUIET, TONES, Change
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.page.html import fill

LISTED = 500
"""Rows of a table; what is beyond is counted, and in the JSON."""

_SEVERAL = {"differs": "that differ", "open": "with no change shown"}
_WAY = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better by itself"}


@dataclass(frozen=True)
class Section:
    """One metric on the page.

    Attributes:
        metric: the metric.
        told: what is in it, in words: how many comparisons, and what they come to.
        drawing: its changes, or None where nothing moved or one dot would stand alone.
        caption: how to read the drawing.
        loud: the rows that tell of a change, the gravest first.
        quiet: the others.
        left: how many rows are left out of either for room.

    """

    metric: str
    told: str
    drawing: Drawing | None
    caption: str
    loud: tuple[Change, ...]
    quiet: tuple[Change, ...]
    left: int

    @property
    def main(self) -> bool:
        """Whether it stands by itself, or among the lesser ones."""
        return OUTCOMES[self.metric].main

    @property
    def still(self) -> bool:
        """Whether all of it is the same to the bit."""
        return not self.loud and all(one.tone == "same" for one in self.quiet)


def render(found: Comparison) -> str:
    """Give the page of a comparison. The same records in folders of the same names always give the same page."""
    sections = list(_sections(found))
    context = {
        "found": found,
        "moved": [one for one in sections if one.main and not one.still],
        "still": [one for one in sections if one.main and one.still],
        "lesser": [one for one in sections if not one.main],
        "summary": _summary([one for one in found.changes if one.main]),
    }
    return fill("compare/page.html.j2", context)


def _sections(found: Comparison) -> Iterator[Section]:
    rank = {tone: place for place, tone in enumerate(TONES)}
    for metric in dict.fromkeys(one.metric for one in found.changes):
        rows = [one for one in found.changes if one.metric == metric]
        loud = sorted((one for one in rows if one.tone not in QUIET), key=lambda one: rank[one.tone])
        quiet = [one for one in rows if one.tone in QUIET]
        drawn = drawable(rows) if OUTCOMES[metric].main else []
        yield Section(
            metric,
            f"{_summary(rows)}; {_WAY[OUTCOMES[metric].better]}.",
            drawing(metric, drawn) if len(drawn) > 1 else None,
            _caption(len(drawn), sum(one.change is not None for one in rows)),
            tuple(loud[:LISTED]),
            tuple(quiet[:LISTED]),
            max(0, len(loud) - LISTED) + max(0, len(quiet) - LISTED),
        )


def _summary(rows: list[Change]) -> str:
    """Say what comparisons come to: "24 comparisons: 2 worse, 1 better, 21 the same to the bit"."""
    tones = [one.tone for one in rows]
    parts = [f"{tones.count(tone):,} {_SEVERAL.get(tone, text)}" for tone, text in TONES.items() if tone in tones]
    return f"{words.count(len(rows), 'comparison')}: {', '.join(parts)}"


def _caption(drawn: int, every: int) -> str:
    told = "The change from A to B with its 95 % interval; a hollow mark has fewer than 6 pairs and no interval."
    return told + (f" The {MOST} largest of {every:,} changes." if drawn < every else "")
