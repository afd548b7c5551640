"""What was timed or weighed, on the page: a section per measure, a table per kind, a row for all repeats of a cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.columns import ASKED, Asked, Column
from normzoo_reports.findings.conditions import Beware, Conditions
from normzoo_reports.findings.costs import APART, NAMED_BY, kinds
from normzoo_reports.load import named_replicate, records, settings_of, telling_apart, tuned
from normzoo_reports.results import Estimate
from normzoo_reports.tables import conditions, estimate, unsynchronized
from normzoo_suites import Run

_REFERENCE = "batch_norm"


@dataclass(frozen=True)
class Row:
    """One normalizer under one condition, all its repeats together.

    Attributes:
        normalizer: its name.
        condition: the settings that vary in the table, in words.
        ratio: against batch norm, or a text that says why there is none.
        values: what stands in the other columns.
        notes: what the ratio rests on.
        unsynchronized: whether its time leaves out the exchange between ranks.
        cells: the ids of the cells that it sums up.
        first: whether it is the first row under this condition.

    """

    normalizer: str
    condition: str
    ratio: Estimate | str
    values: tuple[str, ...]
    notes: str
    unsynchronized: bool
    cells: tuple[str, ...]
    first: bool = False


@dataclass(frozen=True)
class Table:
    """The rows of one kind, the settings that only they share, and what stands beside the ratio, if anything does.

    ``only`` names the condition where there is one alone, and the rows name none.
    """

    name: str
    metric: str
    shared: tuple[tuple[str, str], ...]
    spread: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    only: str = ""


@dataclass(frozen=True)
class Section:
    """One measure: what its numbers are, the settings that all its cells share, what held, and its tables."""

    measure: str
    title: str
    told: str
    shared: tuple[tuple[str, str], ...]
    held: str
    warnings: tuple[Beware, ...]
    tables: tuple[Table, ...]
    note: str


def sections(run: Run, table: pd.DataFrame) -> list[Section]:
    """Give a section for each measure of the run that times or weighs."""
    present = set(table["measure"])
    return [_section(run, table, measure, asked) for measure, asked in ASKED.items() if measure in present]


def _section(run: Run, table: pd.DataFrame, measure: str, asked: Asked) -> Section:
    rows = table[table["measure"] == measure]
    held = Conditions(run, measure)
    apart = ["normalizer", *telling_apart(rows, run)]
    every = zip(records(rows), conditions(rows, apart), strict=True)
    names = {str(row["id"]): f"{label}, {named_replicate(row)}" for row, label in every}
    shared = [key for key in settings_of(rows) if key not in (*apart, "repeat", APART.get(measure), *tuned(run))]
    return Section(
        measure,
        asked.title,
        f"{asked.told} {_repeats(rows, asked)}",
        _told(rows, shared),
        held.everywhere,
        held.warnings(names),
        tuple(_table(run, part, kind, apart) for kind, part in kinds(table, measure)),
        unsynchronized(rows),
    )


def _repeats(rows: pd.DataFrame, asked: Asked) -> str:
    """Say what a number rests on."""
    number = rows["repeat"].nunique()
    if number == 1 and f"{asked.ratio}_p10" not in rows:
        return "Each number is of one process."
    if number == 1:
        return (
            "Shown are the median of one process's samples and, in brackets, their 10th and 90th percentile; another "
            "process may differ by more than they do."
        )
    return (
        f"Shown are means over {number} repeats, each a fresh process, and the 95 % interval of the mean of the ratios "
        "(none below 6 repeats)."
    )


def _table(run: Run, rows: pd.DataFrame, kind: str, apart: Iterable[str]) -> Table:
    """Make one table; ``apart`` are the settings that vary in the whole section."""
    measure = str(rows["measure"].iloc[0])
    asked, vary = ASKED[measure], telling_apart(rows, run)
    alone = [key for key in apart if key not in ("normalizer", APART.get(measure), *vary)]
    main, known = asked.columns_of(kind)
    if main not in rows:
        rows = against_batch_norm(rows, main.removesuffix("_ratio"))
    columns = [column for column in known if column.metric in rows and rows[column.metric].notna().any()]
    names = conditions(rows, vary)
    found: list[Row] = []
    for name, part in rows.groupby(names, sort=False):
        groups = [group for _, group in part.groupby("normalizer", sort=False)]
        made = [_row(str(name), group, main, columns) for group in groups]
        found += [replace(made[0], first=True), *made[1:]]
    heads = tuple(column.head for column in columns)
    only = "" if vary else str(conditions(rows.iloc[:1], NAMED_BY[measure]).iloc[0])
    return Table(asked.names.get(kind, ""), main, _told(rows, alone), _spread(found), heads, tuple(found), only)


def _told(rows: pd.DataFrame, keys: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, words.show_value(rows[key].iloc[0])) for key in keys)


def _row(name: str, group: pd.DataFrame, main: str, columns: Iterable[Column]) -> Row:
    ratio = estimate(group, main)
    if isinstance(ratio, str) and (value := main.removesuffix("_ratio")) in group and group[value].notna().any():
        ratio = "no batch norm to compare with"
    throttled = int(group["throttled"].sum())
    notes = ratio.notes if isinstance(ratio, Estimate) else []
    return Row(
        str(group["normalizer"].iloc[0]),
        name,
        ratio,
        tuple(column.text(group[column.metric].dropna()) for column in columns),
        "; ".join([*notes, *([f"{throttled} throttled" if len(group) > 1 else "throttled"] if throttled else [])]),
        bool(group["unsynchronized"].any()),
        tuple(map(str, group["id"])),
    )


def _spread(rows: Iterable[Row]) -> str:
    """Name what stands beside the ratios of these rows."""
    with_range = [row.ratio for row in rows if isinstance(row.ratio, Estimate) and row.ratio.range]
    kinds_of = {"p10 to p90" if ratio.over == "sample" else "95 % interval" for ratio in with_range}
    return " or ".join(sorted(kinds_of, reverse=True))


def against_batch_norm(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Add a column, a metric's ratio to that of batch norm's cell with the same settings, its repeat among them.

    Of rows without such a cell, and where batch norm's has no value, the ratio is not-a-number.
    """
    if metric not in rows:
        return rows
    keys = [key for key in settings_of(rows) if key != "normalizer"]

    def same(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[key] for key in keys)

    of_reference = {same(row): row[metric] for row in records(rows) if row["normalizer"] == _REFERENCE}
    ratios = [row[metric] / of_reference.get(same(row), float("nan")) for row in records(rows)]
    return rows.assign(**{f"{metric}_ratio": ratios})
