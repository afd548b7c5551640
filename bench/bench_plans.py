"""Plans and their state: processor time of `normzoo plan` of 100,000 cells, and of `normzoo status` of their records.

After imports, the data in memory. What is aimed at: under 10 s each. Processor time and not the clock's, since another
program's work is no part of it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from normzoo_bench import commands
from normzoo_bench.cost.afterwards import FILE, begin
from normzoo_bench.plan_table import print_plan
from normzoo_bench.planned import look
from normzoo_bench.running.store import Store
from normzoo_bench.terminal import print_status
from normzoo_suites import Cell, Record, Suite, load_suite

CELLS = 100_000
MOST_SECONDS = 10.0

SUITE = """
name = "made_up"
question = "How long does a plan take?"
protocol = 1
{select}
[[grids]]
measure = "accuracy"
fixed = {{ dataset = "digits", model = "mlp", epochs = 5, batch_size = 720 }}
[grids.axes]
normalizer = ["batch_norm", "batch_norm(momentum=0.2)", "batch_renorm", "sync_batch_norm", "sync_batch_renorm",
    "layer_norm", "group_norm", "group_norm(groups=2)", "group_norm(groups=4)", "none"]
ranks = {ranks}
{axis}
seed = {seeds}
{more}
[[claims]]
id = "fewer_samples_hurt"
says = "Fewer samples per statistic hurt batch norm."
source = "made up"
metric = "test_accuracy"
plus = [{{ normalizer = "batch_norm", ranks = 1{side} }}]
minus = [{{ normalizer = "batch_norm", ranks = 12{side} }}]
is = "higher"
margin = 0.01
[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
where = {{ ranks = [1, 12] }}
"""
LAYERS = """
[[grids]]
measure = "throughput"
[grids.axes]
normalizer = ["batch_norm", "layer_norm", "group_norm", "none", "batch_renorm"]
shape = ["64x8x8", "32x4x4", "16x16x16", "128x4x4", "256x2x2"]
batch_size = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
direction = ["forward", "forward_backward"]
repeat = 100
"""
FEW, MANY = [1, 2, 3, 4, 5, 6, 8, 9, 10, 12], [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20, 24, 30, 36, 40, 45, 48]
DECAYS, RATES = [0.0, 0.001, 0.002, 0.003, 0.004], [round(0.001 * (1 + step), 3) for step in range(500)]
SUITES = {
    "500 seeds": {"ranks": MANY, "seeds": 500},
    "500 learning rates": {
        "ranks": MANY,
        "seeds": 1,
        "axis": f"learning_rate = {RATES}",
        "side": ", learning_rate = 0.1",
    },
    "trainings and layers": {"ranks": FEW, "seeds": 500, "more": LAYERS},
    "tuned trainings": {
        "ranks": MANY,
        "seeds": 100,
        "select": "[select]\ngrid = { learning_rate = [0.03, 0.1, 0.3] }\nseeds = 2",
        "axis": f"weight_decay = {DECAYS}",
        "side": ", weight_decay = 0.0",
    },
}


def text(name: str) -> str:
    return SUITE.format(**{"select": "", "axis": "", "more": "", "side": ""} | SUITES[name])


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


def measured(benchmark: BenchmarkFixture, what: str, command: Callable[[], object]) -> None:
    start = time.process_time()
    benchmark.pedantic(command, rounds=1)  # type: ignore[no-untyped-call]  # it has no types
    seconds = time.process_time() - start
    benchmark.extra_info.update(processor_seconds=round(seconds, 2))
    print(f"\n{what}: {seconds:.2f} s of processor time")
    assert seconds < MOST_SECONDS


@pytest.mark.parametrize("name", SUITES)
def bench_plan(benchmark: BenchmarkFixture, console: Console, tmp_path: Path, name: str) -> None:
    file = tmp_path / "made_up.toml"
    file.write_text(text(name), encoding="utf-8")
    store = Store(tmp_path / "run")
    look(commands.plan("quick", seeds=1), store)  # imports

    def plan() -> None:
        made = commands.plan(file)
        assert len(made.cells) + made.waiting == CELLS
        print_plan(console, look(made, store), cells=False)

    measured(benchmark, f"a plan of {CELLS:,} cells, {name}", plan)


def record(cell: Cell, suite: Suite) -> Record:
    luck = random.Random(cell.id)
    return Record(
        id=cell.id,
        suite=suite.name,
        measure=cell.measure,
        settings=cell.settings.model_dump(),
        status="ok",
        metrics={"test_accuracy": luck.uniform(0.9, 0.98), "test_loss": luck.random(), "chance_accuracy": 0.1},
        series={name: [luck.random() for _ in range(5)] for name in ("train_loss", "train_accuracy")},
        card={"name": "batch_norm", "paper": "arXiv:1502.03167", "year": 2015, "pools": ["batch", "space"]},
        source_hash="35c7d0ac272c",
        data_fingerprint="2fe90622d057",
        environment={f"library_{number}": "1.2.3" for number in range(16)},
        seconds=1.0,
        command=f"normzoo run made_up --cell {cell.id}",
    )


def bench_status(benchmark: BenchmarkFixture, console: Console, tmp_path: Path) -> None:
    """Every cell has a record of its own."""
    file = tmp_path / "made_up.toml"
    file.write_text(text("500 seeds"), encoding="utf-8")
    suite = load_suite(str(file))
    cells = suite.cells()
    (tmp_path / "cells").mkdir()
    for cell in cells:
        (tmp_path / "cells" / f"{cell.id}.json").write_text(record(cell, suite).to_json(), encoding="utf-8")
    content = {"schema": 1, "suite": suite.to_json(), "cells": [cell.to_json() for cell in cells], "command": "none"}
    (tmp_path / "run.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    estimated = begin(tmp_path, {cell.id: 1.5 for cell in cells}, {})
    (tmp_path / FILE).write_text(estimated, encoding="utf-8")

    def status() -> None:
        found = commands.status(tmp_path)
        assert found.statuses == {"ok": CELLS}
        print_status(console, found)

    measured(benchmark, f"the status of {CELLS:,} records", status)
