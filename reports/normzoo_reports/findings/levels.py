"""Accuracy by normalizer and condition: which cells a run's own table of it has, and who stands beside whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from normzoo_reports.findings.contest import Contest, Entrant, contest
from normzoo_reports.findings.readings import once
from normzoo_reports.load import records, replicates, telling_apart
from normzoo_reports.tables import conditions
from normzoo_suites import Run


def levels(run: Run, table: pd.DataFrame) -> tuple[pd.DataFrame, str, pd.Series] | None:
    """Give the cells of the summary's accuracy, its metric, and the condition of each; None where none was measured.

    It is accuracy on the test part, or on what ``evaluate_on`` names.
    """
    rows = table[table["measure"] == "accuracy"]
    if rows.empty:
        return None
    metric = "validation_accuracy" if set(rows["evaluate_on"]) == {"validation"} else "test_accuracy"
    rows = once(rows, metric, run)
    return rows, metric, conditions(rows, telling_apart(rows, run))


def contests(run: Run, rows: pd.DataFrame, metric: str, names: pd.Series) -> list[Contest]:
    """Compare the normalizers under each condition; one where none has a value is left out."""
    computations = {cell.id: cell.computation for cell in run.cells}
    found = []
    for name, group in rows.groupby(names, sort=False):
        running = list(entrants(group, metric, computations))
        if any(one.values for one in running):
            found.append(contest(str(name), running))
    return found


def entrants(rows: pd.DataFrame, metric: str, computations: Mapping[str, str]) -> Iterator[Entrant]:
    """Give the normalizers of one condition; several that are the same computation by design enter once.

    No normalizer is better than one that computes the same: a difference of 0 would else stand in the way of naming
    either.
    """
    counted = replicates(rows)
    same: dict[frozenset[tuple[int, str]], list[pd.DataFrame]] = {}
    for _, own in rows.groupby("normalizer", sort=False):
        asked = frozenset((int(row[counted]), computations.get(str(row["id"]), "")) for row in records(own))
        same.setdefault(asked, []).append(own)
    for every in same.values():
        names = tuple(str(own["normalizer"].iloc[0]) for own in every)
        yield _entrant(names, every[0], metric, counted)


def _entrant(names: tuple[str, ...], rows: pd.DataFrame, metric: str, counted: str) -> Entrant:
    told = [row for row in records(rows) if pd.notna(row.get(metric))]
    values = {int(row[counted]): float(row[metric]) for row in told}
    diverged = frozenset(int(row[counted]) for row in told if row["status"] == "diverged")
    return Entrant(names, values, diverged, frozenset(int(seed) for seed in rows[counted]) - values.keys())
