"""Synchronized normalizers in several processes, forward and backward, in paired samples: more rows of the table.

On CPUs two gloo processes of one thread each; on GPUs one process per GPU (at most two), talking by NCCL. Each against
batch norm that does not synchronize, in the same processes, against a naive synchronization and, on GPUs, against
nn.SyncBatchNorm. The batch is shared out. With one GPU there is one process, and nothing to synchronize.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from cases import Case
from normzoo_bench.timing import Pairs
from ratios import Row, Rows
from selection import DEVICE, identify, selected

SOME = ["64x56x56", "256x28x28"]
RANKS = min(torch.cuda.device_count(), 2) if DEVICE == "cuda" else 2
RIVALS = ["nn.BatchNorm2d", "naive all-reduce", *(["nn.SyncBatchNorm"] if DEVICE == "cuda" else [])]
COMPARED = {"sync_batch_norm": RIVALS, "sync_batch_renorm": RIVALS[:1]}
BACKEND = "nccl" if DEVICE == "cuda" else "gloo"
LIMIT_S = 60.0  # per case, with the start of the processes
Found = dict[tuple[str, str], dict[str, Any]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the cases from the options: of a batch, every process has its share."""
    shared = [
        dataclasses.replace(case, batch=max(case.batch // RANKS, 2))
        for case in selected(metafunc.config, SOME)
        if "x" in case.shape
    ]
    # by module, so that one set of processes serves all comparisons of a case
    metafunc.parametrize("case", shared, ids=identify, scope="module")
    compared = [(candidate, rival) for candidate, rivals in COMPARED.items() for rival in rivals]
    metafunc.parametrize(("candidate", "rival"), compared)


@pytest.fixture(scope="module")
def measured(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Give what the processes found on one case, by candidate and rival."""
    folder = tmp_path_factory.mktemp("sync")
    one = dataclasses.asdict(case) | {"dtype": case.dtype_name}
    work = {"backend": BACKEND, "ranks": RANKS, "device": DEVICE, "case": one, "compared": COMPARED}
    (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
    _run(folder)
    found = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return {(row["candidate"], row["rival"]): row for row in found}


def _run(folder: Path) -> None:
    """Run one process per rank, which see the modules that this one sees, and leave none behind."""
    worker = Path(__file__).with_name("sync_worker.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(RANKS):
            with (folder / f"log-{rank}.txt").open("wb") as log:  # the process keeps it open
                command = [sys.executable, str(worker), str(folder), str(rank)]
                ranks.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
                )
        codes = [one.wait(LIMIT_S) for one in ranks]
    finally:
        for one in ranks:
            one.kill()
            one.wait()
    if any(codes):
        said = "\n".join((folder / f"log-{rank}.txt").read_text(errors="replace")[-1000:] for rank in range(RANKS))
        pytest.fail(f"the processes ended with {codes}:\n{said}")


class Replay:
    """A clock that goes through samples once more, so that pytest-benchmark's numbers are those of the processes."""

    __name__ = "Replay"  # pytest-benchmark asks its timers' names

    def __init__(self) -> None:
        self.times: Iterator[float] = iter(())

    def load(self, samples_ms: list[float]) -> None:
        """Take samples; each is two readings of the clock."""
        self.times = (time for sample in samples_ms for time in (0.0, sample / 1e3))

    def __call__(self) -> float:
        """Give the next reading, in s."""
        return next(self.times)


REPLAY = Replay()


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used at all")  # a wrong one has said that it is
@pytest.mark.benchmark(timer=REPLAY)
def bench_sync(
    benchmark: BenchmarkFixture,
    rows: Rows,
    measured: Found,
    candidate: str,
    rival: str,
    case: Case,
) -> None:
    found = measured[candidate, rival]
    where = f"{RANKS} {BACKEND} process{'es' if RANKS > 1 else ''}"
    if found["wrong"]:
        rows.add(Row(candidate, rival, case, missing=found["wrong"], where=where))
        pytest.fail(found["wrong"])
    if found["missing"]:
        rows.add(Row(candidate, rival, case, missing=found["missing"], where=where))
        pytest.skip(found["missing"])
    pairs = Pairs(found["candidate_ms"], found["rival_ms"])
    row = Row(candidate, rival, case, pairs, where=where)
    rows.add(row)
    benchmark.group = f"sync {identify(case)}"
    benchmark.extra_info.update(row.numbers())
    REPLAY.load(pairs.candidate)
    benchmark.pedantic(lambda: None, rounds=len(pairs.candidate))  # type: ignore[no-untyped-call]  # it has no types
