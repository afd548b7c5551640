"""What a run found, in a few sentences: which normalizer, by how much, how sure. Never surer than its numbers are."""

from __future__ import annotations

import pandas as pd

from normzoo_reports.findings.paces import paces
from normzoo_reports.findings.standings import standings
from normzoo_reports.results import Overview
from normzoo_suites import Run

MOST = 6
"""Sentences on the first screen."""

_COSTS = 2  # of them that costs have for themselves


def overview(run: Run, table: pd.DataFrame) -> Overview:
    """Say what a run found; ``table`` is from ``load_frame``."""
    accuracy, how = standings(run, table)
    costs, how_timed = paces(run, table)
    for_costs = min(len(costs), max(_COSTS, MOST - len(accuracy)))
    for_accuracy = MOST - for_costs
    shown = (*accuracy[:for_accuracy], *costs[:for_costs])
    return Overview(shown, (*accuracy[for_accuracy:], *costs[for_costs:]), (*how, *how_timed))
