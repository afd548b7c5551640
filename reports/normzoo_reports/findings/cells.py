"""Every cell with its settings, its numbers and the command that measures it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.conditions import Conditions
from normzoo_reports.load import (
    load_trials,
    named_replicate,
    records,
    replicates,
    settings_of,
    telling_apart,
    tuned,
    varying,
)
from normzoo_reports.tables import conditions, unsynchronized
from normzoo_suites import Run

_TRAIN_ACCURACY = (
    "train_accuracy is the running accuracy of the last epoch: each batch is counted in training mode, before the step "
    "that it makes."
)
_TRIALS = "Trained before, on a part of the training part, to tune the cells above."


@dataclass(frozen=True)
class Condition:
    """Everything measured under one condition: the settings that vary in the run, and each cell with what it gave."""

    name: str
    normalizer: str
    settings: tuple[tuple[str, str], ...]
    cells: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Again:
    """All cells of a measure: what to know of their numbers, the settings they share, and where they differ."""

    measure: str
    note: str
    shared: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]


def again(run: Run, table: pd.DataFrame, each: bool) -> list[Again]:
    """Give every cell with its settings, its numbers and its command, by measure and condition.

    Cells that wait are left out: neither their settings nor their ids are those under which they will be measured.
    Only where ``each`` cell is to be told are there conditions.
    """
    found = []
    for measure, rows in table[table["status"] != "waiting"].groupby("measure", sort=False):
        differ = telling_apart(rows, run)
        made = _conditions(rows, differ, run) if each else []
        shared = _told(rows, [key for key in _settings(rows) if key not in ("normalizer", *differ, *tuned(run))])
        found.append(Again(str(measure), _note(rows), shared, tuple(made)))
    return found


def tried(run: Run, each: bool) -> list[Again]:
    """Give the trials that tuned the cells likewise; what was tried tells their conditions apart."""
    if not run.trials:
        return []
    rows = load_trials(run)
    differ = varying(rows, settings_of(rows))
    made = _conditions(rows, differ, run) if each else []
    shared = _told(rows, [key for key in _settings(rows) if key not in ("normalizer", *differ)])
    return [Again("trials", _TRIALS, shared, tuple(made))]


def _settings(rows: pd.DataFrame) -> list[str]:
    return [key for key in settings_of(rows) if key != replicates(rows)]


def _conditions(rows: pd.DataFrame, differ: list[str], run: Run) -> list[Condition]:
    own = [key for key in _settings(rows) if key in tuned(run) and key not in differ]
    made, held = [], Conditions(run, str(rows["measure"].iloc[0]))
    for name, group in rows.groupby(conditions(rows, ["normalizer", *differ]), sort=False):
        cells = tuple(_cell(row, run) | {"held": held.own(str(row["id"]))} for row in records(group))
        normalizer = str(group["normalizer"].iloc[0])
        made.append(Condition(str(name), normalizer, _told(group, ["normalizer", *differ, *own]), cells))
    return made


def _note(rows: pd.DataFrame) -> str:
    running = "train_accuracy" in rows and rows["train_accuracy"].notna().any()
    return _TRAIN_ACCURACY if running else unsynchronized(rows)


def _told(rows: pd.DataFrame, keys: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, words.show_value(rows[key].iloc[0])) for key in keys)


def _cell(row: dict[str, Any], run: Run) -> dict[str, Any]:
    cell_id = str(row["id"])
    record = run.records.get(cell_id)
    numbers = record.metrics if record else {}
    return {
        "id": cell_id,
        "name": named_replicate(row),
        "status": str(row["status"]),
        "same_as": str(row["same_as"]),
        "seconds": f"{row['seconds']:.2f} s" if record else "",
        # local_batch stands among the settings' words already, and a shared record holds another cell's
        "metrics": ", ".join(f"{key} {value:.5g}" for key, value in numbers.items() if key != "local_batch"),
        "command": str(row["command"]),
    }
