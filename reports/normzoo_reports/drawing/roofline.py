"""The roofline of layers: the bandwidth that each achieves, below that of a copy.

A roofline has the work done per byte across, and a roof of two parts: memory to the left, arithmetic to the right
(Williams, Waterman & Patterson 2009). Norm layers do so few operations per byte that all of them stand far to the left,
where the roof is flat. So the input's size stands across in its place: it tells which inputs a cache can hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from normzoo_reports import words
from normzoo_reports.drawing.draw import legend
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.marks import tag
from normzoo_reports.drawing.style import Look, ink, looks
from normzoo_reports.findings.costs import kinds
from normzoo_reports.load import records
from normzoo_reports.tables import LAYER

_DRAWN_APART = ("device", "threads", "mode", "dtype", "layout")
"""Settings whose values have drawings of their own, besides hot and cold: what is slower by nature hides the rest."""

_NEEDED = ("step_ms", "fewest_mb", "copy_gb_per_s", "share_of_limit")
_BYTES = {"bfloat16": 2, "float32": 4, "float64": 8}
_FROM = {"hot": "from one step to the next", "cold": "from one pass over them to the next, within a step"}


@dataclass(frozen=True)
class Roofline:
    """One drawing, with its numbers.

    Attributes:
        title: what is drawn.
        drawing: a panel per direction, a mark per layer and normalizer, and the line of the copy.
        caption: how to read it.
        normalizers: the columns of the table.
        rows: for each layer its name, its size in MB, and by normalizer what it achieves in GB/s, with a cell of it.

    """

    title: str
    drawing: Drawing
    caption: str
    normalizers: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]


def rooflines(table: pd.DataFrame) -> tuple[list[Roofline], list[Roofline]]:
    """Draw what records tell of the limit, hot and cold apart: the largest group, and in a second list the others.

    The cells of a group differ in layer, direction, normalizer and repeat alone, and in being hot or cold. Older
    records lack the limit; of them nothing is drawn.
    """
    drawn: list[list[Roofline]] = [[], []]
    groups = sorted(_groups(table), key=len, reverse=True)  # of equals the first stays first
    keys = [key for key in ("device", "threads") if len({group[key].iloc[0] for group in groups}) > 1]
    for number, group in enumerate(groups):
        for kind, rows in kinds(group, "throughput"):
            told = words.condition(records(rows)[0], keys)
            drawn[min(number, 1)].append(_roofline(rows, kind, told))
    return drawn[0], drawn[1]


def _groups(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    if not set(_NEEDED) <= set(table):
        return
    told = table[table["measure"] == "throughput"].dropna(subset=list(_NEEDED))
    told = told[(told[["step_ms", "copy_gb_per_s"]] > 0).all(axis=1)]  # a logarithm has no place for others
    layers = [math.prod(int(size) for size in shape.split("x")) for shape in told["shape"]]
    size = told["batch_size"] * pd.Series(layers, index=told.index, dtype=float) * told["dtype"].map(_BYTES) / 1e6
    told = told.assign(gb_per_s=told["fewest_mb"] / told["step_ms"], input_mb=size)
    for _, group in told.groupby(list(_DRAWN_APART), sort=False):
        yield group


def _roofline(rows: pd.DataFrame, kind: str, more: str) -> Roofline:
    keys = ["direction", "input_mb", *LAYER, "normalizer"]
    points = rows.groupby(keys, sort=False).agg({"gb_per_s": "mean", "id": "first"}).reset_index()
    roof = float(rows["copy_gb_per_s"].median())
    first = records(rows)[0]
    which = ", ".join(filter(None, [kind, *(str(first[key]) for key in ("dtype", "layout", "mode")), more]))
    title = f"Bandwidth achieved, {which}"
    caption = (
        "The fewest bytes that a layer must move, over its time, against the size of its input. The line is what a "
        f"copy reaches in the same processes, {words.digits(roof)} GB/s (their median): norm layers compute so little "
        "per byte that memory is their roof, and the share of the limit is a mark's height against it."
    )
    if (points["gb_per_s"] > roof).any():
        caption += f" Marks above the line are inputs that stay in a cache {_FROM[kind]}."
    repeats = rows["repeat"].nunique()
    caption += f" Marks are means over {repeats} repeats." if repeats > 1 else ""
    names = tuple(dict.fromkeys(str(name) for name in points["normalizer"]))
    drawing = Drawing(title, partial(_drawn, points, roof))
    return Roofline(title, drawing, caption, names, tuple(_numbers(points, names)))


def _numbers(points: pd.DataFrame, names: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    for _, group in points.groupby(["direction", "input_mb", *LAYER], sort=False):
        achieved = {one["normalizer"]: (words.digits(one["gb_per_s"]), str(one["id"])) for one in records(group)}
        cells = tuple(achieved.get(name, ("–", "")) for name in names)
        first = records(group)[0]
        yield words.condition(first, ["direction", *LAYER]), words.digits(first["input_mb"]), cells


def _drawn(points: pd.DataFrame, roof: float) -> Figure:
    directions = list(dict.fromkeys(points["direction"]))
    series = looks("normalizer", dict.fromkeys(map(words.show_value, points["normalizer"])))
    figure = Figure(figsize=(6.8, 3.4), layout="constrained")
    axes = figure.subplots(1, len(directions), sharex=True, sharey=True, squeeze=False)[0]
    for ax, direction in zip(axes, directions, strict=True):
        _panel(ax, points[points["direction"] == direction], roof, series)
        ax.set_title(direction, loc="left")
        ax.set_xlabel(words.label("input_mb"))
    axes[0].set_ylabel(words.label("gb_per_s"))
    copy = f"copy\n{words.digits(roof)}"
    axes[-1].annotate(copy, (1.02, roof), xycoords=("axes fraction", "data"), va="center", size=8)
    for axis, ends in ((axes[0].xaxis, axes[0].get_xlim()), (axes[0].yaxis, axes[0].get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1.0,) if ends[1] / ends[0] > 100 else (1.0, 2.0, 5.0)))
    legend(figure, series, "scatter")
    return figure


def _panel(ax: Axes, points: pd.DataFrame, roof: float, series: dict[str, Look]) -> None:
    ax.set(xscale="log", yscale="log")
    for name, look in series.items():
        own = points[points["normalizer"] == name]
        (line,) = ax.plot(
            own["input_mb"], own["gb_per_s"], color=look.colour, marker=look.marker, linestyle="none",
            markersize=6.5, markeredgewidth=0,
        )  # fmt: skip
        tag(line, name)
    ax.axhline(roof, color=ink(), linewidth=1.2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda tick, _: words.digits(tick)))
        axis.set_minor_formatter(NullFormatter())
        axis.set_minor_locator(NullLocator())
