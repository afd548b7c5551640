from __future__ import annotations

import datasets
import pytest
import torch

from normzoo_bench import data
from normzoo_bench.data import DataSet
from normzoo_suites.settings import AccuracySettings


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> DataSet:
    return data.load("digits", "digits")


@pytest.fixture
def settings():
    """Build settings of a small accuracy cell, changed as told."""

    def build(**changes: object) -> AccuracySettings:
        small = {"normalizer": "batch_norm", "dataset": "digits", "model": "mlp", "epochs": 1, "batch_size": 40}
        return AccuracySettings.model_validate(small | changes)

    return build


TINY_SUITE = """
name = "tiny"
question = "Does it run?"
protocol = 1

[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40, train_samples = 200 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
ranks = [1, 5, 20]
seed = 2

[[grids]]
measure = "throughput"
fixed = { normalizer = "group_norm", shape = "8x4x4", batch_size = 4 }
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The path of a suite of 13 cells, of which 2 are the same computation as another."""
    file = tmp_path_factory.mktemp("suite") / "tiny.toml"
    file.write_text(TINY_SUITE, encoding="utf-8")
    return str(file)


@pytest.fixture
def own_caches(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NORMZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    data.load.cache_clear()
