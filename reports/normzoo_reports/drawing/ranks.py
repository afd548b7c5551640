"""Average ranks on a line, and a bar over those that no test tells apart (Demšar 2006, figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from normzoo_reports import words
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.marks import Mark, tag
from normzoo_reports.drawing.style import ink, normalizer_look
from normzoo_reports.findings.ranks import Ranking, rankings
from normzoo_suites import Run

_BAR, _ROW = 0.35, 0.62  # heights, in units of the drawing


@dataclass(frozen=True)
class Ranked:
    """A ranking and its drawing; without a test there is none, and the table says it all."""

    ranking: Ranking
    drawing: Drawing | None


def show_rankings(run: Run, table: pd.DataFrame) -> list[Ranked]:
    """Give the run's rankings, and a critical-difference figure for each that was tested."""
    return [Ranked(one, _drawing(one) if one.ranks.critical is not None else None) for one in rankings(run, table)]


def _drawing(ranking: Ranking) -> Drawing:
    title = f"Average ranks over {len(ranking.blocks)} blocks" + (f", {ranking.condition}" if ranking.condition else "")
    return Drawing(title, partial(_drawn, ranking))


def _drawn(ranking: Ranking) -> Figure:
    found = ranking.ranks
    number, half = len(found.names), (len(found.names) + 1) // 2
    below = 0.25 + _BAR * len(found.groups)
    figure = Figure(figsize=(6.8, 0.9 + 0.36 * (below + _ROW * half)), layout="constrained")
    ax = figure.subplots()
    _line(ax, number)
    for row, group in enumerate(found.groups):
        ends = [found.average[found.names.index(name)] for name in (group[0], group[-1])]
        ax.plot([ends[0] - 0.04, ends[1] + 0.04], [-_BAR * (row + 1)] * 2, color=ink(), linewidth=3.5)
    for index, (name, average) in enumerate(zip(found.names, found.average, strict=True)):
        left = index < half
        level = -below - _ROW * (index if left else number - 1 - index) - 0.15
        side = 1 - 0.06 * number if left else number + 0.06 * number
        _normalizer(ax, name, average, (side, level), ranking.cells[name])
    critical = float(found.critical or 0)
    ax.plot([1, 1 + critical], [0.95] * 2, color=ink(), linewidth=1.2, marker="|", markersize=7)
    ax.annotate(f"critical difference {critical:.2f}", (1 + critical / 2, 1.05), ha="center", va="bottom", size=9)
    ax.set_ylim(-below - _ROW * half, 1.6)
    return figure


def _line(ax: Axes, number: int) -> None:
    """Make the axis one line with ticks above it, the best rank to the left."""
    ax.grid(visible=False)
    for side in ("left", "bottom", "right"):
        ax.spines[side].set_visible(False)
    ax.spines["top"].set(visible=True, position=("data", 0), color=ink())
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", color=ink())
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_visible(False)
    ax.set_xlim(1, number)


def _normalizer(ax: Axes, name: str, average: float, end: tuple[float, float], cell: str) -> None:
    look = normalizer_look(name)
    (line,) = ax.plot(
        [average, average, end[0]], [0, end[1], end[1]], color=look.colour, linewidth=1.2, marker=look.marker,
        markevery=[0], markersize=7, markeredgewidth=0, clip_on=False,
    )  # fmt: skip
    tag(line, name, [Mark(f"{name}: average rank {average:.2f}", cell)])
    left = end[0] < average
    short = words.shortened(name)
    text = ax.annotate(
        f"{short} {average:.2f}" if left else f"{average:.2f} {short}", end, xytext=(-4 if left else 4, 0),
        textcoords="offset points", ha="right" if left else "left", va="center", annotation_clip=False,
    )  # fmt: skip
    tag(text, name)
