"""A suite's figures: drawn with the table of their numbers, or a sentence that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from normzoo_reports import words
from normzoo_reports.drawing.draw import draw
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.panels import Panel
from normzoo_reports.findings.costs import APART, kinds
from normzoo_reports.findings.readings import once
from normzoo_reports.load import records, replicates, telling_apart
from normzoo_reports.results import Pivot
from normzoo_reports.tables import pivot, unsynchronized
from normzoo_suites import Figure, Run

_SERIES = 40


@dataclass(frozen=True)
class Shown:
    """One figure of the page: its drawing, or why there is none; what its marks mean; its numbers."""

    title: str
    drawing: Drawing | None
    why_not: str
    caption: str
    table: Pivot | None


def show_figures(run: Run, table: pd.DataFrame) -> list[Shown]:
    """Draw all figures of the suite; of what must not meet in one, such as hot and cold layers, each by itself."""
    every = [part for figure in run.suite.figures for part in _apart(figure, table)]
    return [show_figure(figure, run, table) for figure in every]


def _apart(figure: Figure, table: pd.DataFrame) -> list[Figure]:
    """Give a figure once for each kind of cells that it would show, as far as any of them has its metric."""
    metric, key = figure.x if figure.kind == "point" else figure.y, APART.get(figure.measure, "")
    asked = table[[all(row[one] in values for one, values in figure.where.items()) for row in records(table)]]
    every = list(kinds(asked, figure.measure))
    found = [kind for kind, rows in every if metric in rows and rows[metric].notna().any()]
    if len(every) < 2 or not found:
        return [figure]
    title = figure.title or _title(figure)
    return [
        figure.model_copy(
            update={"where": figure.where | {key: [kind]}, "title": title if kind == metric else f"{title}, {kind}"}
        )
        for kind in found
    ]


def _title(figure: Figure) -> str:
    value, category = (figure.x, figure.y) if figure.kind == "point" else (figure.y, figure.x)
    return f"{words.label(value)} by {words.label(category)}"


def show_figure(figure: Figure, run: Run, table: pd.DataFrame) -> Shown:
    """Show one figure of the suite, from the run's table."""
    value, category = (figure.x, figure.y) if figure.kind == "point" else (figure.y, figure.x)
    title = figure.title or _title(figure)
    rows = table[table["measure"] == figure.measure]
    named = [key for key in (category, figure.hue, figure.facet, *figure.where) if key]
    unknown = [key for key in named if key not in rows or rows[key].isna().all()]
    if unknown:
        return _not_drawn(title, f"no {figure.measure} cell of this run has a {unknown[0]}")
    for key, values in figure.where.items():
        rows = rows[rows[key].isin(values)]
    if rows.empty:
        return _not_drawn(title, "this run has no cell that it asks for")
    if value not in rows or rows[value].isna().all():
        return _not_drawn(title, f"none of its {words.count(len(rows), 'cell')} has a value of {value}")
    rows = _ordered(once(rows, value, run, named), category, figure)
    series = rows[figure.hue].nunique()
    if series > _SERIES:
        return _not_drawn(title, f"{series} series are more than a figure can tell apart; the tables have them")
    lumped = _lumped(rows, [key for key in (category, figure.hue, figure.facet) if key], run)
    panel = Panel(figure.kind, value, category, figure.hue, figure.facet, repeats=not lumped)
    caption = f"{_caption(rows, panel, lumped)} {unsynchronized(rows)}".rstrip()
    return Shown(title, Drawing(title, partial(draw, panel, rows)), "", caption, _numbers(rows, panel))


def _not_drawn(title: str, why: str) -> Shown:
    return Shown(title, None, f"Not drawn: {why}.", "", None)


def _ordered(rows: pd.DataFrame, category: str, figure: Figure) -> pd.DataFrame:
    """Put numbers in their order and leave names in the suite's."""
    keys = [key for key in (figure.facet, category) if key and pd.api.types.is_numeric_dtype(rows[key])]
    return rows.sort_values(keys, kind="stable") if keys else rows


def _numbers(rows: pd.DataFrame, panel: Panel) -> Pivot:
    """Give the figure's table: series down, and across what else it tells apart."""
    across = [key for key in (panel.facet, panel.category) if key and key != panel.hue]
    names = [", ".join(_name(row, key, across) for key in across) for row in records(rows)]
    by = words.label(across[0]) if len(across) == 1 else ""
    return pivot(rows, panel.value, panel.hue, pd.Series(names, index=rows.index, dtype=object), by)


def _name(row: dict[str, Any], key: str, across: list[str]) -> str:
    value = words.show_value(row[key])
    # one key alone stands in the table's head
    return value if len(across) == 1 or isinstance(row[key], str) else f"{words.label(key)} {value}"


def _lumped(rows: pd.DataFrame, shown: list[str], run: Run) -> list[str]:
    """Name what the suite varies and the figure does not tell apart."""
    groups = [group for _, group in rows.groupby(shown, sort=False)]
    return sorted({key for group in groups for key in telling_apart(group, run)})


def _caption(rows: pd.DataFrame, panel: Panel, lumped: list[str]) -> str:
    """Say what a mark and its bar are."""
    if lumped:
        return f"Marks are means over cells that differ in {', '.join(lumped)}, and so have no interval."
    counted = replicates(rows)
    if f"{panel.value}_p10" in rows and rows[counted].nunique() == 1:
        medians = "Marks are medians of one process's samples"
        # only points have a line of their own; lines and bars would hide their neighbours'
        drawn = (
            "lines span their 10th to 90th percentile" if panel.kind == "point" else "the table has their percentiles"
        )
        return f"{medians}, {drawn}."
    if rows[counted].nunique() == 1:
        return "Each mark is the value of one cell."
    return f"Marks are means over {counted}s, lines their 95 % intervals (each for itself; none below 6 {counted}s)."
