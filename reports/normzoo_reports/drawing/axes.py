"""Axes: what stands on them, and how they are divided."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullFormatter, NullLocator

from normzoo_reports import words
from normzoo_reports.drawing.style import ink

_UP = 38  # letters that stand beside a panel, one above the other
_LETTERS = 84  # that stand side by side under a figure
_CLOSE = 4
_TICKS = (0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 2, 3)  # of ratios that lie close together


def name_axes(ax: Axes, across: str, up: str) -> None:
    """Name both axes by a setting or metric each, in lines that fit, and mark shares in percent."""
    columns = ax.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]  # every panel stands in a grid
    ax.set_xlabel("\n".join(words.broken(_named(across), _LETTERS // columns - 4)))
    ax.set_ylabel("\n".join(words.broken(_named(up), _UP)))
    for name, axis in ((across, ax.xaxis), (up, ax.yaxis)):
        if words.is_share(name):
            axis.set_major_formatter(FuncFormatter(_points if words.is_gap(name) else percent))
            low, high = axis.get_view_interval()
            if 0.25 < high - low < 1.5:  # accuracies end at 1, but what a cache holds can go far beyond the limit
                axis.set_major_locator(MultipleLocator(0.1 if high - low < 0.75 else 0.2))


def percent(tick: float, _: object) -> str:
    """Mark a share in percent."""
    return f"{round(100 * tick, 6):g} %"


def _points(tick: float, _: object) -> str:
    return f"{round(100 * tick, 6):g}".replace("-", "−")


def _named(name: str) -> str:
    label = words.shortened(words.label(name), 2 * _UP)
    return f"{label} (points)" if words.is_gap(name) else label


def wrap_ticks(axes: Sequence[Axes]) -> None:
    """Break long names under the panels of a figure, once for all, into lines that leave their neighbours room."""
    first = axes[0]  # the panels share its ticks
    ticks, names = first.get_xticks(), [tick.get_text() for tick in first.get_xticklabels()]
    columns = first.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]  # every panel stands in a grid
    room = max(8, _LETTERS // (columns * max(1, len(names))))
    first.set_xticks(ticks, ["\n".join(words.broken(words.shortened(name), room)) for name in names])
    for ax in axes:
        ax.tick_params(axis="x", labelsize=10 if room > 12 else 8.5)


def ratio_axis(ax: Axes, ratios: pd.Series) -> None:
    """Mark 1, batch norm itself, and make twice as fast as far from it as half as fast.

    ``ratios`` are all that has to have room, the ends of lines among them.
    """
    ax.axvline(1, color=ink(), linewidth=0.9, zorder=1)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}×"))
    low, high = ax.get_xlim()
    ends = min(low, 2 / 3, float(ratios.min()) / 1.1), max(high, 1.5, float(ratios.max()) * 1.1)
    ax.set_xlim(*ends)
    if ends[1] / ends[0] < _CLOSE:  # doublings would leave one tick alone
        ax.xaxis.set_major_locator(FixedLocator(_TICKS))
        ax.xaxis.set_minor_locator(NullLocator())
