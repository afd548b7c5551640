"""Several GPUs: how many workers there are, and which GPU each of them sees. No GPU is needed for that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import normzoo
from normzoo import plugins
from normzoo_bench import commands
from normzoo_bench.running.pool import _Round, default_jobs, visible_gpus
from normzoo_bench.running.process import Asked, Work
from normzoo_bench.running.reaper import workplace
from normzoo_bench.running.rounds import Options
from normzoo_bench.running.workers import measured
from normzoo_suites import Cell
from normzoo_suites.settings import AccuracySettings, ThroughputSettings

TELLS = """
import os
import normzoo
from normzoo.norms import NoNorm

@normzoo.register("tells", paper="none", year=None, pools=set())
class Tells(NoNorm):
    def __init__(self, num_features):
        super().__init__(num_features)
        print("it sees", os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return monkeypatch


def training(seed: int = 0, **changes: object) -> Cell:
    small = {"model": "mlp", "epochs": 1, "batch_size": 40}
    settings = {"normalizer": "batch_norm", "device": "cuda", "dataset": "digits", "seed": seed} | small
    return Cell("accuracy", 1, AccuracySettings.model_validate(settings | changes))


def timing(repeat: int = 0) -> Cell:
    told = {"normalizer": "batch_norm", "device": "cuda", "shape": "8x4x4", "batch_size": 4, "repeat": repeat}
    return Cell("throughput", 1, ThroughputSettings.model_validate(told))


def seen(tiny: str, cells: list[Cell], jobs: int | None = None, timed: bool = False) -> list[str | None]:
    """Give which GPU each worker would see."""
    made = _Round(commands.plan(tiny), cells, Options(jobs=jobs), lambda _: True, timed)
    return [made._setup(number, Path("w")).gpu for number in range(made.count)]


def test_every_gpu_has_a_worker(gpus: pytest.MonkeyPatch) -> None:
    assert default_jobs([training(seed) for seed in range(9)]) == 2


def test_ranks_that_are_processes_have_all_gpus_to_themselves(gpus: pytest.MonkeyPatch) -> None:
    assert default_jobs([training(ranks=2, ranks_backend="process")]) == 1


def test_workers_are_dealt_over_the_gpus_and_several_may_share_one(gpus: pytest.MonkeyPatch, tiny: str) -> None:
    cells = [training(seed) for seed in range(9)]
    assert seen(tiny, cells, jobs=2) == ["0", "1"]
    assert seen(tiny, cells, jobs=5) == ["0", "1", "0", "1", "0"]


def test_a_single_worker_sees_all_gpus(gpus: pytest.MonkeyPatch, tiny: str) -> None:
    assert seen(tiny, [training(seed) for seed in range(9)], jobs=1) == [None]
    assert seen(tiny, [timing(repeat) for repeat in range(9)], timed=True) == [None]


@pytest.mark.parametrize("named", ["5,3", "GPU-8a,GPU-1b", "MIG-1,MIG-2"])
def test_gpus_that_were_chosen_before_keep_their_names(gpus: pytest.MonkeyPatch, tiny: str, named: str) -> None:
    gpus.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == named.split(",")
    assert seen(tiny, [training(seed) for seed in range(9)], jobs=2) == named.split(",")


@pytest.mark.slow
def test_a_worker_has_its_gpu_before_anything_of_a_cell_runs(tmp_path: Path) -> None:
    file = tmp_path / "tells.py"
    file.write_text(TELLS, encoding="utf-8")
    plugins.load(file)
    cell = training(normalizer="tells", device="cpu", model="mlp", epochs=1, batch_size=40, train_samples=80)
    work: list[Work] = [((cell,), "digits", normzoo.card("tells").source_hash, "")]
    with workplace() as place:
        (ended,) = measured(
            lambda number, folder: Asked(os.getpid(), folder, (str(file),), "7"),
            1,
            place,
            120.0,
            lambda: work.pop() if work else None,
        )
    assert ended[1] is not None
    assert (ended[1][0].status, ended[1][0].reason) == ("ok", "")
    assert "it sees 7" in ended[1][0].log
