"""Each normalizer of the zoo and each of its rivals by itself, under pytest-benchmark.

For absolute times, one implementation after the other; `bench_ratios.py` has the comparisons, whose times are paired.
Results are checked against float64 before they are timed.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cases import Case, Direction, step_of
from check import fault
from normzoo_bench.timing import synchronized_time
from rivals import IMPLEMENTATIONS, Implementation
from selection import identify, selected

SOME = ["64x56x56", "16x8x8", "256"]
pytestmark = [
    pytest.mark.benchmark(min_rounds=3, max_time=0.1, disable_gc=True, timer=synchronized_time),
    # one that fails before it is timed has said why
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used at all"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the cases from the options."""
    metafunc.parametrize("case", selected(metafunc.config, SOME), ids=identify)
    # those that compute the same follow one another, and share a float64 reference
    grouped = sorted(IMPLEMENTATIONS.values(), key=lambda one: one.computes)
    metafunc.parametrize("implementation", grouped, ids=str)
    metafunc.parametrize("direction", ["forward", "forward_backward", "eval"])


def bench_layer(benchmark: BenchmarkFixture, implementation: Implementation, case: Case, direction: Direction) -> None:
    if reason := implementation.missing(case) or fault(implementation, case, direction != "eval"):
        pytest.skip(reason) if not implementation.ours else pytest.fail(reason)
    step = step_of(implementation.make(case), case, direction)
    step()  # compiles, tunes, and fills what is filled once
    benchmark.group = f"{direction} {identify(case)}"
    benchmark.extra_info.update(
        case.told()
        | {"implementation": implementation.name, "normalizer": implementation.computes, "direction": direction}
    )
    benchmark(step)
