"""Trackers' libraries that write down what they are told, or fail in their own ways, and how to read that."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from normzoo_suites import Cell, Record

FAKE_MLFLOW = """
import json, os, time
from types import SimpleNamespace

class MlflowClient:
    def __init__(self, uri):
        if os.environ.get("FAKE") == "refuses":
            raise OSError("no such server")
        self.note(uri=uri)

    def note(self, **what):
        with open(os.environ["FAKE_LOG"], "a") as log:
            log.write(json.dumps(what) + "\\n")

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name, files):
        return name

    def create_run(self, experiment, tags, run_name):
        self.note(begun=run_name, experiment=experiment, cell=tags["normzoo.cell"])
        return SimpleNamespace(info=SimpleNamespace(run_id=tags["normzoo.cell"]))

    def log_batch(self, run, metrics=(), params=()):
        if os.environ.get("FAKE") == "dies":
            os._exit(7)
        while os.environ.get("FAKE") == "hangs":
            time.sleep(1)
        if params:
            self.note(params=dict(params), cell=run)
        for metric in metrics:
            self.note(step=metric[3], name=metric[0], value=metric[1], cell=run)

    def set_tag(self, run, name, text):
        self.note(tag=name, text=text, cell=run)

    def set_terminated(self, run, status):
        self.note(ended=status, cell=run)
"""
FAKE_ENTITIES = "Param = Metric = lambda *parts: parts"
FAKE_WANDB = """
from types import SimpleNamespace
Settings = lambda: SimpleNamespace(mode="offline")
def init(**how):
    raise RuntimeError("the disk is full")
"""


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Have these libraries found before real ones, in processes that are started meanwhile, too."""
    (folder / "mlflow").mkdir()
    (folder / "mlflow" / "__init__.py").write_text(FAKE_MLFLOW, encoding="utf-8")
    (folder / "mlflow" / "entities.py").write_text(FAKE_ENTITIES, encoding="utf-8")
    (folder / "wandb.py").write_text(FAKE_WANDB, encoding="utf-8")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


def notes(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def curve(told, cell: str) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for one in told:
        if "step" in one and one["cell"] == cell:
            found.setdefault(one["name"], []).append((one["step"], one["value"]))
    return found


def record(cell: Cell, **changes: object) -> Record:
    full = {"id": cell.id, "suite": "curves", "measure": cell.measure, "settings": cell.settings.model_dump()}
    return Record.model_validate(full | {"status": "ok"} | changes)
