"""A run read and boiled down: what both the page and the terminal start from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.costs import costs
from normzoo_reports.findings.levels import levels
from normzoo_reports.findings.overview import overview
from normzoo_reports.findings.tuning import headlines
from normzoo_reports.findings.verdicts import judge
from normzoo_reports.load import load_frame, waiting
from normzoo_reports.results import Pivot, Summary
from normzoo_reports.tables import pivot
from normzoo_suites import Run, SuiteError, read_run


def read(folder: str | Path) -> Run:
    """Read a run folder that has something to show.

    Raises:
        SuiteError: when it is no run folder, or none of its cells and trials has a readable record.

    """
    run = read_run(folder)
    if run.records and (run.cells or waiting(run)):
        return run
    first = next(iter(run.unreadable.values()), "")
    why = f"{len(run.unreadable)} cannot be read ({first})" if first else "nothing is measured yet"
    raise SuiteError(f"{folder} has no record to report: {why}; `normzoo run {run.suite.name} --out {folder}` measures")


def summarize(run: Run, table: pd.DataFrame | None = None) -> Summary:
    """Boil a run down to a few rows."""
    table = load_frame(run) if table is None else table
    own = table[table["same_as"] == ""]
    return Summary(
        suite=run.suite.name,
        question=run.suite.question,
        accuracy=accuracy(run, table),
        costs=costs(run, table),
        verdicts=tuple(judge(run, table)),
        look=words.looked(run.looks, run.suite.replicates) if run.suite.claims else "",
        tuning=headlines(run),
        statuses={str(status): int(count) for status, count in own["status"].value_counts().items()},
        same=len(table) - len(own),
        overview=overview(run, table),
    )


def accuracy(run: Run, table: pd.DataFrame) -> Pivot | None:
    """Give accuracy on the test part, or on what ``evaluate_on`` names, by normalizer and condition, or None."""
    found = levels(run, table)
    return pivot(found[0], found[1], "normalizer", found[2]) if found else None
