"""What a look into a training costs: each measure of `insights/`, in multiples of the training that it looks into.

`pytest bench/bench_insights.py -s`. A small net on the embedded digits, on one CPU thread: the measure and the plain
training in turn, the median of the ratios of pairs. Cells that share a training pay for it once.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from normzoo_bench import accuracy, data
from normzoo_bench.running.worker import EXACT, INSIGHTS
from normzoo_suites.settings import MEASURES, TrainingSettings, training_of

PAIRS = 5
SMALL: dict[str, Any] = {
    "normalizer": "batch_norm",
    "dataset": "digits",
    "model": "small_convnet",
    "epochs": 2,
    "batch_size": 32,
}
CASES: dict[str, dict[str, Any]] = {
    "statistics_noise": {"samples": 8},
    "train_eval": {},
    "gradients": {},
    "convergence": {},
    "landscape": {},
    "covariate_shift": {},
}


@pytest.mark.parametrize("measure", INSIGHTS)
def bench_a_look_against_its_training(benchmark: BenchmarkFixture, measure: str) -> None:
    torch.set_num_threads(1)
    settings = MEASURES[measure].model_validate(SMALL | CASES[measure])
    assert isinstance(settings, TrainingSettings)
    training, digits = training_of(settings), data.load("digits", "digits")
    assert training is not None
    look = importlib.import_module(INSIGHTS[measure]).measure
    plain, whole = (lambda: accuracy.measure(training, digits)), (lambda: look([settings], digits))
    ratios = [seconds(whole) / seconds(plain) for _ in range(PAIRS + 1)][1:]  # the first of all imports and decodes
    benchmark.extra_info["of_its_training"] = statistics.median(ratios)
    print(f"\n{measure}: {statistics.median(ratios):.2f} times its training ({min(ratios):.2f} to {max(ratios):.2f})")
    benchmark.pedantic(whole, rounds=1)  # type: ignore[no-untyped-call]  # it has no types


@pytest.mark.parametrize("measure", EXACT)
def bench_demonstrations(benchmark: BenchmarkFixture, measure: str) -> None:
    settings = MEASURES[measure].model_validate({"normalizer": "batch_norm", "shows": "running_mean", "batch_size": 8})
    benchmark(importlib.import_module(EXACT[measure]).measure, settings)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
