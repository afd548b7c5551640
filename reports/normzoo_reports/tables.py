"""Estimates from rows of the run's table, and tables of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from normzoo_reports import words
from normzoo_reports.load import MEASURED, records
from normzoo_reports.results import Estimate, Pivot, Speed
from normzoo_reports.statistics import interval


def estimate(rows: pd.DataFrame, metric: str) -> Estimate | str:
    """Sum up the rows of one condition; where none has a value, say in words why.

    A timed cell stands for itself, with the percentiles of its samples. Otherwise the rows are repeats of one
    experiment and give their mean and its interval.
    """
    measured = rows[rows[metric].notna()] if metric in rows else rows.iloc[:0]
    if measured.empty:
        return _why_empty(rows)
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
            same_as=same,
        )
    low, high = interval(values) or (None, None)
    repeats = measured["seed"].nunique() if "seed" in measured else 0
    return Estimate(
        metric,
        math.fsum(values) / len(values),
        low,
        high,
        len(values),
        "seed" if repeats == len(values) else "cell",
        diverged=int((measured["status"] == "diverged").sum()),
        absent=len(rows) - len(measured),
        same_as=same,
    )


def pivot(rows: pd.DataFrame, metric: str, down: str, across: pd.Series, by: str = "") -> Pivot:
    """Make a table of estimates: rows by the column ``down``, columns by ``across``, in order of appearance."""
    columns = tuple(str(value) for value in dict.fromkeys(across))
    lines = []
    for name in dict.fromkeys(rows[down]):
        mine = rows[down] == name
        cells = [rows[mine & (across.astype(str) == column)] for column in columns]
        lines.append((words.show_value(name), tuple("" if part.empty else estimate(part, metric) for part in cells)))
    return Pivot(metric, by, columns, tuple(lines))


def conditions(rows: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Name every row's condition by these settings."""
    names = [words.condition(row, keys) for row in records(rows)]
    return pd.Series(names, index=rows.index, dtype=object)


def speeds(table: pd.DataFrame) -> tuple[Speed, ...]:
    """Sum up each normalizer's time over all layers that were timed, as a multiple of batch norm's."""
    if "step_ms_ratio" not in table:
        return ()
    found = []
    for name, rows in table[table["step_ms_ratio"].notna()].groupby("normalizer", sort=False):
        ratios = [float(ratio) for ratio in rows["step_ms_ratio"] if ratio > 0]
        if ratios:
            mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
            found.append(Speed(str(name), mean, min(ratios), max(ratios), len(ratios)))
    return tuple(found)


def _why_empty(rows: pd.DataFrame) -> str:
    counts = Counter(str(status) for status in rows["status"])
    named = [("no value" if status in MEASURED else status, number) for status, number in counts.items()]
    return ", ".join(status if number == 1 else f"{status} ({number})" for status, number in named)
