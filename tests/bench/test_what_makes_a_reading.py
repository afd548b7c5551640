"""What the suites room says of readings, against what a training gives."""

from __future__ import annotations

import pytest

from normzoo_bench import accuracy
from normzoo_suites.metrics import METRICS
from normzoo_suites.readings import missing


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ranks": 4},
        {"ranks": 4, "buffers": "mean"},
        {"ranks": 4, "readings": "all"},
        {"ema": 0.5},
        {"epochs": 2, "frozen_from": 0.5},
        {"stream": "iid"},
        {"probe": "leak"},
        {"ranks": 4, "local_epochs": 1, "buffers": "local", "readings": "all"},
        {"ranks": 4, "local_epochs": 1, "buffers": "mean"},
        {"ranks": 4, "readings": "all", "ema": 0.5, "evaluate_on": "validation"},
        {"stream": "class_ordered", "probe": "leak", "evaluate_on": "validation"},
    ],
    ids=str,
)
def test_batch_norm_gives_exactly_the_metrics_that_its_settings_ask_for(settings, digits, changes):
    """Batch norm has every kind of statistics."""
    asked = settings(train_samples=200, **changes)
    given = set(accuracy.measure(asked, digits).metrics)
    assert given == {metric for metric in METRICS["accuracy"] if not missing(metric, dict(asked))}
