"""Drawing a suite's figure: panels side by side and a legend below."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.api.types import is_numeric_dtype

from normzoo_reports import words
from normzoo_reports.drawing.axes import wrap_ticks
from normzoo_reports.drawing.marks import tag
from normzoo_reports.drawing.panels import Panel, fill
from normzoo_reports.drawing.style import Look, looks


def draw(panel: Panel, rows: pd.DataFrame) -> Figure:
    """Draw rows of the run's table."""
    present = rows[rows[panel.value].notna()].copy()
    present[panel.hue] = present[panel.hue].map(words.show_value)
    series = looks(panel.hue, dict.fromkeys(present[panel.hue]))
    facets = list(dict.fromkeys(present[panel.facet])) if panel.facet else [None]
    order = list(dict.fromkeys(present[panel.category].map(words.show_value)))
    figure, axes = _canvas(panel, len(facets), present)
    for ax, facet in zip(axes, facets, strict=True):
        part = present if facet is None else present[present[panel.facet] == facet]
        fill(ax, panel, part, series, order)
        told = "" if facet is None else f"{words.label(str(panel.facet))} {words.show_value(facet)}"
        ax.set_title(words.shortened(told), loc="left")
    if panel.kind == "bar" or (panel.kind == "line" and not is_numeric_dtype(present[panel.category])):
        wrap_ticks(axes)
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
            label=words.shortened(name),
        )
        for name, look in series.items()
    ]
    drawn = figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 4), handletextpad=0.5, columnspacing=1.4
    )
    for name, handle, text in zip(series, drawn.legend_handles, drawn.get_texts(), strict=True):
        for part in filter(None, (handle, text)):
            tag(part, name)
