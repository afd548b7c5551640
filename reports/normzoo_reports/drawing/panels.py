"""Panels: lines, bars and points, drawn with seaborn; every mark says what it is (`marks.py`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from normzoo_reports import words
from normzoo_reports.drawing.axes import name_axes, ratio_axis
from normzoo_reports.drawing.marks import Mark, tag
from normzoo_reports.drawing.style import Look, ink
from normzoo_reports.results import Estimate
from normzoo_reports.statistics.signs import interval
from normzoo_reports.tables import estimate

BATCH_LIKE = (
    "local_batch",
    "batch_size",
    "ranks",
    "samples",
    "test_batch_size",
    "factor",
    "initial_gain",
    "times",
    "reach",
)
"""Settings that grow by factors: their axis is logarithmic with base 2."""

DECADES = (
    "mean_error",
    "variance_error",
    "scaled_gradient",
    "loss_range",
    "gradient_change",
    "gradient_change_relative",
    "effective_smoothness",
)
"""Metrics that fall or grow by factors: their axis is logarithmic with base 10, where all values are above 0."""

_MANY = 300  # between the least value and the largest: then powers of ten are ticks enough
_DODGE = 0.03  # in doublings: series of equal accuracy would else hide one another

Marks = dict[tuple[str, str], Mark]
"""By series and category."""


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


def fill(ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look], order: Sequence[str]) -> None:
    """Draw rows of the run's table into a panel.

    ``order`` names the categories of the whole figure: its panels share an axis, and not each has all of them.
    """
    marks = _marks(panel, rows)
    if panel.kind == "line":
        _line(ax, panel, rows, series, marks)
    else:
        named = rows.assign(**{panel.category: rows[panel.category].map(words.show_value)})
        draw = _bar if panel.kind == "bar" else _point
        draw(ax, panel, named, series, marks, order)


def _marks(panel: Panel, rows: pd.DataFrame) -> Marks:
    """Say by series and category what each mark of a panel stands for."""
    found: Marks = {}
    for key, group in rows.groupby([panel.hue, panel.category], sort=False):
        name, category = str(key[0]), key[1]
        summed = estimate(group, panel.value)
        if isinstance(summed, Estimate):
            where = (
                "" if panel.hue == panel.category else f", {words.label(panel.category)} {words.show_value(category)}"
            )
            told = f"{name}{where}: {summed.text} ({'; '.join(summed.notes)})"
            found[name, words.show_value(category)] = Mark(told, summed.cells[0])
    return found


def _line(ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look], marks: Marks) -> None:
    numbers = pd.api.types.is_numeric_dtype(rows[panel.category])
    doubling = numbers and panel.category in BATCH_LIKE
    ticks = sorted(set(rows[panel.category])) if numbers else []
    named = rows[panel.category] if numbers else rows[panel.category].map(words.show_value)
    moved = rows.assign(**{panel.category: _dodged(rows, panel, series) if doubling else named})
    for name in (name for name in series if (rows[panel.hue] == name).any()):
        own = rows[panel.hue] == name
        categories = (
            sorted(set(rows.loc[own, panel.category])) if numbers else dict.fromkeys(rows.loc[own, panel.category])
        )
        with _tagged(ax, name, [marks[name, words.show_value(one)] for one in categories]):
            _one_line(ax, panel, moved[own], series[name])
    if doubling:
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [words.show_value(float(tick)) for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
    if panel.value in DECADES and rows[panel.value].min() > 0:
        _decades(ax, rows[panel.value])
    ax.grid(visible=False, axis="x")
    name_axes(ax, panel.category, panel.value)


def _decades(ax: Axes, values: pd.Series) -> None:
    """Make the y-axis logarithmic, its ticks plain numbers; over a few decades 2 and 5 are among them."""
    ax.set_yscale("log")
    subs = (1.0,) if values.max() > _MANY * values.min() else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda tick, _: words.digits(tick))
    )  # powers would be spelt out as formulas
    ax.yaxis.set_minor_formatter(NullFormatter())


def _one_line(ax: Axes, panel: Panel, rows: pd.DataFrame, look: Look) -> None:
    sns.lineplot(
        rows,
        x=panel.category,
        y=panel.value,
        color=look.colour,
        marker=look.marker,
        markeredgewidth=0,
        markersize=6.5,
        linewidth=1.6,
        errorbar=_whiskers if panel.repeats else None,
        err_style="bars",
        err_kws={"elinewidth": 1.2},
        legend=False,
        ax=ax,
    )


@contextmanager
def _tagged(ax: Axes, name: str, marks: Sequence[Mark]) -> Iterator[None]:
    """Tag what is added to a panel meanwhile as a series, and the first of it with its marks."""
    before = set(ax.get_children())
    yield
    added = [artist for artist in ax.get_children() if artist not in before]
    for artist in added:
        tag(artist, name)
    lines = [artist for artist in added if isinstance(artist, Line2D)]
    if lines:
        tag(lines[0], name, marks)


def _dodged(rows: pd.DataFrame, panel: Panel, series: dict[str, Look]) -> pd.Series:
    middle = (len(series) - 1) / 2
    places = {name: 2 ** (_DODGE * (index - middle)) for index, name in enumerate(series)}
    return rows[panel.category] * rows[panel.hue].map(places)


def _bar(
    ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look], marks: Marks, order: Sequence[str]
) -> None:
    names = [name for name in series if (rows[panel.hue] == name).any()]
    sns.barplot(
        rows,
        x=panel.category,
        y=panel.value,
        order=order,
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
    _tag_bars(ax, names, marks, order)
    ax.grid(visible=False, axis="x")
    name_axes(ax, panel.category, panel.value)
    if words.has_chance(panel.value):
        ax.set_ylim(0, 1.02)
        chance = set(rows["chance_accuracy"].dropna()) if "chance_accuracy" in rows else set()
        if len(chance) == 1:
            ax.axhline((level := float(chance.pop())), color=ink(), linewidth=0.8, linestyle=(0, (2, 3)))
            ax.annotate("chance", (1.005, level), xycoords=("axes fraction", "data"), va="center", size=8)


def _tag_bars(ax: Axes, names: list[str], marks: Marks, order: Sequence[str]) -> None:
    """Tag bars and their whiskers: seaborn stands them side by side around the whole number of their category."""
    whose = {}
    for name, bars in zip(names, ax.containers, strict=True):
        for bar in bars:
            middle = bar.get_x() + bar.get_width() / 2
            whose[middle] = name
            mark = marks.get((name, order[round(middle)]))
            tag(bar, name, [mark] if mark else [])
    for whisker in ax.lines:
        at = float(whisker.get_xdata()[0])  # type: ignore[arg-type, index]  # an array, of which the stubs do not know
        tag(whisker, whose[min(whose, key=lambda middle: abs(middle - at))])


def _point(
    ax: Axes, panel: Panel, rows: pd.DataFrame, series: dict[str, Look], marks: Marks, order: Sequence[str]
) -> None:
    reach = list(rows[panel.value])
    for name, look in series.items() if panel.repeats else ():
        for category, group in rows[rows[panel.hue] == name].groupby(panel.category, sort=False):
            low, high = _span(group, panel.value)
            reach += [low, high]
            tag(ax.hlines(order.index(str(category)), low, high, color=look.colour, linewidth=1.6), name)
    markers: Any = [look.marker for look in series.values()]  # the stubs spell out every marker
    sns.pointplot(
        rows,
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
    for name, line in zip(series, ax.lines, strict=False):  # one for each series, empty where it has no mark here
        tag(line, name, [marks[name, one] for one in order if (name, one) in marks])
    ax.set_yticks(range(len(order)), [words.shortened(name) for name in order])
    if "ratio" in panel.value:
        ratio_axis(ax, pd.Series(reach))
    ax.grid(visible=False, axis="y")
    name_axes(ax, panel.value, panel.category)
    ax.set_ylabel("")


def _span(group: pd.DataFrame, value: str) -> tuple[float, float]:
    """Give a point's line: the samples' percentiles where one cell was timed, else the interval over cells."""
    if len(group) == 1 and f"{value}_p10" in group:
        return float(group[f"{value}_p10"].iloc[0]), float(group[f"{value}_p90"].iloc[0])
    return _whiskers(group[value])


def _whiskers(values: Any) -> tuple[float, float]:
    found = interval([float(value) for value in values])
    if found is None:
        return math.nan, math.nan
    mean = float(values.mean())  # of equal values it may lie beside them by its last bit, which matplotlib refuses
    return min(found[0], mean), max(found[1], mean)
