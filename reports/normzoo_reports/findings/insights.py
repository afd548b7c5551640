"""What measures other than accuracy say of a training: their numbers by normalizer and condition."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from normzoo_reports.load import telling_apart
from normzoo_reports.results import Pivot
from normzoo_reports.tables import conditions, pivot
from normzoo_suites import Run
from normzoo_suites.settings import MEASURES, AccuracySettings, TrainingSettings

TITLES = {"statistics_noise": "Noise of statistics"}
"""By measure, the title of its section."""


@dataclass(frozen=True)
class Insight:
    """One measure: a table per metric that a cell has a value of."""

    measure: str
    title: str
    tables: tuple[Pivot, ...]


def insights(run: Run, table: pd.DataFrame) -> list[Insight]:
    """Give the measures that look into trainings, in the order of their definition."""
    return [
        _insight(run, measure, rows) for measure in _looked_into() if len(rows := table[table["measure"] == measure])
    ]


def _looked_into() -> list[str]:
    return [
        name
        for name, settings in MEASURES.items()
        if issubclass(settings, TrainingSettings) and settings is not AccuracySettings
    ]


def _insight(run: Run, measure: str, rows: pd.DataFrame) -> Insight:
    names = conditions(rows, telling_apart(rows, run))
    # where nothing was measured, the first metric's table says why
    metrics = [one for one in MEASURES[measure].METRICS if one in rows and rows[one].notna().any()]
    tables = tuple(pivot(rows, one, "normalizer", names) for one in metrics or MEASURES[measure].METRICS[:1])
    return Insight(measure, TITLES.get(measure, measure.replace("_", " ").capitalize()), tables)
