"""What was timed or weighed, in few words: which numbers may stand in one table, and the tables of the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from normzoo_reports.load import telling_apart
from normzoo_reports.results import Estimate, Headline
from normzoo_reports.tables import LAYER, conditions, estimate, over_layers, pivot, unsynchronized
from normzoo_suites import Run

APART = {"throughput": "cache", "memory": "find"}
"""By measure, the setting whose values are of different kinds: never in one table or figure."""

_TITLES = {
    ("throughput", "hot"): "time of a layer, hot, as a multiple of batch norm's",
    ("throughput", "cold"): "time of a layer, cold, as a multiple of batch norm's",
    ("model_throughput", ""): "time of a model's step, as a multiple of batch norm's",
    ("memory", "peak"): "memory at the peak of a step, above the model (MiB)",
    ("memory", "largest_batch"): "the largest batch that fits (images)",
    ("sync_cost", ""): "time of a step of all ranks, as a multiple of local batch norm's",
}
MAIN = {
    "throughput": "step_ms_ratio",
    "model_throughput": "model_step_ms_ratio",
    "memory": "peak_mib",
    "sync_cost": "sync_step_ms_ratio",
}
NAMED_BY = {
    "throughput": ["direction", "dtype", "layout"],
    "model_throughput": ["model", "phase"],
    "memory": ["model", "phase"],
    "sync_cost": ["model", "ranks"],
}
"""By measure, what names a condition where there is one only."""


def kinds(table: pd.DataFrame, measure: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the rows of a measure, those that must not meet apart, each with the name of its kind or an empty one."""
    rows = table[table["measure"] == measure]
    key = APART.get(measure)
    if key is None:
        if not rows.empty:
            yield "", rows
        return
    for kind in dict.fromkeys(rows[key]) if key in rows else ():
        yield str(kind), rows[rows[key] == kind]


@dataclass(frozen=True)
class Weighed:
    """The rows of one table of the summary.

    Attributes:
        measure: what was timed or weighed.
        kind: which kind of it, or empty.
        metric: the number shown.
        rows: the cells.
        names: the condition of each, in words.

    """

    measure: str
    kind: str
    metric: str
    rows: pd.DataFrame
    names: pd.Series

    @property
    def sum_up(self) -> Callable[[pd.DataFrame, str], Estimate | str]:
        """What sums up some of the rows: layers by their geometric mean, all else as what it is."""
        return over_layers if self.measure == "throughput" else estimate


def weighed(run: Run, table: pd.DataFrame) -> Iterator[Weighed]:
    """Give what was timed or weighed, by measure and kind; what differs in kind is never averaged."""
    for measure in MAIN:
        for kind, rows in kinds(table, measure):
            metric = "largest_batch" if kind == "largest_batch" else MAIN[measure]
            lumped = LAYER if measure == "throughput" else ()
            keys = [key for key in telling_apart(rows, run) if key not in lumped] or NAMED_BY[measure]
            yield Weighed(measure, kind, metric, rows, conditions(rows, keys))


def costs(run: Run, table: pd.DataFrame) -> tuple[Headline, ...]:
    """Give a table for each measure and kind of what was timed or weighed.

    Over layers there is a mean, with forward and backward, float32 and bfloat16, eager and compiled in columns of their
    own. Models, memory and ranks have a column per condition.
    """
    found = []
    for one in weighed(run, table):
        shown = pivot(one.rows, one.metric, "normalizer", one.names, sum_up=one.sum_up)
        several = any(isinstance(cell, Estimate) and cell.over == "layer" for _, cells in shown.rows for cell in cells)
        title = _TITLES[one.measure, one.kind] + ("; the geometric mean over layers" if several else "")
        found.append(Headline(title, shown, unsynchronized(one.rows)))
    return tuple(found)
