"""What the runner costs per cell beyond what the cell takes: claiming, handing over, writing, waiting.

`pytest bench/bench_runner.py -s`. One warm worker measures short trainings one after the other; from the first record's
time to the last one's, less the seconds that the records between say, divided by their number. The target is 50 ms.
"""

from __future__ import annotations

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

import normzoo_bench
from normzoo_suites import read_run

CELLS = 100
TARGET_MS = 50.0

SUITE = f"""
name = "short"
question = "What does the runner cost?"
protocol = 1

[[grids]]
measure = "accuracy"
fixed = {{ dataset = "digits", model = "mlp", epochs = 1, batch_size = 40, train_samples = 80 }}
[grids.axes]
normalizer = ["batch_norm"]
seed = {CELLS}
"""


def bench_what_the_runner_adds_to_a_cell(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    suite = tmp_path / "short.toml"
    suite.write_text(SUITE, encoding="utf-8")
    out = tmp_path / "run"
    benchmark.pedantic(  # type: ignore[no-untyped-call]  # it has no types
        lambda: normzoo_bench.run(suite, out=out, jobs=1), rounds=1
    )
    written = sorted((file.stat().st_mtime, file.stem) for file in (out / "cells").glob("*.json"))
    records = read_run(out).records
    measured = sum(records[name].seconds for _, name in written[1:])
    per_cell = (written[-1][0] - written[0][0] - measured) / (len(written) - 1)
    benchmark.extra_info["ms_per_cell"] = 1000 * per_cell
    print(
        f"\n{len(written)} cells of {1000 * measured / (len(written) - 1):.1f} ms: {1000 * per_cell:.1f} ms more each"
    )
    assert len(written) == CELLS
    assert 1000 * per_cell < TARGET_MS
