"""What a run brings to a leaderboard: its values by normalizer and condition, apart by data and machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from normzoo_reports.findings.costs import MAIN, kinds
from normzoo_reports.findings.readings import once
from normzoo_reports.load import REPLICATES, tuned
from normzoo_reports.publishing.entries import Board, Row
from normzoo_reports.results import Estimate
from normzoo_reports.tables import estimate
from normzoo_suites import Cell, Run

_CONTROL = "none"
_UNTUNED = "Levels compare defaults at one common learning rate, not each normalizer at its best."
_VERSIONS = ("torch", "cuda", "driver", "code")
"""What of an environment, besides the hardware, can move a number by itself."""


def boards(run: Run, table: pd.DataFrame) -> tuple[Board, ...]:
    """Give the boards of a run.

    A board is of one measure and kind, data set, model and hardware, and full: under each of its conditions the same
    normalizers were measured. So places in it are fair, and none follows from what was left out.
    """
    homes = hardware(run)
    cells = {cell.id: cell for cell in run.cells}
    found = []
    for measure, kind, metric, rows in _parts(run, table):
        mine = rows.assign(
            _home=[homes[str(name)] for name in rows["id"]],
            _on=[_on(cells[str(name)]) for name in rows["id"]],
            _condition=[_condition(cells[str(name)], run) for name in rows["id"]],
        )
        for (home, _), group in mine.groupby(["_home", "_on"], sort=False):
            for part in _full(group):
                found.append(_board(run, part, measure, kind, metric, str(home)))
    return tuple(found)


def hardware(run: Run) -> dict[str, str]:
    """Name the processor of each cell; one that was measured nowhere goes with most of the others."""
    homes = {cell.id: _processor(run, cell.id) for cell in run.cells}
    common = Counter(filter(None, homes.values())).most_common(1)
    return {name: home or (common[0][0] if common else "") for name, home in homes.items()}


def _processor(run: Run, name: str) -> str:
    record = run.records.get(name)
    if record is None or not record.environment:
        return ""
    facts = record.environment
    if record.settings.get("device") == "cuda" and facts.get("gpu"):
        return str(facts["gpu"])
    cores = facts.get("cores")
    return str(facts.get("cpu") or "CPU") + (f", {cores} cores" if cores else "")


def _parts(run: Run, table: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Give measure, kind, metric and rows of what can be compared; what waits for its tuning has no id yet."""
    table = table[table["status"] != "waiting"]
    rows = table[table["measure"] == "accuracy"]
    if not rows.empty:
        metric = "validation_accuracy" if set(rows["evaluate_on"]) == {"validation"} else "test_accuracy"
        yield "accuracy", "", metric, once(rows, metric, run)
    for measure, metric in MAIN.items():
        for kind, every in kinds(table, measure):
            # the control is no normalizer, and a time that leaves out the exchange earns no place
            rows = every[(every["normalizer"] != _CONTROL) & ~every["unsynchronized"]]
            if rows.empty:
                continue
            yield measure, kind, "largest_batch" if kind == "largest_batch" else metric, rows


def _on(cell: Cell) -> str:
    settings = cell.settings.model_dump()
    return json.dumps([settings.get("dataset"), settings.get("model")])


def _condition(cell: Cell, run: Run) -> str:
    """Give a condition as JSON: its settings but those at their defaults, as in a cell's id."""
    # not from the table: there a whole number of one measure is a float beside another measure's gap
    left = {"normalizer", *REPLICATES, *tuned(run)}
    return json.dumps(cell.settings.model_dump(exclude_defaults=True, exclude=left), sort_keys=True)


def _full(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Cut rows into parts within which the same normalizers were measured under every condition."""
    present = {str(name): tuple(sorted(set(group["normalizer"]))) for name, group in rows.groupby("_condition")}
    whose = rows["_condition"].map(present)
    for normalizers in dict.fromkeys(whose):
        yield rows[[one == normalizers for one in whose]]


def _board(run: Run, rows: pd.DataFrame, measure: str, kind: str, metric: str, home: str) -> Board:
    columns = list(dict.fromkeys(rows["_condition"]))
    lines = []
    for normalizer in dict.fromkeys(rows["normalizer"]):
        mine = rows[rows["normalizer"] == normalizer]
        values = tuple(_value(mine[mine["_condition"] == column], metric) for column in columns)
        lines.append(Row(normalizer=str(normalizer), values=values))
    return Board(
        measure=measure,
        kind=kind,
        metric=metric,
        hardware=home,
        data=_data(run, rows),
        versions=_versions(run, rows),
        tuned=tuned(run),
        note=_UNTUNED if measure == "accuracy" and run.suite.select is None else "",
        conditions=tuple(json.loads(column) for column in columns),
        rows=tuple(lines),
    )


def _value(rows: pd.DataFrame, metric: str) -> Estimate | str:
    found = estimate(rows, metric)
    # which cells it rests on is told where they are
    return found if isinstance(found, str) else replace(found, cells=())


def _data(run: Run, rows: pd.DataFrame) -> tuple[str, ...]:
    """Give the fingerprints of the data: one name may stand for two sets of images."""
    found = {run.records[str(name)].data_fingerprint for name in rows["id"] if str(name) in run.records}
    return tuple(sorted(filter(None, found)))


def _versions(run: Run, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    facts = [run.records[str(name)].environment for name in rows["id"] if str(name) in run.records]
    told = {key: tuple(sorted({str(one[key]) for one in facts if one.get(key)})) for key in _VERSIONS}
    return {key: values for key, values in told.items() if values}
