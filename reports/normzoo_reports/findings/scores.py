"""Accuracies over conditions: which share of a normalizer's runs ends above which level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.gaps import left_out, without_gaps
from normzoo_reports.findings.profiles import Profile
from normzoo_reports.findings.readings import once
from normzoo_reports.load import telling_apart
from normzoo_reports.statistics.profiles import Floats, above, band
from normzoo_reports.tables import conditions
from normzoo_suites import Run

SEEDS, CONDITIONS = 6, 2
"""With fewer there is nothing to draw a distribution of."""

_ABOVE = "accuracy above chance"
_WAY = "Where chance differs between data sets, a level is the share of the way from chance, 0 %, to all right, 100 %."
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
_COLUMNS = 7
_POINTS = 61  # of a curve


@dataclass(frozen=True)
class Scores(Profile):
    """Accuracies of runs.

    Attributes:
        metric: what the levels are of, in words.
        levels: where the curves are known.
        curves: for each normalizer the share of its runs above each level, and the band's lower and upper ends.

    """

    metric: str
    levels: Floats
    curves: dict[str, tuple[Floats, Floats, Floats]]


def scores(run: Run, table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Give the accuracy that a run is about, and the rows that have it: each training once, diverged ones at chance."""
    rows = table[table["measure"] == "accuracy"]
    validated = not rows.empty and set(rows["evaluate_on"]) == {"validation"}
    metric = "validation_accuracy" if validated else "test_accuracy"
    if metric not in rows:
        return metric, rows.iloc[:0]
    rows = once(rows, metric, run)
    return metric, rows[rows[metric].notna()]


def accuracies(run: Run, table: pd.DataFrame) -> Scores | None:
    """Give the profile of a run's accuracies, where at least 2 normalizers have 6 seeds under 2 conditions.

    Of several data sets whose chance levels differ it is of the share of the way from chance to 1. A diverged run
    counts with chance accuracy.
    """
    metric, rows = scores(run, table)
    if rows.empty or rows["seed"].nunique() < SEEDS or (score := _score(rows, metric)) is None:
        return None
    rows = rows.assign(condition=conditions(rows, telling_apart(rows, run)), score=score)
    every = rows.groupby(["seed", "condition", "normalizer"], sort=False)["score"].first()
    counts = every.groupby(level=["condition", "normalizer"], sort=False).size().unstack()
    counts = counts.reindex(index=rows["condition"].unique(), columns=rows["normalizer"].unique())
    kept = without_gaps(counts)
    # a row per seed; seeds that lack a run would weigh the conditions unequally
    whole = every.unstack(["normalizer", "condition"])[[(one, name) for one in kept for name in kept.index]].dropna()
    if len(whole) < SEEDS or len(kept) < CONDITIONS or kept.shape[1] < 2:
        return None
    what = words.label(metric) if score.name == metric else _ABOVE
    lost = rows["seed"].nunique() - len(whole)
    told = [
        f"{words.count(whole[kept.columns[0]].size, 'run')} of each normalizer: {words.count(len(whole), 'seed')} "
        f"under each of {words.count(len(kept), 'condition')}. "
        "What is the same computation by design under several conditions counts under each.",
        f"Left out: {words.count(lost, 'seed')} under which a run has no value." if lost else "",
        left_out(counts, kept),
        _WAY if what == _ABOVE else "",
    ]
    counted = rows[rows["seed"].isin(whole.index) & rows["condition"].isin(kept.index)]
    best = counted.set_index("id").groupby("normalizer")["score"].idxmax()  # a run that every share above 0 counts
    runs = {str(one): whole[one].to_numpy(dtype=float) for one in kept}
    return _scores(what, runs, tuple(filter(None, told)), {one: str(best[one]) for one in runs})


def _score(rows: pd.DataFrame, metric: str) -> pd.Series | None:
    """Give accuracy, or where chance differs the share of the way from it to 1; None where chance is unknown."""
    if rows["dataset"].nunique() == 1:
        return rows[metric]
    if "chance_accuracy" not in rows or rows["chance_accuracy"].isna().any():
        return None
    chance = rows["chance_accuracy"]
    return rows[metric] if chance.nunique() == 1 else ((rows[metric] - chance) / (1 - chance)).rename("way")


def _scores(what: str, runs: dict[str, Floats], told: tuple[str, ...], best: dict[str, str]) -> Scores:
    """Make curves of runs, [seeds, conditions] for each normalizer, the numbers of each with its best run."""
    every = np.stack(list(runs.values()))
    lowest, highest = float(every.min()), float(every.max())
    levels = np.linspace(lowest - max(0.02 * (highest - lowest), 1e-3), highest, _POINTS)
    curves = {name: (above(values, levels), *band(values, levels)) for name, values in runs.items()}
    marks = _marks(lowest, highest)
    lines = tuple(
        (name, tuple((_percent(share), best[name]) for share in above(values, marks))) for name, values in runs.items()
    )
    heads = tuple(f"above {100 * mark:g} %".replace("-", "−") for mark in marks)
    return Scores(f"Runs above a level of {what}", told, heads, (("", lines),), what, levels, curves)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _marks(lowest: float, highest: float) -> Floats:
    """Give round levels from just below the lowest value to below the highest, at most 8."""
    step = next((one for one in _STEPS if (highest - lowest) / one <= _COLUMNS - 1), (highest - lowest) / _COLUMNS)
    return np.round(np.arange(math.floor(lowest / step), math.ceil(highest / step)) * step, 6)
