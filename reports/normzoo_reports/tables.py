"""Estimates from rows of the run's table, and tables of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd

from normzoo_reports import words
from normzoo_reports.load import MEASURED, records, replicates
from normzoo_reports.plain import isolated
from normzoo_reports.results import Estimate, Pivot
from normzoo_reports.statistics.signs import interval

LAYER = ("shape", "batch_size")
"""The settings that name a layer."""


def estimate(rows: pd.DataFrame, metric: str) -> Estimate | str:
    """Sum up the rows of one condition; where none has a value, say in words why.

    A timed cell stands for itself, with the percentiles of its samples. Otherwise the rows are repeats of one
    experiment and give their mean and its interval, or lump experiments together and give their mean alone.
    """
    measured = rows[rows[metric].notna()] if metric in rows else rows.iloc[:0]
    if measured.empty:
        return _why_empty(rows, metric)
    values = [float(value) for value in measured[metric]]
    same_as = set(rows["same_as"])
    same = same_as.pop() if len(same_as) == 1 else ""
    if len(values) == 1 and f"{metric}_p10" in measured and pd.notna(measured[f"{metric}_p10"].iloc[0]):
        first = measured.iloc[0]
        samples = int(first["raw_samples"])
        return Estimate(
            metric,
            values[0],
            float(first[f"{metric}_p10"]),
            float(first[f"{metric}_p90"]),
            samples,
            "sample",
            absent=len(rows) - 1,
            same_as=same,
            cells=(str(first["id"]),),
        )
    counted = replicates(measured)
    repeats = measured[counted].nunique() == len(values)
    # cells that differ in more than the seed are no repeats, and no interval follows from their scatter
    low, high = (interval(values) if repeats else None) or (None, None)
    return Estimate(
        metric,
        math.fsum(values) / len(values),
        low,
        high,
        len(values),
        counted if repeats else "cell",
        diverged=int((measured["status"] == "diverged").sum()),
        absent=len(rows) - len(measured),
        same_as=same,
        cells=tuple(map(str, measured["id"])),
    )


def pivot(
    rows: pd.DataFrame,
    metric: str,
    down: str,
    across: pd.Series,
    by: str = "",
    sum_up: Callable[[pd.DataFrame, str], Estimate | str] = estimate,
) -> Pivot:
    """Make a table of estimates: rows by the column ``down``, columns by ``across``, in order of appearance."""
    columns = tuple(str(value) for value in dict.fromkeys(across))
    lines = []
    for name in dict.fromkeys(rows[down]):
        mine = rows[down] == name
        cells = [rows[mine & (across.astype(str) == column)] for column in columns]
        lines.append((words.show_value(name), tuple("" if part.empty else sum_up(part, metric) for part in cells)))
    return Pivot(metric, by, columns, tuple(lines))


def conditions(rows: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Name every row's condition by these settings, no two conditions alike."""
    return pd.Series(words.conditions(records(rows), keys), index=rows.index, dtype=object)


def over_layers(rows: pd.DataFrame, metric: str) -> Estimate | str:
    """Sum up ratios of several layers under one condition: their geometric mean, the smallest and the largest.

    A layer is a shape and a batch size; one that was timed in several processes counts once, with the mean over these.
    One alone has its own estimate, with what its samples or processes scatter.
    """
    timed = rows[rows[metric] > 0] if metric in rows else rows.iloc[:0]
    if timed.empty:
        return _why_empty(rows, metric)
    if len(rows.groupby(list(LAYER))) == 1:
        return estimate(rows, metric)
    ratios = [float(ratio) for ratio in timed.groupby(list(LAYER), sort=False)[metric].mean()]
    # of 2 and 1/2 the geometric mean is 1, as it should be
    mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
    low, high = (min(ratios), max(ratios)) if len(ratios) > 1 else (None, None)
    cells = tuple(map(str, timed["id"]))
    return Estimate(metric, mean, low, high, len(ratios), "layer", absent=len(rows) - len(timed), cells=cells)


def unsynchronized(rows: pd.DataFrame) -> str:
    """Say whose timings leave out the exchange between ranks that it exists for; empty where nobody's do."""
    names = [isolated(name) for name in dict.fromkeys(rows.loc[rows["unsynchronized"], "normalizer"])]
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names)} {verb} timed in one process, where nothing is synchronized." if names else ""


def _why_empty(rows: pd.DataFrame, metric: str) -> str:
    told = zip(rows["status"], rows["too_large"], strict=True)
    counts = Counter(("too large" if metric in large else "") or str(status) for status, large in told)
    named = [("no value" if status in MEASURED else status, number) for status, number in counts.items()]
    return ", ".join(status if number == 1 else f"{status} ({number})" for status, number in named)
