"""Cells that are not plainly measured: what became of them, and why."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from normzoo_reports.load import named_replicate, records, telling_apart
from normzoo_reports.plain import printed
from normzoo_reports.tables import conditions
from normzoo_suites import Run
from normzoo_suites.record import FINAL

_PLAIN = ("ok", "waiting")  # what waits is told of where the tuning is
_LOGS, _ALL_LOGS = 3, 40  # of a problem and of a page; more would fill it, and the records have them all

_Cells = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class Log:
    """The end of what a worker printed, and whose it is."""

    who: str
    text: str


@dataclass(frozen=True)
class Problem:
    """Cells that came to the same end for the same reason, and what they printed.

    Attributes:
        status: what became of them.
        reason: why.
        count: how many they are.
        cells: (id, name) pairs by condition.
        logs: the first of their logs, each once.
        more: how many others there are.

    """

    status: str
    reason: str
    count: int
    cells: _Cells
    logs: tuple[Log, ...]
    more: int


def problems(run: Run, table: pd.DataFrame) -> list[Problem]:
    """Group the cells that are not plainly measured by what became of them and why."""
    rows = table[~table["status"].isin(_PLAIN)]
    found, room = list[Problem](), _ALL_LOGS
    for (status, reason), group in rows.groupby(["status", "reason"], sort=False):
        cells = _by_condition(run, table, group)
        logs = _logs(run, cells)
        kept = tuple(logs[: min(_LOGS, room)])
        found.append(Problem(str(status), str(reason), len(group), cells, kept, len(logs) - len(kept)))
        room -= len(kept)
    return found


def _logs(run: Run, by_condition: _Cells) -> list[Log]:
    """Give what cells printed that crashed, timed out or erred; what ran together printed together."""
    whose: dict[str, list[str]] = {}
    for name, cells in by_condition:
        for cell, which in cells:
            record = run.records.get(cell)
            if record is not None and record.status not in FINAL and record.log.strip():
                whose.setdefault(record.log, []).append(f"{name}, {which}")
    return [
        Log(names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else ""), printed(log))
        for log, names in whose.items()
    ]


def _by_condition(run: Run, table: pd.DataFrame, group: pd.DataFrame) -> _Cells:
    names: dict[str, list[tuple[str, str]]] = {}
    for measure, rows in group.groupby("measure", sort=False):
        everyone = table[table["measure"] == measure]
        labels = conditions(rows, ["normalizer", *telling_apart(everyone, run)])
        for row, name in zip(records(rows), labels, strict=True):
            names.setdefault(str(name), []).append((str(row["id"]), named_replicate(row)))
    return tuple((name, tuple(cells)) for name, cells in names.items())
