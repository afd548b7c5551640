"""Rendering: seconds and size of a page of 60 and of 10,000 made-up records, after imports, reading included.

What is aimed at: a page of 60 records in under 2 s and 1.5 MB, one of 10,000 under 30 s and 5 MB.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from normzoo_reports import report
from normzoo_suites import Cell, Record, Suite, parse_suite

SUITE = """
name = "made_up"
question = "How long does a page take?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = {{ dataset = "digits", model = "mlp", epochs = 5, batch_size = 64 }}
[grids.axes]
normalizer = ["batch_norm", "sync_batch_norm", "group_norm", "layer_norm", "batch_renorm"]
ranks = [1, 4]
learning_rate = {rates}
seed = {seeds}
[[claims]]
id = "fewer_samples_hurt"
says = "Sixteen samples per statistic hurt batch norm."
source = "made up"
metric = "test_accuracy"
plus = [{{ normalizer = "batch_norm", ranks = 1, learning_rate = 0.1 }}]
minus = [{{ normalizer = "batch_norm", ranks = 4, learning_rate = 0.1 }}]
is = "higher"
margin = 0.01
[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
where = {{ learning_rate = [0.1] }}
[[figures]]
kind = "bar"
x = "ranks"
y = "test_accuracy"
where = {{ learning_rate = [0.1] }}
"""
SIZES = {60: ([0.1], 6), 10_000: ([round(0.1 * (1 + step), 1) for step in range(100)], 10)}
MOST_MB = {60: 1.5, 10_000: 5.0}


def record(cell: Cell, suite: Suite) -> Record:
    luck = random.Random(cell.id)
    return Record(
        id=cell.id,
        suite=suite.name,
        measure=cell.measure,
        settings=cell.settings.model_dump(),
        status="ok",
        metrics={"test_accuracy": luck.uniform(0.9, 0.98), "chance_accuracy": 0.1},
        series={"train_loss": [luck.random() for _ in range(5)]},
        card={"name": cell.settings.normalizer, "pools": ["batch"]},
        environment={"torch": "2.11.0", "cpu": "some processor"},
        seconds=1.0,
        command=f"normzoo run made_up --cell {cell.id}",
    )


@pytest.fixture(scope="module", params=SIZES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    rates, seeds = SIZES[request.param]
    suite = parse_suite(SUITE.format(rates=rates, seeds=seeds), "made_up.toml")
    cells, folder = suite.cells(), tmp_path_factory.mktemp("run")
    (folder / "cells").mkdir()
    for cell in cells:
        (folder / "cells" / f"{cell.id}.json").write_text(record(cell, suite).to_json())
    content = {"schema": 1, "suite": suite.to_json(), "cells": [cell.to_json() for cell in cells], "command": "none"}
    (folder / "run.json").write_text(json.dumps(content))
    return len(cells), folder


def bench_page(benchmark: BenchmarkFixture, run: tuple[int, Path]) -> None:
    records, folder = run
    report(folder)  # imports
    start = time.perf_counter()
    page = benchmark.pedantic(report, (folder,), rounds=1)  # type: ignore[no-untyped-call]  # it has no types
    seconds, size = time.perf_counter() - start, page.stat().st_size / 1e6
    benchmark.extra_info.update(records=records, page_mb=round(size, 2))
    print(f"\n{records:,} records: {seconds:.2f} s, {size:.2f} MB")
    assert size < MOST_MB[records]
