"""What virtual ranks cost: a training step of ResNet-20 with its batch cut into ranks, against the same step uncut.

`pytest bench/bench_virtual_ranks.py` prints the median of paired ratios for each number of ranks and each normalizer
that ranks matter to; a ratio above 1 is the time that they cost. On a GPU, if there is one, steps are captured.
"""

from __future__ import annotations

import statistics

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from normzoo_bench import accuracy
from normzoo_bench.data import DataSet
from normzoo_bench.timing import time_pairs
from normzoo_bench.training.trainer import Training
from normzoo_suites.settings import AccuracySettings
from training_steps import CLOCK, DEVICE, noise, step_of

BATCH, STEPS, PAIRS = 256, 4, 9


@pytest.fixture(scope="module")
def images() -> DataSet:
    """Noise for four steps."""
    return noise(BATCH * STEPS)


def training_of(normalizer: str, ranks: int, images: DataSet) -> Training:
    """Give the training of a cell with so many ranks."""
    settings = AccuracySettings(
        normalizer=normalizer, dataset="noise", model="resnet20", epochs=1000, batch_size=BATCH, ranks=ranks,
        device=DEVICE,
    )  # fmt: skip
    training = accuracy.Run(settings, images).training
    assert isinstance(training, Training)  # for mypy: it is federated where ranks train by themselves only
    return training


@pytest.mark.parametrize("ranks", [16, 128])
@pytest.mark.parametrize("normalizer", ["batch_norm", "batch_renorm"])
def bench_virtual_ranks(benchmark: BenchmarkFixture, normalizer: str, ranks: int, images: DataSet) -> None:
    cut, whole = (step_of(training_of(normalizer, count, images)) for count in (ranks, 1))
    pairs = time_pairs(cut, whole, CLOCK, PAIRS)
    ratio = statistics.median(pairs.ratios())
    benchmark.group = f"training step of {BATCH} on {DEVICE}"
    benchmark.extra_info.update({"ratio": ratio, "ranks": ranks, "normalizer": normalizer, "device": DEVICE})
    print(f"\n{normalizer}, {ranks} ranks: {ratio:.3f} times the step with one")
    benchmark.pedantic(cut, rounds=3)  # type: ignore[no-untyped-call]  # it has no types
