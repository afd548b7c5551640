"""Whether the timer can be trusted: it finds no difference where there is none, and a tenth where there is one."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from normzoo_suites.settings import ThroughputSettings
from selection import DEVICE
from timer_trials import ratios

TRIALS = 10
NOTHING = 0.01 if DEVICE == "cuda" else 0.02
"""What a layer may differ from itself."""

CELL = ThroughputSettings(
    normalizer="batch_norm", device=DEVICE, shape="256x56x56" if DEVICE == "cuda" else "64x56x56",
    batch_size=130 if DEVICE == "cuda" else 30,
)  # fmt: skip


@pytest.mark.parametrize(
    ("normalizer", "low", "high"),
    [("batch_norm", 1 - NOTHING, 1 + NOTHING), ("a_tenth_slower", 1.05, 1.15)],
    ids=["against itself", "with a tenth more work"],
)
def bench_timer(benchmark: BenchmarkFixture, normalizer: str, low: float, high: float) -> None:
    found = ratios(normalizer, CELL, TRIALS)
    benchmark.group = f"the timer on {DEVICE}, {TRIALS} fresh processes"
    benchmark.extra_info.update(CELL.model_dump() | {"normalizer": normalizer, "ratios": found})
    print(f"\n{' '.join(f'{ratio:.3f}' for ratio in found)}: {low:g} to {high:g} wanted")
    missed = sum(not low <= ratio <= high for ratio in found)
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[no-untyped-call]  # it has no types
    assert not missed, f"{missed} of {TRIALS} ratios lie outside {low:g} to {high:g}"
