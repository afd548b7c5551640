"""A run as one table: a row per cell, with its settings, its metrics and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pandas as pd

from normzoo_reports import words
from normzoo_suites import Cell, Record, Run
from normzoo_suites.readings import missing
from normzoo_suites.selection import condition, is_tuned
from normzoo_suites.settings import MEASURES

REPLICATES = ("seed", "repeat")
"""What tells repeats of one experiment apart."""

MEASURED = ("ok", "diverged")
"""Statuses that give values; a diverged run counts with chance accuracy."""

_IN_ONE_PROCESS = ("throughput", "model_throughput")
"""Measures whose times leave out what ranks exchange."""


LARGEST = 1e100
"""What is larger is no measurement, and sums and squares of such have no number: it is shown as too large."""


def load_frame(run: Run) -> pd.DataFrame:
    """Give a run's cells as a table, one row each in the order of measuring, the cell's id as index.

    Columns: ``id, measure, status, reason, same_as, unsynchronized, throttled, seconds, raw_samples, too_large,
    command``, every setting, every metric, and ``local_batch`` = batch_size / ranks. ``status`` is the record's;
    without one ``unreadable``, ``missing``, or ``waiting`` for what tunes the cell. ``same_as`` names the cell that is
    the same computation, in words. ``unsynchronized`` marks the timing of a normalizer that pools over ranks, of which
    there is one; ``throttled`` what was slowed down meanwhile. Only measured cells have metrics, without those that
    ``too_large`` names.
    """
    cells = {cell.id: cell for cell in run.cells}
    rows = [_row(run, cell, cells) for cell in run.cells]
    rows += [_row(run, cell, {}) | {"status": "waiting"} for cell in waiting(run)]
    return _diverged_as_chance(_framed(rows))


def load_trials(run: Run) -> pd.DataFrame:
    """Give a run's trials likewise, but for metrics of diverged ones: these count as chance where choices are made."""
    trials = {trial.id: trial for trial in run.trials}
    return _framed([_row(run, trial, trials) for trial in run.trials])


def _framed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    # the table is read cell by cell, which takes an array of strings many times as long as one of objects
    texts: dict[Any, type] = dict.fromkeys(table.select_dtypes("string"), object)
    return table.astype(texts).set_index("id", drop=False)


def waiting(run: Run) -> list[Cell]:
    """Give the cells that wait until what tunes them is chosen.

    They are the suite's, with the tuned settings at their defaults: such a cell is never measured under that id.
    """
    select = run.suite.select
    if select is None or not run.waiting:
        return []
    # by what run.json holds, not by what could be chosen: between the last trial and the first cell the two differ
    resolved = {condition(select, cell) for cell in run.cells if is_tuned(select, cell)}
    return [cell for cell in run.suite.cells() if is_tuned(select, cell) and condition(select, cell) not in resolved]


def tuned(run: Run) -> tuple[str, ...]:
    """Name the settings that each condition has its own best value of, and which therefore tell no conditions apart."""
    return tuple(run.suite.select.grid) if run.suite.select else ()


def telling_apart(rows: pd.DataFrame, run: Run) -> list[str]:
    """Name the settings, besides normalizer, seed, repeat and what is tuned, that tell these rows' conditions apart."""
    return [key for key in varying(rows, settings_of(rows)) if key not in tuned(run)]


def settings_of(rows: pd.DataFrame) -> list[str]:
    """Name the settings of the measures that these rows hold, in the order of their definition."""
    fields = (key for measure in dict.fromkeys(rows["measure"]) for key in MEASURES[measure].model_fields)
    return [key for key in dict.fromkeys(fields) if key in rows]


def varying(rows: pd.DataFrame, settings: Iterable[str]) -> list[str]:
    """Name the settings, besides normalizer, seed and repeat, in which these rows differ."""
    apart = {"normalizer", *REPLICATES}
    return [key for key in settings if key not in apart and rows[key].nunique() > 1]


def replicates(rows: pd.DataFrame) -> Literal["seed", "repeat"]:
    """Name the setting that counts the repeats of these rows' experiments; of several measures, the first one's."""
    return MEASURES[str(rows["measure"].iloc[0])].REPLICATES


def named_replicate(row: Mapping[str, Any]) -> str:
    """Name one cell among the repeats of its experiment: "seed 3"."""
    key = MEASURES[str(row["measure"])].REPLICATES
    return f"{key} {words.show_value(row[key])}"


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Give rows as dicts by column name; a gap, as cells of another measure leave, is not-a-number."""
    names = [str(key) for key in rows]
    # pandas' own to_dict takes some ten times as long
    columns = [rows[key].tolist() for key in rows]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _row(run: Run, cell: Cell, cells: dict[str, Cell]) -> dict[str, Any]:
    record = run.records.get(cell.id)
    status, reason = _status(run, cell, record)
    settings = cell.settings.model_dump()
    held = record.metrics if record and status in MEASURED else {}
    row: dict[str, Any] = {name: value for name, value in held.items() if abs(value) <= LARGEST}
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
        "throttled": bool(record and status in MEASURED and record.conditions.get("throttled")),
        "seconds": record.seconds if record else 0.0,
        "raw_samples": max((len(values) for values in record.samples.values()), default=0) if record else 0,
        "too_large": tuple(name for name, value in held.items() if abs(value) > LARGEST),
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
    if record is None or cell.measure not in _IN_ONE_PROCESS or status not in MEASURED:
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
    """Give diverged rows chance accuracy in every reading that was asked of them and that their normalizer has."""
    diverged = table["status"] == "diverged"
    if not diverged.any() or "accuracy" not in set(table["measure"]):
        return table
    if "chance_accuracy" not in table:  # then nobody knows what they count with
        table["chance_accuracy"] = float("nan")
    if "test_accuracy" not in table:
        table["test_accuracy"] = float("nan")
    for metric in [str(name) for name in table if words.has_chance(str(name))]:
        # some readings exist for some normalizers only: group norm keeps no statistics
        having = set(table.loc[~diverged & table[metric].notna(), "normalizer"])
        rows = diverged & _asked(table, metric) & (metric in _OF_ALL or table["normalizer"].isin(having))
        table.loc[rows, metric] = table.loc[rows, "chance_accuracy"]
    return table


_OF_ALL = ("test_accuracy", "validation_accuracy", "train_accuracy")


def _asked(table: pd.DataFrame, metric: str) -> pd.Series:
    """Tell by row whether its settings ask for a reading."""
    return pd.Series([not missing(metric, row) for row in records(table)], index=table.index)
