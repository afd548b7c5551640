"""Every number that a measure gives: what claims and figures may speak of."""

from __future__ import annotations

from normzoo_suites.settings import MEASURES

METRICS: dict[str, tuple[str, ...]] = {measure: settings.METRICS for measure, settings in MEASURES.items()}
"""By measure, the metrics of its records."""


def measure_of(metric: str) -> str | None:
    """Name the measure that gives a metric, or None where none does."""
    return next((measure for measure, metrics in METRICS.items() if metric in metrics), None)
