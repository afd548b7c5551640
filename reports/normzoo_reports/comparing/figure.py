"""What changed in one metric from one run to another: a dot per normalizer and condition, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from normzoo_reports import words
from normzoo_reports.comparing.outcomes import How
from normzoo_reports.comparing.results import Change
from normzoo_reports.drawing.draw import legend
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.marks import Mark, tag
from normzoo_reports.drawing.style import Look, ink, looks

MOST = 60
"""Dots of a figure; of more, the largest changes are drawn."""

_UNITS: dict[How, str] = {"points": "points", "ratio": "% of A's value", "plain": "in its unit"}
_ROOM = 34  # letters of a condition's name in a line
_LINE = 0.19  # inches that a dot, or a line of a name, needs
_GAP = 0.1  # between conditions, in inches
_APART = 0.7  # of a condition's height, over which the dots of its normalizers are spread


def drawing(metric: str, changes: Sequence[Change]) -> Drawing:
    """Give the figure of one metric's changes, of which each has at least one pair."""
    title = f"Change of {words.label(metric)} from A to B"
    return Drawing(title, partial(_drawn, metric, list(changes)))


def drawable(changes: Sequence[Change]) -> list[Change]:
    """Give the changes of one metric that a figure shows: none where nothing moved, the largest where there are many.

    Changes of one metric may be told in two ways, since a value of 0 has no ratio; the more common way is drawn.
    """
    found = [one for one in changes if one.change is not None]
    ways = [one.how for one in found]
    found = [one for one in found if one.how == max(_UNITS, key=ways.count)]
    largest = sorted(found, key=lambda one: -abs(one.change or 0))[:MOST]
    return [one for one in found if one in largest] if any(one.change for one in found) else []


def _drawn(metric: str, changes: list[Change]) -> Figure:
    series = looks("normalizer", dict.fromkeys(one.normalizer for one in changes))
    conditions = list(dict.fromkeys(one.condition for one in changes))
    names = ["\n".join(words.broken(words.shortened(condition, 3 * _ROOM), _ROOM)) for condition in conditions]
    heights = [
        _LINE * max(1 + name.count("\n"), sum(one.condition == condition for one in changes))
        for name, condition in zip(names, conditions, strict=True)
    ]
    figure = Figure(figsize=(6.8, 1.2 + sum(heights) + _GAP * len(heights)), layout="constrained")
    ax = figure.subplots()
    bottoms = [sum(heights[:place]) + _GAP * place for place in range(len(heights))]
    for condition, bottom, height in zip(conditions, bottoms, heights, strict=True):
        _row(ax, [one for one in changes if one.condition == condition], series, bottom, height)
    for bottom in bottoms[1:]:  # which dots belong to which condition
        ax.axhline(bottom - _GAP / 2, color=mpl.rcParams["grid.color"], linewidth=0.8, zorder=1)
    ax.axvline(0, color=ink(), linewidth=0.9, zorder=1)
    ax.set_yticks([bottom + height / 2 for bottom, height in zip(bottoms, heights, strict=True)], names)
    ax.set_ylim(sum(heights) + _GAP * len(heights), -_GAP)
    ax.grid(visible=False, axis="y")
    factor = 1 if changes[0].how == "plain" else 100
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{round(factor * tick, 9):g}".replace("-", "−")))
    across = f"change of {words.label(metric)}, {_UNITS[changes[0].how]}"
    ax.set_xlabel("\n".join(words.broken(across, 2 * _ROOM)))
    legend(figure, series, "scatter")
    return figure


def _row(ax: Axes, changes: list[Change], series: dict[str, Look], bottom: float, height: float) -> None:
    for place, one in enumerate(changes):
        look = series[one.normalizer]
        y = bottom + height * (0.5 + _APART * ((place + 0.5) / len(changes) - 0.5))
        if one.low is not None and one.high is not None:
            ax.hlines(y, one.low, one.high, color=look.colour, linewidth=1.6)
        filled = look.colour if one.low is not None else "none"  # without an interval a dot is hollow
        (mark,) = ax.plot(
            [float(one.change or 0)], [y], marker=look.marker, markersize=6.5, markeredgewidth=1.2, linestyle="none",
            color=look.colour, markerfacecolor=filled,
        )  # fmt: skip
        tag(mark, one.normalizer, [Mark(f"{one.name}: {one.change_text} {one.range_text}".rstrip(), "")])
