"""The readings of one trained net side by side: with running, population and batch statistics, and with other weights.

Cells that differ only in how the net is read are one training; each reading takes it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from normzoo_reports import words
from normzoo_reports.load import MEASURED, records, telling_apart
from normzoo_reports.plain import isolated
from normzoo_reports.results import Estimate, Pivot
from normzoo_reports.statistics.signs import interval
from normzoo_reports.tables import conditions, estimate
from normzoo_suites import Run
from normzoo_suites.settings import AccuracySettings

READINGS = (
    "test_accuracy",
    "test_accuracy_mean_buffers",
    "test_accuracy_population",
    "test_accuracy_batch",
    "test_accuracy_grouped",
    "test_accuracy_frozen",
    "test_accuracy_ema",
)
STREAM = ("stream_accuracy", "stream_accuracy_batch", "stream_accuracy_momentum", "stream_accuracy_adabn")
GAP = "train_eval_gap"
_PLAIN = {"test_accuracy": "running statistics", "stream_accuracy": "as trained"}
_EXPLAINED = {
    "test_accuracy": "running statistics are the moving averages of training, as the setting buffers keeps them",
    "test_accuracy_mean_buffers": "mean buffers are the mean of all ranks' moving averages",
    "test_accuracy_population": "population statistics are computed anew, over training data",
    "test_accuracy_batch": "batch statistics are those of the tested batch itself",
    "test_accuracy_grouped": "batches of one class are read with their own statistics, which may tell the label",
    "test_accuracy_frozen": "frozen statistics are of a branch of the training that went on without moving them",
    "test_accuracy_ema": "averaged weights are a moving average of the weights themselves",
}

_OF_THE_READER = (
    *AccuracySettings.READ_AFTERWARDS,
    "readings",
    "frozen_from",
    "ema",
)  # no training depends on these settings
_OF_A_STREAM = ("stream", "corruption", "stream_momentum", "eval_batch_size")
_SET_BY: dict[str, tuple[str, ...]] = {
    "test_accuracy_batch": ("eval_batch_size",),
    "test_accuracy_grouped": ("eval_batch_size",),
    "label_leak": ("eval_batch_size",),
    "gradient_footprint": ("eval_batch_size",),
    GAP: ("eval_batch_size",),
    "test_accuracy_frozen": ("frozen_from",),
    "test_accuracy_ema": ("ema",),
} | dict.fromkeys(STREAM, _OF_A_STREAM)
"""By reading, those of them that it depends on."""


class _Column(NamedTuple):
    """One reading, under one value of the setting that it depends on (NaN where it depends on none)."""

    name: str
    metric: str
    rows: pd.DataFrame


@dataclass(frozen=True)
class Readings:
    """One condition: a table with a row per normalizer and a column per reading, and which are highest and lowest."""

    condition: str
    table: Pivot
    found: tuple[str, ...]


def readings(run: Run, table: pd.DataFrame) -> list[Readings]:
    """Give the readings by condition; nothing where running statistics are all that was read."""
    rows = table[table["measure"] == "accuracy"]
    present = [metric for metric in (*READINGS, GAP) if metric in rows and rows[metric].notna().any()]
    if len(present) < 2:
        return []
    apart = [key for key in telling_apart(rows, run) if key not in _OF_THE_READER]
    names = conditions(rows, apart)
    made = [_condition(str(name), group, present) for name, group in rows.groupby(names, sort=False)]
    return [one for one in made if one.table.rows]


def streams(run: Run, table: pd.DataFrame) -> list[Readings]:
    """Give what the nets came to on each stream, with each kind of statistics; nothing where none met a stream."""
    rows = table[(table["measure"] == "accuracy") & (table["stream"] != "none")] if "stream" in table else table[:0]
    present = [metric for metric in STREAM if metric in rows and rows[metric].notna().any()]
    if not present:
        return []
    apart = [key for key in telling_apart(rows, run) if key not in _OF_THE_READER]
    names = conditions(rows, apart) + [_stream(row, ", " if apart else "") for row in records(rows)]
    return [_condition(str(name), group, present, least=1) for name, group in rows.groupby(names, sort=False)]


def _stream(row: dict[str, Any], before: str) -> str:
    """Name a stream: "class_ordered, noise, batches of 64, momentum 0.1"."""
    corrupted = "clean" if row["corruption"] == "none" else row["corruption"]
    sizes = {0: "batches as in training", 1: "one sample at a time"}
    size = sizes.get(row["eval_batch_size"], f"batches of {row['eval_batch_size']}")
    return f"{before}{row['stream']}, {corrupted}, {size}, momentum {row['stream_momentum']:g}"


def explained(table: pd.DataFrame) -> str:
    """Say what the readings that were made are."""
    made = [text for metric, text in _EXPLAINED.items() if metric in table and table[metric].notna().any()]
    return "; ".join(made)


def once(rows: pd.DataFrame, metric: str, run: Run, keep: Iterable[str] = ()) -> pd.DataFrame:
    """Give each training once for a metric: of the cells that only read it in other ways, one that has a value.

    ``keep`` names settings that are to stay apart all the same.
    """
    kept = {*keep, *_SET_BY.get(metric, ())}
    apart = [key for key in telling_apart(rows, run) if key not in _OF_THE_READER or key in kept]
    return _once(rows, metric, ["normalizer", "seed", *apart]) if "seed" in rows else rows


def _once(rows: pd.DataFrame, metric: str, keys: Sequence[str]) -> pd.DataFrame:
    valued = rows[rows[metric].notna()] if metric in rows else rows.iloc[:0]
    chosen = pd.concat([valued, rows.drop(valued.index)]).drop_duplicates(subset=list(keys))
    return rows.loc[rows.index.isin(chosen.index)]


def _condition(name: str, rows: pd.DataFrame, metrics: Sequence[str], least: int = 2) -> Readings:
    """Make a condition's table of the normalizers that have so many readings at least."""
    columns = [column for metric in metrics for column in _columns(rows, metric)]
    lines, found = [], dict[str, list[str]]()
    for normalizer in dict.fromkeys(rows["normalizer"]):
        parts = [column._replace(rows=column.rows[column.rows["normalizer"] == normalizer]) for column in columns]
        cells = tuple(_cell(part) for part in parts)
        if sum(isinstance(cell, Estimate) for cell in cells) >= least:  # one alone stands in the other tables
            lines.append((words.show_value(normalizer), cells))
            found.setdefault(_extremes(parts), []).append(isolated(str(normalizer)))
    table = Pivot(
        "stream_accuracy" if metrics[0] in STREAM else "test_accuracy",
        "reading",
        tuple(column.name for column in columns),
        tuple(lines),
    )
    return Readings(name, table, tuple(f"{', '.join(whose)}: {said}." for said, whose in found.items() if said))


def _columns(rows: pd.DataFrame, metric: str) -> list[_Column]:
    having = rows[rows[metric].notna()]
    if having.empty:
        return []
    key = "" if metric in STREAM else next(iter(_SET_BY.get(metric, ())), "")  # a stream's settings are its condition's
    if not key:
        return [_Column(_name(metric, ""), metric, _once(rows, metric, ["normalizer", "seed"]))]
    values = sorted(having[key].unique())
    return [
        _Column(_name(metric, _told(key, value, alone=len(values) == 1)), metric, _once_of(rows, metric, key, value))
        for value in values
    ]


def _once_of(rows: pd.DataFrame, metric: str, key: str, value: float) -> pd.DataFrame:
    return _once(rows[rows[key] == value], metric, ["normalizer", "seed"])


def _name(metric: str, told: str) -> str:
    name = _PLAIN.get(metric) or words.label(metric)
    return name.removeprefix("test accuracy, ").removeprefix("accuracy on the stream, ") + told


def _told(key: str, value: float, alone: bool) -> str:
    """Say under which setting a reading was made."""
    if key == "frozen_from":
        return f" from {100 * value:g} % of training"
    if key == "ema":
        return f", decay {value:g}"
    if value:
        return f" of {words.count(int(value), 'sample')}"
    return "" if alone else ", as in training"


def _cell(column: _Column) -> Estimate | str:
    rows = column.rows
    if rows.empty:
        return ""
    lacking = rows[column.metric].isna().all() and rows["status"].isin(MEASURED).all()
    return "" if lacking else estimate(rows, column.metric)  # a normalizer without statistics lacks most readings


def _extremes(columns: Sequence[_Column]) -> str:
    """Say which reading is highest and which lowest, where its paired interval against every other one says so."""
    named = {}
    for column in columns:
        plain = column.rows[(column.rows["status"] == "ok") & column.rows[column.metric].notna()]
        if column.metric != GAP and not plain.empty:
            named[column.name] = dict(zip(plain["seed"], plain[column.metric].astype(float), strict=True))
    highest = [name for name in named if all(_above(named[name], named[other]) for other in named if other != name)]
    lowest = [name for name in named if all(_above(named[other], named[name]) for other in named if other != name)]
    if len(named) < 2 or not (highest or lowest):
        return ""
    told = [f"{word} with {names[0]}" for word, names in (("highest", highest), ("lowest", lowest)) if names]
    return ", ".join(told)


def _above(one: dict[int, float], other: dict[int, float]) -> bool:
    found = interval([one[seed] - other[seed] for seed in one if seed in other])
    return found is not None and found[0] > 0
