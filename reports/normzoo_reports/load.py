"""A run as one table: a row per cell, with its settings, its metrics and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from normzoo_reports import words
from normzoo_suites import Cell, Record, Run

MEASURED = ("ok", "diverged")
"""Statuses that give values; a diverged run counts with chance accuracy."""


def load_frame(run: Run) -> pd.DataFrame:
    """Give a run's cells as a table, one row each in the order of measuring, the cell's id as index.

    Columns: ``id, measure, status, reason, same_as, unsynchronized, seconds, raw_samples, command``, every setting,
    every metric, and ``local_batch`` = batch_size / ranks. ``status`` is the record's, or ``unreadable`` or ``missing``
    without one. ``same_as`` names the cell that is the same computation, in words. ``unsynchronized`` marks the timing
    of a normalizer that pools over ranks, of which there is one. Only measured cells have metrics.
    """
    cells = {cell.id: cell for cell in run.cells}
    table = pd.DataFrame([_row(run, cell, cells) for cell in run.cells])
    return _diverged_as_chance(table.set_index("id", drop=False))


def settings_of(rows: pd.DataFrame, run: Run) -> list[str]:
    """Name the settings of the measures that these rows hold, in the order of their definition."""
    measures = set(rows["measure"])
    fields = (key for cell in run.cells if cell.measure in measures for key in type(cell.settings).model_fields)
    return [key for key in dict.fromkeys(fields) if key in rows]


def varying(rows: pd.DataFrame, settings: Iterable[str]) -> list[str]:
    """Name the settings, besides normalizer and seed, in which these rows differ."""
    return [key for key in settings if key not in ("normalizer", "seed") and rows[key].nunique() > 1]


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Give rows as dicts by column name; a gap, as cells of another measure leave, is not-a-number."""
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _row(run: Run, cell: Cell, cells: dict[str, Cell]) -> dict[str, Any]:
    record = run.records.get(cell.id)
    status, reason = _status(run, cell, record)
    settings = cell.settings.model_dump()
    row: dict[str, Any] = dict(record.metrics) if record and status in MEASURED else {}
    row |= settings
    if "ranks" in settings:
        # not the record's own: a cell that is the same computation as another has that one's record
        row["local_batch"] = settings["batch_size"] / settings["ranks"]
    return row | {
        "id": cell.id,
        "measure": cell.measure,
        "status": status,
        "reason": reason,
        "same_as": _same_as(cell, cells),
        "unsynchronized": _unsynchronized(cell, record, status),
        "seconds": record.seconds if record else 0.0,
        "raw_samples": max((len(values) for values in record.samples.values()), default=0) if record else 0,
        "command": record.command if record else "",
    }


def _status(run: Run, cell: Cell, record: Record | None) -> tuple[str, str]:
    if record is not None:
        return record.status, record.reason
    file = f"{cell.same_as or cell.id}.json"
    if file in run.unreadable:
        return "unreadable", run.unreadable[file]
    return ("skipped", cell.skip) if cell.skip else ("missing", "")


def _unsynchronized(cell: Cell, record: Record | None, status: str) -> bool:
    if record is None or cell.measure != "throughput" or status not in MEASURED:
        return False
    return "rank" in (record.card.get("pools") or ())


def _same_as(cell: Cell, cells: dict[str, Cell]) -> str:
    if cell.same_as is None:
        return ""
    if cell.same_as not in cells:
        return f"cell {cell.same_as}"
    mine, other = cell.settings.model_dump(), cells[cell.same_as].settings.model_dump()
    return words.condition(other, [key for key in other if other[key] != mine.get(key)])


def _diverged_as_chance(table: pd.DataFrame) -> pd.DataFrame:
    """Give diverged rows chance accuracy in every reading that their normalizer has."""
    if "chance_accuracy" not in table:
        return table
    diverged = table["status"] == "diverged"
    for metric in [name for name in table if words.is_share(str(name)) and name != "chance_accuracy"]:
        # readings beside the two that every run has exist for some normalizers only
        having = set(table.loc[~diverged & table[metric].notna(), "normalizer"])
        everyone = metric in ("test_accuracy", "train_accuracy")
        rows = diverged & (everyone | table["normalizer"].isin(having))
        table.loc[rows, metric] = table.loc[rows, "chance_accuracy"]
    if diverged.any() and "test_accuracy" not in table:
        table["test_accuracy"] = table["chance_accuracy"].where(diverged)
    return table
