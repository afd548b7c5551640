"""The zoo against its rivals, forward and backward, in paired samples: the rows of the table that comes last.

Candidate and rival alternate in one process (`normzoo_bench.timing.time_pairs`), so that a machine that slows down
slows both. pytest-benchmark times the candidate too, a few rounds, and keeps the row in its JSON as `extra_info`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import normzoo
from cases import LAYOUTS, Case, paired, saved, step_of
from check import fault
from normzoo_bench.speed.limit import copy_bytes_per_ms, fewest_passes
from normzoo_bench.timing import Pairs, Step, warm_up
from ratios import Row, Rows
from rivals import IMPLEMENTATIONS, Implementation
from selection import identify, selected

SOME = ["64x56x56", "2048x7x7", "16x8x8"]
FASTER = ", its faster layout"
COMPARED = {
    "batch_renorm": ["nn.BatchNorm2d", "naive batch_renorm", "compiled naive batch_renorm", "torchrl", "keras"],
    "batch_norm": ["nn.BatchNorm2d"],
    "sync_batch_norm": ["nn.BatchNorm2d"],
    "group_norm": ["nn.GroupNorm" + FASTER, "liger-kernel"],
    "layer_norm": ["nn.GroupNorm(1)" + FASTER, "liger-kernel(1)"],
    "layer_norm_channels": [
        "F.layer_norm" + FASTER,
        "F.layer_norm",
        "F.layer_norm and back",
        "liger-kernel by permute",
    ],
}
MOVED = ["F.layer_norm", "F.layer_norm and back"]  # where channels are last already, these are its faster layout


# one that fails before it is timed has said why
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used at all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the cases from the options."""
    triples = [
        pytest.param(case, candidate, rival, id=f"{identify(case)}-{candidate}-{rival}")
        for case in selected(metafunc.config, SOME)
        for candidate, rivals in COMPARED.items()
        for rival in rivals
        if rival not in MOVED or (case.layout == "contiguous" and "x" in case.shape)
    ]
    metafunc.parametrize(("case", "candidate", "rival"), triples)


def bench_ratio(benchmark: BenchmarkFixture, rows: Rows, candidate: str, rival: str, case: Case) -> None:
    name = rival.removesuffix(FASTER)
    ours, theirs = IMPLEMENTATIONS[candidate], IMPLEMENTATIONS[name]
    if wrong := fault(ours, case, True):
        rows.add(Row(candidate, rival, case, missing=wrong))
        pytest.fail(wrong)
    if missing := theirs.missing(case) or fault(theirs, case, True):
        rows.add(Row(candidate, rival, case, missing=missing))
        pytest.skip(missing)
    layer = ours.make(case)
    step, other = step_of(layer, case, "forward_backward"), _step(theirs, case, faster=rival != name)
    pairs = paired(step, other, case.clock())
    kept = saved(layer, case), saved(theirs.make(case), case)
    row = Row(candidate, rival, case, pairs, saved=kept, share_of_limit=_share(candidate, case, pairs))
    rows.add(row, theirs.unchecked and f"not compared with {name}: it {theirs.unchecked}")
    benchmark.group = f"ratios {identify(case)}"
    benchmark.extra_info.update(row.numbers())
    benchmark.pedantic(lambda: case.clock()(step, 1), rounds=5)  # type: ignore[no-untyped-call]  # it has no types


def _step(implementation: Implementation, case: Case, faster: bool) -> Step:
    """Give a rival's step, on request in whichever layout it is faster in, as one would lay out its model."""
    layouts = LAYOUTS if faster and "x" in case.shape else (case.layout,)
    steps = [
        step_of(implementation.make(one), one, "forward_backward")
        for one in (dataclasses.replace(case, layout=layout) for layout in layouts)
    ]
    return min(steps, key=lambda step: warm_up(step, case.clock()).ms) if len(steps) > 1 else steps[0]


def _share(candidate: str, case: Case, pairs: Pairs) -> float | None:
    """Give the share of the limit, on GPUs: fewest bytes / time / measured bandwidth of a copy."""
    if case.device != "cuda":
        return None
    fewest = fewest_passes(normzoo.card(candidate), "forward_backward") * case.bytes
    return fewest / float(np.median(pairs.candidate)) / copy_bytes_per_ms(case.device)
