"""What measures other than accuracy say of a training, or of one layer: their numbers by normalizer and condition."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from normzoo_reports.load import records, telling_apart
from normzoo_reports.results import Pivot
from normzoo_reports.tables import conditions, pivot
from normzoo_suites import Run
from normzoo_suites.readings import missing
from normzoo_suites.settings import MEASURES, AccuracySettings, TimedSettings

TITLES = {
    "statistics_noise": "Noise of statistics",
    "train_eval": "A forgotten eval(), and shifted images",
    "demonstration": "Demonstrations",
    "gradients": "Gradients from layer to layer",
    "convergence": "Steps and learning rates",
    "landscape": "Landscape along the gradient",
    "covariate_shift": "Internal covariate shift",
}
"""By measure, the title of its section."""


@dataclass(frozen=True)
class Insight:
    """One measure: a table per metric that a cell has a value of."""

    measure: str
    title: str
    tables: tuple[Pivot, ...]


def insights(run: Run, table: pd.DataFrame) -> list[Insight]:
    """Give the measures that are neither accuracy nor timed, in the order of their definition."""
    return [
        _insight(run, measure, rows) for measure in _looked_into() if len(rows := table[table["measure"] == measure])
    ]


def _looked_into() -> list[str]:
    return [name for name, settings in MEASURES.items() if not issubclass(settings, AccuracySettings | TimedSettings)]


def _insight(run: Run, measure: str, rows: pd.DataFrame) -> Insight:
    # where nothing was measured, the first metric's table says why
    metrics = [one for one in MEASURES[measure].METRICS if one in rows and rows[one].notna().any()]
    tables = tuple(_table(run, one, rows) for one in metrics or MEASURES[measure].METRICS[:1])
    return Insight(measure, TITLES.get(measure, measure.replace("_", " ").capitalize()), tables)


def _table(run: Run, metric: str, rows: pd.DataFrame) -> Pivot:
    """Give a metric by the conditions that ask for it."""
    asked = rows[[not missing(metric, row) for row in records(rows)]]
    return pivot(asked, metric, "normalizer", conditions(asked, telling_apart(asked, run)))
