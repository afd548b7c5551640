"""Drawing: lines, bars and points with seaborn, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullFormatter, NullLocator

from normzoo_reports import words
from normzoo_reports.drawing.style import Look, ink, looks
from normzoo_reports.statistics.signs import interval

BATCH_LIKE = ("local_batch", "batch_size", "ranks")
"""Settings that grow by factors: their axis is logarithmic with base 2."""

_UP = 38  # letters that stand beside a panel, one above the other
_LETTERS = 84  # that stand side by side under a figure
_CLOSE = 4
_TICKS = (0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 2, 3)  # of ratios that lie close together
_DODGE = 0.03  # in doublings: series of equal accuracy would else hide one another


@dataclass(frozen=True)
class Panel:
    """What a figure shows: the metric ``value`` against ``category``, a colour per ``hue``, a panel per ``facet``.

    ``repeats``: each mark stands for repeats of one experiment, so that it has an interval.
    """

    kind: Literal["line", "bar", "point"]
    value: str
    category: str
    hue: str
    facet: str | None
    repeats: bool


def draw(panel: Panel, rows: pd.DataFrame) -> Figure:
    """Draw rows of the run's table."""
    present = rows[rows[panel.value].notna()].copy()
    present[panel.hue] = present[panel.hue].map(words.show_value)
    series = looks(panel.hue, dict.fromkeys(present[panel.hue]))
    facets = list(dict.fromkeys(present[panel.facet])) if panel.facet else [None]
    figure, axes = _canvas(panel, len(facets), present)
    for ax, facet in zip(axes, facets, strict=True):
        part = present if facet is None else present[present[panel.facet] == facet]
        _KINDS[panel.kind](ax, panel, part, series)
        ax.set_title("" if facet is None else f"{words.label(str(panel.facet))} {words.show_value(facet)}", loc="left")
    if panel.hue != panel.category:
        legend(figure, series, panel.kind)
    return figure


def _canvas(panel: Panel, panels: int, rows: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    columns = min(panels, 2)
    lines = math.ceil(panels / columns)
    height = 0.9 + 0.28 * rows[panel.category].nunique() if panel.kind == "point" else 3.6
    figure = Figure(figsize=(6.8, height * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for extra in axes[panels:]:
        extra.remove()
    for lowest in axes[max(0, panels - columns) : panels]:  # shared axes else leave a panel above a gap without numbers
        lowest.xaxis.set_tick_params(labelbottom=True)
        lowest.xaxis.label.set_visible(True)
    return figure, axes[:panels]


def _line(ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look]) -> None:
    numbers = pd.api.types.is_numeric_dtype(rows[panel.category])
    doubling = numbers and panel.category in BATCH_LIKE
    ticks = sorted(set(rows[panel.category])) if numbers else []
    moved = rows.assign(**{panel.category: _dodged(rows, panel, series)}) if doubling else rows
    names = [name for name in series if (rows[panel.hue] == name).any()]
    sns.lineplot(
        moved,
        x=panel.category,
        y=panel.value,
        hue=panel.hue,
        style=panel.hue,
        hue_order=names,
        style_order=names,
        palette={name: series[name].colour for name in names},
        markers={name: series[name].marker for name in names},
        dashes=False,
        markeredgewidth=0,
        markersize=6.5,
        linewidth=1.6,
        errorbar=_whiskers if panel.repeats else None,
        err_style="bars",
        err_kws={"elinewidth": 1.2},
        legend=False,
        ax=ax,
    )
    if doubling:
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [words.show_value(float(tick)) for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(visible=False, axis="x")
    _axes_words(ax, panel.category, panel.value)


def _dodged(rows: pd.DataFrame, panel: Panel, series: dict[str, Look]) -> pd.Series:
    middle = (len(series) - 1) / 2
    places = {name: 2 ** (_DODGE * (index - middle)) for index, name in enumerate(series)}
    return rows[panel.category] * rows[panel.hue].map(places)


def _bar(ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look]) -> None:
    names = [name for name in series if (rows[panel.hue] == name).any()]
    sns.barplot(
        rows.assign(**{panel.category: rows[panel.category].map(words.show_value)}),
        x=panel.category,
        y=panel.value,
        hue=panel.hue,
        hue_order=names,
        palette={name: series[name].colour for name in names},
        saturation=1,
        width=0.84,
        gap=0.12,
        errorbar=_whiskers if panel.repeats else None,
        err_kws={"color": ink(), "linewidth": 1.2},
        legend=False,
        ax=ax,
    )
    _wrap_ticks(ax)
    ax.grid(visible=False, axis="x")
    _axes_words(ax, panel.category, panel.value)
    if words.has_chance(panel.value):
        ax.set_ylim(0, 1.02)
        chance = set(rows["chance_accuracy"].dropna()) if "chance_accuracy" in rows else set()
        if len(chance) == 1:
            ax.axhline((level := float(chance.pop())), color=ink(), linewidth=0.8, linestyle=(0, (2, 3)))
            ax.annotate("chance", (1.005, level), xycoords=("axes fraction", "data"), va="center", size=8)


def _wrap_ticks(ax: Axes) -> None:
    """Break long names under bars into lines that leave their neighbours room."""
    ticks, names = ax.get_xticks(), [tick.get_text() for tick in ax.get_xticklabels()]
    columns = ax.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]  # every panel stands in a grid
    room = max(8, _LETTERS // (columns * max(1, len(names))))
    size = 10 if room > 12 else 8.5
    ax.set_xticks(ticks, ["\n".join(words.broken(name, room)) for name in names], fontsize=size)


def _point(ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look]) -> None:
    named = rows.assign(**{panel.category: rows[panel.category].map(words.show_value)})
    order = list(dict.fromkeys(named[panel.category]))
    for name, look in series.items() if panel.repeats else ():
        for category, group in named[named[panel.hue] == name].groupby(panel.category, sort=False):
            low, high = _span(group, panel.value)
            ax.hlines(order.index(str(category)), low, high, color=look.colour, linewidth=1.6)
    markers: Any = [look.marker for look in series.values()]  # the stubs spell out every marker
    sns.pointplot(
        named,
        x=panel.value,
        y=panel.category,
        order=order,
        hue=panel.hue,
        hue_order=list(series),
        palette={name: look.colour for name, look in series.items()},
        markers=markers,
        linestyle="none",
        markersize=6.5,
        markeredgewidth=0,
        errorbar=None,
        legend=False,
        ax=ax,
    )
    if "ratio" in panel.value:
        _ratio_axis(ax, rows[panel.value])
    ax.grid(visible=False, axis="y")
    _axes_words(ax, panel.value, panel.category)
    ax.set_ylabel("")


def _span(group: pd.DataFrame, value: str) -> tuple[float, float]:
    """Give a point's line: the samples' percentiles where one cell was timed, else the interval over cells."""
    if len(group) == 1 and f"{value}_p10" in group:
        return float(group[f"{value}_p10"].iloc[0]), float(group[f"{value}_p90"].iloc[0])
    return _whiskers(group[value])


def _ratio_axis(ax: Axes, ratios: pd.Series) -> None:
    """Mark 1, batch norm itself, and make twice as fast as far from it as half as fast."""
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


def _whiskers(values: Any) -> tuple[float, float]:
    found = interval([float(value) for value in values])
    if found is None:
        return math.nan, math.nan
    mean = float(values.mean())  # of equal values it may lie beside them by its last bit, which matplotlib refuses
    return min(found[0], mean), max(found[1], mean)


def _axes_words(ax: Axes, across: str, up: str) -> None:
    columns = ax.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]  # every panel stands in a grid
    ax.set_xlabel("\n".join(words.broken(_named(across), _LETTERS // columns - 4)))
    ax.set_ylabel("\n".join(words.broken(_named(up), _UP)))
    for name, axis in ((across, ax.xaxis), (up, ax.yaxis)):
        if words.is_share(name):
            axis.set_major_formatter(FuncFormatter(_points if words.is_gap(name) else _percent))
            low, high = axis.get_view_interval()
            if 0.25 < high - low < 1.5:  # accuracies end at 1, but what a cache holds can go far beyond the limit
                axis.set_major_locator(MultipleLocator(0.1 if high - low < 0.75 else 0.2))


def _percent(tick: float, _: object) -> str:
    return f"{round(100 * tick, 6):g} %"


def _points(tick: float, _: object) -> str:
    return f"{round(100 * tick, 6):g}".replace("-", "−")


def _named(name: str) -> str:
    return f"{words.label(name)} (points)" if words.is_gap(name) else words.label(name)


def legend(figure: Figure, series: dict[str, Look], kind: str) -> None:
    """Name the series below a figure: squares for bars, markers for ``scatter``, else markers on lines."""
    bars = kind == "bar"
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker="s" if bars else look.marker,
            linestyle="none" if bars or kind == "scatter" else "-",
            markeredgewidth=0,
            label=name,
        )
        for name, look in series.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 4), handletextpad=0.5, columnspacing=1.4
    )


_KINDS: dict[str, Callable[[Axes, Panel, pd.DataFrame, dict[str, Look]], None]] = {
    "line": _line,
    "bar": _bar,
    "point": _point,
}
