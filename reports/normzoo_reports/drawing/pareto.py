"""The front of accuracy and training speed: a mark per normalizer, a panel per condition, a step line for the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from normzoo_reports import words
from normzoo_reports.drawing.draw import legend
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.marks import Mark as Told
from normzoo_reports.drawing.marks import tag
from normzoo_reports.drawing.style import Look, ink, looks
from normzoo_reports.findings.pareto import Mark, Tradeoff, tradeoff
from normzoo_suites import Run

_PANELS = 4  # more are not drawn; the table has them all
_TITLE = "Accuracy against training speed"


@dataclass(frozen=True)
class Pareto:
    """The figure, with its numbers.

    Attributes:
        title: what is drawn.
        drawing: one panel per condition of the accuracy.
        caption: what each axis is of, and what marks and lines are.
        metric: the accuracy's name.
        rows: every mark, with the condition of its accuracy.

    """

    title: str
    drawing: Drawing
    caption: str
    metric: str
    rows: tuple[tuple[str, Mark], ...]


def pareto(run: Run, table: pd.DataFrame) -> Pareto | None:
    """Draw accuracy against speed; None where fewer than 2 normalizers have both."""
    found = tradeoff(run, table)
    if found is None:
        return None
    drawing = Drawing(_TITLE, partial(_drawn, found))
    rows = tuple((condition, mark) for condition, marks in found.panels for mark in marks)
    return Pareto(_TITLE, drawing, _caption(found), found.metric, rows)


def _caption(found: Tradeoff) -> str:
    told = [
        f"Up: {words.label(found.metric)} of {found.accuracy_of}. Across: training throughput relative to batch norm, "
        f"each timed in turn with it, of {found.speed_of}: accuracy and speed were measured on different things.",
        "The line is the front of the means: nobody is at least as good at both and better at one; marks whose "
        "intervals overlap may change places on it.",
    ]
    told += [f"Lines across are {found.spread}."] if found.spread else []
    told += [f"Speed under {words.count(found.others, 'other condition')} stands in its own table."] * bool(
        found.others
    )
    hidden = len(found.panels) - _PANELS
    told += [f"{words.count(hidden, 'condition')} of accuracy {'is' if hidden == 1 else 'are'} in the table only."] * (
        hidden > 0
    )
    note = f"{found.note} Such marks are hollow and take no part in the front." if found.note else ""
    return " ".join([*told, *filter(None, [note])])


def _drawn(found: Tradeoff) -> Figure:
    panels = found.panels[:_PANELS]
    names = dict.fromkeys(mark.normalizer for _, marks in panels for mark in marks)
    series = looks("normalizer", names)
    columns = min(len(panels), 2)
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(6.8, 3.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, sharex=True, squeeze=False).flat)
    for extra in axes[len(panels) :]:
        extra.remove()
    for ax, (condition, marks) in zip(axes, panels, strict=False):
        _panel(ax, marks, series)
        ax.set_title("\n".join(words.broken(condition, 84 // columns - 6)), loc="left")
    for ax in axes[: len(panels) : columns]:
        ax.set_ylabel(words.label(found.metric))
    for ax in axes[max(0, len(panels) - columns) : len(panels)]:
        ax.xaxis.set_tick_params(labelbottom=True)
        what = found.speed_of.partition(":")[0]
        ax.set_xlabel("\n".join(words.broken(f"speed of {what} (batch norm = 1)", 84 // columns - 6)))
    legend(figure, series, "scatter")
    return figure


def _panel(ax: Axes, marks: Sequence[Mark], series: dict[str, Look]) -> None:
    ax.axvline(1, color=ink(), linewidth=0.9, zorder=1)
    _front(ax, marks)
    for mark in marks:
        look, up = series[mark.normalizer], mark.accuracy
        if mark.speeds:
            tag(ax.hlines(up.value, *mark.speeds, color=look.colour, linewidth=1.2), mark.normalizer)
        if up.low is not None and up.high is not None:
            tag(ax.vlines(mark.speed, up.low, up.high, color=look.colour, linewidth=1.2), mark.normalizer)
        (drawn,) = ax.plot(
            [mark.speed], [up.value], color=look.colour, marker=look.marker, linestyle="none", markersize=7,
            markeredgewidth=1.4 if mark.outside else 0, fillstyle="none" if mark.outside else "full",
        )  # fmt: skip
        told = f"{mark.normalizer}: {up.text}, throughput {mark.speed_text}{' (on the front)' if mark.front else ''}"
        tag(drawn, mark.normalizer, [Told(told, up.cells[0])])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{round(100 * tick, 6):g} %"))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}×"))


def _front(ax: Axes, marks: Sequence[Mark]) -> None:
    """Draw the border of what somebody reaches: at each speed, the highest accuracy of those at least as fast."""
    front = sorted((mark for mark in marks if mark.front), key=lambda mark: mark.speed)
    speeds, heights = [mark.speed for mark in front], [mark.accuracy.value for mark in front]
    ax.step(speeds, heights, where="pre", color=ink(), linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
