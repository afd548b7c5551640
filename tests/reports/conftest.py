"""Made-up run folders: a suite, and what each of its cells is said to have measured."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_suites import Cell, Record, Suite, load_suite, parse_suite, read_run
from normzoo_suites.selection import choose, resolve, trials

ENVIRONMENT = {
    "normzoo": "0.1.0", "python": "3.12.3", "torch": "2.11.0", "timm": "1.0.20", "cuda": None, "gpu": None,
    "cpu": "some processor", "cores": 2, "threads": 1, "os": "Linux", "commit": "0123abc", "dirty": False,
}  # fmt: skip
CARDS = {
    "batch_norm": ("arXiv:1502.03167", 2015, ["batch", "space"], {"eps": 1e-05, "momentum": 0.1}),
    "sync_batch_norm": ("arXiv:1711.07240", 2017, ["rank", "batch", "space"], {"eps": 1e-05, "momentum": 0.1}),
    "layer_norm": ("arXiv:1607.06450", 2016, ["channel", "space"], {"eps": 1e-05}),
    "group_norm": ("arXiv:1803.08494", 2018, ["group", "space"], {"eps": 1e-05, "groups": 32}),
    "batch_renorm": (
        "arXiv:1702.03275",
        2017,
        ["batch", "space"],
        {"eps": 1e-05, "r_max": 3.0, "average": "cumulative"},
    ),
    "none": ("none", 2015, [], {}),
}
TINY = """
name = "tiny"
question = "What do made-up numbers say?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
ranks = [1, 5, 20]
seed = SEEDS
[[claims]]
id = "two_samples_hurt"
says = "Two samples hurt batch norm."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "batch_norm", ranks = 1 }]
minus = [{ normalizer = "batch_norm", ranks = 20 }]
is = "higher"
margin = 0.01
[[claims]]
id = "eight_samples_hurt_group_norm"
says = "Eight samples hurt group norm."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "group_norm", ranks = 1 }]
minus = [{ normalizer = "group_norm", ranks = 5 }]
is = "higher"
margin = 0.01
[[claims]]
id = "eight_samples_are_enough"
says = "Eight samples are enough for batch norm."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "batch_norm", ranks = 1 }]
minus = [{ normalizer = "batch_norm", ranks = 5 }]
is = "equal"
margin = 0.01
[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
"""

TUNED = """
name = "tuned"
question = "What do made-up numbers say of tuned normalizers?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 10, batch_size = 40, readings = "all" }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
ranks = [1, 20]
seed = SEEDS
[select]
grid = { learning_rate = [0.05, 0.1, 0.2, 0.4] }
seeds = 2
fixed = { epochs = 5 }
[[claims]]
id = "group_norm_is_better_at_two"
says = "With 2 samples per statistic group norm is more accurate than batch norm."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "group_norm", ranks = 20 }]
minus = [{ normalizer = "batch_norm", ranks = 20 }]
is = "higher"
margin = 0.01
published = { effect = 0.106, on = "ImageNet, ResNet-50, 2 per GPU", grade = "transcribed" }
[[claims]]
id = "running_statistics_are_worse"
says = "With 2 samples per statistic batch norm's population statistics are more accurate than its running ones."
source = "made up"
metric = "test_accuracy_population"
plus = [{ normalizer = "batch_norm", ranks = 20 }]
minus = [{ normalizer = "batch_norm", ranks = 20, metric = "test_accuracy" }]
is = "higher"
published = { effect = -0.035, on = "ImageNet, ResNet-50", grade = "figure" }
[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
"""

Measured = dict[str, Any]


def tiny_suite(seeds: int = 10) -> Suite:
    return parse_suite(TINY.replace("SEEDS", str(seeds)), "tiny.toml")


def accuracy_of(settings: dict[str, Any]) -> float:
    """What a real run of `quick` gave, about."""
    luck = random.Random(f"{settings['normalizer']} {settings['ranks']} {settings['split']} {settings['seed']}")
    shared = random.Random(settings["seed"]).gauss(0, 0.004)
    name, ranks, split = settings["normalizer"], settings["ranks"], settings["split"]
    level = {"batch_norm": 0.98, "sync_batch_norm": 0.98, "batch_renorm": 0.98, "layer_norm": 0.965, "none": 0.95}.get(
        name, 0.97
    )
    if ranks == 20:
        level = {"batch_norm": 0.62, "batch_renorm": 0.84}.get(name, level)
    if split == "exclusive_classes":
        level = {"batch_norm": 0.41, "batch_renorm": 0.95}.get(name, level)
    return min(1.0, level + shared + luck.gauss(0, 0.004 if level > 0.9 else 0.03))


def made_up(cell: Cell) -> Measured:
    """Measure a cell of the suite `quick`, or one like it, by making it up."""
    settings = cell.settings.model_dump()
    if cell.measure == "throughput":
        return _made_up_timing(settings)
    accuracy = accuracy_of(settings)
    local = settings["batch_size"] / settings["ranks"]
    metrics = {
        "test_accuracy": accuracy,
        "train_accuracy": 1.0,
        "test_loss": 0.1,
        "chance_accuracy": 0.1,
        "local_batch": local,
    }
    if settings["normalizer"] == "batch_norm" and settings["ranks"] > 1:
        metrics["test_accuracy_mean_buffers"] = 0.5 * (accuracy + 0.98)
    return {"metrics": metrics, "series": {"train_loss": [1.2, 0.4, 0.2]}}


def _made_up_timing(settings: dict[str, Any]) -> Measured:
    ratio = {"sync_batch_norm": 1.03, "layer_norm": 1.42, "group_norm": 1.61, "batch_renorm": 2.57, "none": 0.33}
    middle = ratio.get(settings["normalizer"], 1.0)
    if settings["normalizer"] != "batch_norm" and settings["shape"].startswith("256"):
        middle *= 1.1
    metrics = {
        "step_ms": 1.9 * middle, "step_ms_p10": 1.8 * middle, "step_ms_p90": 2.1 * middle, "batch_norm_step_ms": 1.9,
        "step_ms_ratio": middle, "step_ms_ratio_p10": 0.95 * middle, "step_ms_ratio_p90": 1.08 * middle,
        "images_per_s": 32000 / (1.9 * middle), "error_vs_float64": 2.4e-7,
    }  # fmt: skip
    return {"metrics": metrics, "samples": {"step_ms": [1.9 * middle] * 50, "batch_norm_step_ms": [1.9] * 50}}


def record_of(cell: Cell, suite: Suite, measured: Measured) -> Record:
    name = cell.settings.normalizer
    paper, year, pools, options = CARDS.get(name, ("none", 2026, ["batch"], {}))
    card = {"name": name, "paper": paper, "year": year, "pools": pools, "summary": "Normalizes.", "options": options}
    told = {"status": "ok", "card": card, "environment": ENVIRONMENT, "seconds": 0.21} | measured
    command = f"normzoo reproduce runs/quick {cell.id}"
    return Record(
        id=cell.id, suite=suite.name, measure=cell.measure, settings=cell.settings.model_dump(), command=command, **told
    )


Measure = Callable[[Cell], Measured | None]
Change = Callable[[Cell], dict[str, Any]]


def write_run(parent: Path, suite: Suite, measure: Measure, change: Change, name: str) -> Path:
    folder = parent / name
    (folder / "cells").mkdir(parents=True)
    cells = [dataclasses.replace(cell, **change(cell)) for cell in suite.cells()]
    for cell in cells:
        measured = measure(cell) if cell.same_as is None else None
        if measured is not None:
            (folder / "cells" / f"{cell.id}.json").write_text(record_of(cell, suite, measured).to_json())
    content = {"schema": 1, "suite": suite.to_json(), "cells": [cell.to_json() for cell in cells]}
    (folder / "run.json").write_text(json.dumps(content | {"command": f"normzoo run {suite.name} --out runs/{name}"}))
    read_run(folder)  # the builder itself makes nothing that the rooms could not
    return folder


def tuned_suite(seeds: int = 8) -> Suite:
    return parse_suite(TUNED.replace("SEEDS", str(seeds)), "tuned.toml")


def made_up_trial(trial: Cell) -> Measured:
    """Score a trial: batch norm is best at rate 0.4, the largest, everything else at 0.1."""
    settings = trial.settings.model_dump()
    best = 0.4 if settings["normalizer"] == "batch_norm" else 0.1
    score = 0.9 - abs(settings["learning_rate"] - best) + 0.001 * (settings["seed"] - 100)
    return {"metrics": {"validation_accuracy": score, "validation_loss": 1 - score, "chance_accuracy": 0.1}}


def made_up_readings(cell: Cell) -> Measured:
    """Read a net in several ways: batch norm's population statistics are best, its batch statistics are worst."""
    told = made_up(cell)
    if cell.settings.normalizer == "batch_norm":
        running = told["metrics"]["test_accuracy"]
        told["metrics"] |= {
            "test_accuracy_population": running + 0.01 + 1e-4 * cell.settings.model_dump()["seed"],
            "test_accuracy_batch": running - 0.05,
            "train_eval_gap": 0.05,
        }
    return told


def write_tuned_run(
    parent: Path,
    suite: Suite,
    trial: Measure = made_up_trial,
    measure: Measure = made_up_readings,
    stands: Callable[[Cell], bool] = lambda cell: True,
) -> Path:
    """Write a run of a suite with ``[select]``; cells that do not stand in its run.json yet wait."""
    assert suite.select is not None
    folder = parent / "tuned"
    (folder / "cells").mkdir(parents=True)
    tried = trials(suite.select, suite.cells())
    told = {one.id: record_of(one, suite, made) for one in tried if (made := trial(one)) is not None}
    every = resolve(suite.select, suite.cells(), choose(suite.select, suite.cells(), told))
    cells = [cell for cell in every if stands(cell)]
    told |= {
        one.id: record_of(one, suite, made) for one in cells if not one.skip and (made := measure(one)) is not None
    }
    for name, record in told.items():
        (folder / "cells" / f"{name}.json").write_text(record.to_json())
    content = {"schema": 1, "suite": suite.to_json(), "command": "normzoo run tuned --out runs/tuned"}
    content |= {"cells": [cell.to_json() for cell in cells], "trials": [one.to_json() for one in tried]}
    (folder / "run.json").write_text(json.dumps(content | {"waiting": len(suite.cells()) - len(cells)}))
    return folder


@pytest.fixture
def make_tuned_run(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a run of a suite with `[select]`: see `write_tuned_run`."""

    def make(suite: Suite, **told: Any) -> Path:
        return write_tuned_run(tmp_path, suite, **told)

    return make


@pytest.fixture
def tuned() -> Callable[..., Suite]:
    return tuned_suite


@pytest.fixture(scope="session")
def tuned_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole tuned run, in its folder; made once, only to be read."""
    return report(write_tuned_run(tmp_path_factory.mktemp("tuned"), tuned_suite()))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a run folder.

    It takes a suite, what measures a cell (None: it has no record), what changes a cell before (to skip it, or to mark
    it `same_as` another), and a name for the folder.
    """

    def make(suite: Suite, measure: Measure = made_up, change: Change = lambda cell: {}, name: str = "run") -> Path:
        return write_run(tmp_path, suite, measure, change, name)

    return make


@pytest.fixture(scope="session")
def written() -> Callable[..., Path]:
    """Give `write_run` itself, for fixtures that several tests share."""
    return write_run


@pytest.fixture
def tiny() -> Callable[[int], Suite]:
    return tiny_suite


@pytest.fixture
def measured() -> Callable[[Cell], Measured]:
    return made_up


@pytest.fixture(scope="session")
def quick() -> Suite:
    return load_suite("quick")


def quick_same_as(suite: Suite) -> Callable[[Cell], dict[str, Any]]:
    """Mark what cannot differ, `ranks` for a normalizer that pools over no batch; its two ends are measured."""
    cells = {
        (c.settings.normalizer, c.settings.ranks, c.settings.split, c.settings.seed): c
        for c in suite.cells()
        if c.measure == "accuracy"
    }

    def change(cell: Cell) -> dict[str, Any]:
        if cell.measure != "accuracy" or cell.settings.ranks == 1 or cell.settings.split != "iid":
            return {}
        if cell.settings.normalizer in ("batch_norm", "batch_renorm"):
            return {}
        first = cells[cell.settings.normalizer, 1, "iid", cell.settings.seed].id
        return {"twin_of": first, "same_as": None if cell.settings.ranks == 20 else first}

    return change


@pytest.fixture
def quick_run(tmp_path: Path, quick: Suite) -> Path:
    """A whole run of `quick` that looks like a real one."""
    return write_run(tmp_path, quick, made_up, quick_same_as(quick), "quick")


@pytest.fixture(scope="session")
def quick_page(tmp_path_factory: pytest.TempPathFactory, quick: Suite) -> Path:
    """The report of such a run, in its folder; made once, only to be read."""
    return report(write_run(tmp_path_factory.mktemp("page"), quick, made_up, quick_same_as(quick), "quick"))
