"""Cells that are not plainly measured: what became of them, and why."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from normzoo_reports.load import named_replicate, records, telling_apart
from normzoo_reports.tables import conditions
from normzoo_suites import Run

_PLAIN = ("ok", "waiting")  # what waits is told of where the tuning is


@dataclass(frozen=True)
class Problem:
    """Cells that came to the same end for the same reason; ``cells`` holds (id, name) pairs by condition."""

    status: str
    reason: str
    count: int
    cells: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def problems(run: Run, table: pd.DataFrame) -> list[Problem]:
    """Group the cells that are not plainly measured by what became of them and why."""
    rows = table[~table["status"].isin(_PLAIN)]
    found = []
    for (status, reason), group in rows.groupby(["status", "reason"], sort=False):
        found.append(Problem(str(status), str(reason), len(group), _by_condition(run, table, group)))
    return found


def _by_condition(
    run: Run, table: pd.DataFrame, group: pd.DataFrame
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    names: dict[str, list[tuple[str, str]]] = {}
    for measure, rows in group.groupby("measure", sort=False):
        everyone = table[table["measure"] == measure]
        labels = conditions(rows, ["normalizer", *telling_apart(everyone, run)])
        for row, name in zip(records(rows), labels, strict=True):
            names.setdefault(str(name), []).append((str(row["id"]), named_replicate(row)))
    return tuple((name, tuple(cells)) for name, cells in names.items())
