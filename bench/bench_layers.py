"""`pytest bench/`: each normalizer's forward and backward pass under pytest-benchmark."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import normzoo
from normzoo_bench.throughput import layer_step
from normzoo_bench.timing import Step
from normzoo_suites.settings import ThroughputSettings

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("shape", ["64x56x56", "256x14x14"])
@pytest.mark.parametrize("direction", ["forward", "forward_backward", "eval"])
@pytest.mark.parametrize("normalizer", normzoo.names())
def bench_layer(benchmark: BenchmarkFixture, normalizer: str, direction: str, shape: str) -> None:
    settings = ThroughputSettings.model_validate(
        {"normalizer": normalizer, "direction": direction, "shape": shape, "batch_size": 32, "device": DEVICE}
    )
    torch.set_num_threads(settings.threads)
    step = layer_step(settings)
    benchmark.group = f"{direction} {shape}"
    benchmark(_synchronized(step) if DEVICE == "cuda" else step)


def _synchronized(step: Step) -> Step:
    def run() -> None:
        step()
        torch.cuda.synchronize()

    return run
