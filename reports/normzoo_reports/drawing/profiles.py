"""Performance profiles as curves: the higher one is, the more often its normalizer is that good."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from normzoo_reports.drawing.axes import percent
from normzoo_reports.drawing.draw import legend
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.marks import tag
from normzoo_reports.drawing.style import Look, looks
from normzoo_reports.findings.profiles import Profile, Times, times
from normzoo_reports.findings.scores import Scores, accuracies
from normzoo_reports.statistics.profiles import Floats
from normzoo_suites import Run

_TICKS = (1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)
_SHOWN = 12  # ticks that have room beside one another
_MARKERS = 8  # on a curve


@dataclass(frozen=True)
class Curves:
    """A profile and its drawing."""

    profile: Profile
    drawing: Drawing


def show_times(run: Run, table: pd.DataFrame) -> list[Curves]:
    """Draw the profiles of layers' times, a panel per direction."""
    return [Curves(one, Drawing(one.title, partial(_times, one))) for one in times(run, table)]


def show_accuracies(run: Run, table: pd.DataFrame) -> Curves | None:
    """Draw the profile of a run's accuracies, where it has one."""
    found = accuracies(run, table)
    return Curves(found, Drawing(found.title, partial(_accuracies, found))) if found else None


def _times(profile: Times) -> Figure:
    series = looks("normalizer", dict.fromkeys(name for own in profile.ratios.values() for name in own))
    every = np.concatenate([ratios for own in profile.ratios.values() for ratios in own.values()])
    end = max(1.1, float(every[np.isfinite(every)].max())) ** 1.05
    figure = Figure(figsize=(6.8, 3.4), layout="constrained")
    axes = figure.subplots(1, len(profile.ratios), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (direction, own) in zip(axes, profile.ratios.items(), strict=True):
        for name, ratios in own.items():
            _steps(ax, name, ratios, end, series[name])
        ax.set_title(direction, loc="left")
        ax.set_xlabel("factor of the fastest time")
    _factor_axis(axes[0], end, _SHOWN // len(axes))
    axes[0].set_ylabel("share of layers within it")
    legend(figure, series, "line")
    return figure


def _steps(ax: Axes, name: str, ratios: Floats, end: float, look: Look) -> None:
    across, counts = np.unique(ratios[np.isfinite(ratios)], return_counts=True)
    shares = np.cumsum(counts) / len(ratios)
    # from 0 at the left edge to the right one: a share holds until the next layer comes within the factor
    (line,) = ax.plot(
        [1.0, *across, end], [0.0, *shares, shares[-1] if len(shares) else 0.0], drawstyle="steps-post",
        color=look.colour, linewidth=1.6, marker=look.marker, markersize=5, markeredgewidth=0, clip_on=False,
        markevery=list(range(1, len(across) + 1, max(1, len(across) // _MARKERS))),
    )  # fmt: skip
    tag(line, name)


def _factor_axis(ax: Axes, end: float, most: int) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xlim(1, end)
    ax.set_ylim(0, 1.03)
    ticks = [1.0]
    for tick in _TICKS:
        if tick <= end and math.log(tick / ticks[-1]) >= math.log(end) / most:
            ticks.append(tick)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}×"))
    ax.yaxis.set_major_formatter(FuncFormatter(percent))


def _accuracies(profile: Scores) -> Figure:
    series = looks("normalizer", profile.curves)
    figure = Figure(figsize=(6.8, 3.6), layout="constrained")
    ax = figure.subplots()
    for place, (name, (shares, low, high)) in enumerate(profile.curves.items()):
        look = series[name]
        (line,) = ax.plot(
            profile.levels, shares, color=look.colour, linewidth=1.6, marker=look.marker, markersize=5.5,
            markeredgewidth=0, markevery=(place, len(profile.levels) // _MARKERS),
        )  # fmt: skip
        tag(line, name)
        tag(ax.fill_between(profile.levels, low, high, color=look.colour, alpha=0.15, linewidth=0), name)
    ax.set_xlabel(profile.metric)
    ax.set_ylabel("share of runs above it")
    ax.set_ylim(0, 1.03)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(percent))
    legend(figure, series, "line")
    return figure
