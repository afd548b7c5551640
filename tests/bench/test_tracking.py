"""Tracking: what trackers are told, when, and that nothing of a measurement depends on them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from trackers import curve, installed, notes, record
from typer.testing import CliRunner

import normzoo
import normzoo_bench
from normzoo.norms import NoNorm
from normzoo_bench import commands, tracking
from normzoo_bench.cli import app
from normzoo_bench.planner import source_hash
from normzoo_bench.running.rounds import Options
from normzoo_bench.running.runner import run_plan
from normzoo_bench.running.worker import run_job
from normzoo_bench.tracking import session
from normzoo_bench.tracking.spool import Spool
from normzoo_bench.training.observe import observer
from normzoo_suites import SuiteError, read_run

WAITS = """
import json, os, time
import normzoo
from normzoo.norms import NoNorm

@normzoo.register("waits", paper="none", year=None, pools=set())
class Waits(NoNorm):
    # 200 samples in steps of 40: the sixth step is the first of the second epoch
    steps = 0

    def forward(self, x):
        if self.training:
            self.steps += 1
        until = time.monotonic() + 60
        while self.steps == 6 and '"step": 1' not in open(os.environ["FAKE_LOG"]).read():
            if time.monotonic() > until:
                raise TimeoutError("nobody was told of the first epoch")
            time.sleep(0.05)
        return super().forward(x)
"""

SUITE = """
name = "curves"
question = "Are they live?"
protocol = 1

[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 3, batch_size = 40, train_samples = 200 }
axes = { normalizer = ["batch_norm"], ranks = [1, 5], seed = 1 }
"""


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    with installed(tmp_path_factory.mktemp("fakes")):
        yield


@pytest.fixture
def log(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    file = tmp_path_factory.mktemp("suite") / "curves.toml"
    file.write_text(SUITE, encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def ran(fakes, suite, tmp_path_factory):
    """A run that is tracked by a library that works and one that raises; what the first was told, and the terminal."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "waits.py").write_text(WAITS, encoding="utf-8")
    made = commands.plan(suite, load=[folder / "waits.py"], normalizers=["waits"], settings={"ranks": "1"})
    said = StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_LOG", str(folder / "log"))
        run_plan(made, folder / "run", Options(jobs=1, track=("mlflow", "wandb")), Console(file=said, width=1000))
    (found,) = read_run(folder / "run").records.values()
    return found, notes(folder / "log"), said.getvalue()


def test_an_epoch_is_shown_while_its_training_goes_on(ran):
    """The normalizer waits for it."""
    found, _, _ = ran
    assert found.status == "ok", found.reason


def test_what_was_shown_is_what_the_record_holds(ran):
    found, told, _ = ran
    series = {name: list(enumerate(values, start=1)) for name, values in found.series.items()}
    metrics = {name: [(3, value)] for name, value in found.metrics.items() if name not in series}
    assert curve(told, found.id) == series | metrics
    assert {"params": {key: str(value) for key, value in found.settings.items()}, "cell": found.id} in told
    assert told[-1] == {"ended": "FINISHED", "cell": found.id}


def test_a_library_that_raises_costs_one_warning_and_no_cell(ran):
    found, _, said = ran
    assert found.status == "ok"
    warning = "tracking by wandb: RuntimeError: the disk is full; what is measured is not touched by that"
    assert [line for line in said.splitlines() if "tracking" in line] == [warning]


@pytest.fixture
def plan(suite):
    return commands.plan(suite)


def test_what_a_cell_comes_to_is_the_same_to_the_bit_with_and_without_trackers(log, suite, tmp_path):
    """A normalizer that draws would tell if anybody else had drawn."""

    @normzoo.register("noisy", paper="none", year=None, pools=set())
    class Noisy(NoNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.rand_like(x)

    plan = commands.plan(suite, normalizers=["noisy"])
    cell = plan.cells[0]
    asked = (cell,), plan.sources["digits"].where, source_hash(cell)
    (alone,) = run_job(*asked)
    with tracking.started(("mlflow", "wandb"), tmp_path, plan, lambda line: None):
        (tracked,) = run_job(*asked)
    assert curve(notes(log), cell.id).keys() == {"train_loss", "train_accuracy"}
    assert replace(tracked, seconds=0.0) == replace(alone, seconds=0.0)


def test_a_cell_whose_worker_was_killed_ends_with_what_was_told_before(log, plan, tmp_path):
    cell = plan.cells[0]
    with tracking.started(("mlflow",), tmp_path, plan, pytest.fail) as trackers:
        with tracking.begin([cell]):
            told = observer()
            told(0, 1, {"train_loss": 2.0})
            (file,) = told.files
            with file.open("a", encoding="utf-8") as stream:
                stream.write('{"seed": 0, "epo')  # as a kill leaves it
        trackers.ended(record(cell, status="timeout", reason="killed after 5 s"))
    assert curve(notes(log), cell.id) == {"train_loss": [(1, 2.0)]}
    assert notes(log)[-2:] == [
        {"tag": "normzoo.reason", "text": "killed after 5 s", "cell": cell.id},
        {"ended": "FAILED", "cell": cell.id},
    ]


def test_what_was_not_told_while_it_was_measured_is_told_at_the_end(log, plan, tmp_path):
    """As on a machine that does not see the runner's disk, and as what is timed does."""
    cell = plan.cells[0]
    with tracking.started(("mlflow",), tmp_path, plan, pytest.fail) as trackers:
        with tracking.spooling(Spool((tmp_path / "elsewhere",))), tracking.begin([cell]):
            assert observer() is None
        trackers.ended(record(cell, series={"train_loss": [3.0, 2.0]}, metrics={"test_accuracy": 0.5}))
    assert curve(notes(log), cell.id) == {"train_loss": [(1, 3.0), (2, 2.0)], "test_accuracy": [(2, 0.5)]}


@pytest.mark.parametrize(
    ("does", "says"),
    [("dies", "its process died (exit code 7)"), ("hangs", "not all could be shown within 2 s")],
)
def test_a_library_that_takes_its_process_along_or_hangs_costs_one_warning(
    does, says, log, plan, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAKE", does)
    monkeypatch.setattr(session, "CLOSE_S", 2.0)
    warnings: list[str] = []
    with tracking.started(("mlflow",), tmp_path, plan, warnings.append) as trackers:
        process = trackers.processes[0].process
        for cell in plan.cells:
            trackers.ended(record(cell))
            time.sleep(1)  # in which it meets its end
    assert warnings == [f"tracking by mlflow: {says}; what is measured is not touched by that"]
    assert process.returncode is not None


def test_a_library_that_cannot_be_opened_is_told_before_anything_is_measured(log, suite, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE", "refuses")
    with pytest.raises(SuiteError, match="tracking by mlflow cannot begin: OSError: no such server"):
        normzoo_bench.run(suite, out=tmp_path / "run", track="mlflow")
    assert not list((tmp_path / "run" / "cells").iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_library_that_is_not_installed_is_named_with_how_to_install_it(name, tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()  # what wandb writes into a working directory is not wandb
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SuiteError, match=f"needs the package {name}, which is not installed; `pip install {name}`"):
        tracking.check([name])


def test_an_unknown_tracker_is_told_before_anything_is_measured(fakes, suite, tmp_path):
    with pytest.raises(SuiteError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        normzoo_bench.run(suite, out=tmp_path / "run", track="mlflow,tensorbord")
    assert not (tmp_path / "run").exists()


def test_the_command_line_names_a_tracker_that_it_does_not_know():
    done = CliRunner().invoke(app, ["run", "quick", "--track", "tensorbord"])
    assert isinstance(done.exception, SuiteError)  # of which `main` makes one line and exit code 2
    assert str(done.exception).startswith("unknown tracker 'tensorbord'; did you mean 'tensorboard'?")


ORPHAN = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from normzoo_bench import tracking
from normzoo_suites import load_suite
suite = load_suite(sys.argv[1])
plan = SimpleNamespace(suite=suite, trials=())  # a real one takes torch, and seconds
with tracking.started(("mlflow",), Path(sys.argv[2]), plan, print), tracking.begin(suite.cells()):
    print(tracking.spool().folders[0], flush=True)
    time.sleep(600)
"""


def test_a_tracker_whose_runner_was_killed_ends_its_curves_and_leaves_nothing(log, suite, tmp_path):
    runner = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, suite, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert runner.stdout is not None
    folder = Path(runner.stdout.readline().strip())
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    until = time.monotonic() + 30
    while folder.parent.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not folder.parent.exists()
    assert notes(log)[-1]["ended"] == "KILLED"


def test_tensorboard_reads_back_what_the_record_holds(plan, tmp_path):
    pytest.importorskip("tensorboard")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    cell = plan.cells[1]
    told = record(cell, series={"train_loss": [3.0, 2.0]}, metrics={"test_accuracy": 0.5})
    for _ in range(2):  # of the two tries the second is shown
        with tracking.started(("tensorboard",), tmp_path, plan, pytest.fail) as trackers:
            trackers.ended(told)
    read = reader.EventAccumulator(str(tmp_path / "tensorboard" / "batch_norm" / "ranks=5" / f"seed0_{cell.id[:8]}"))
    read.Reload()
    shown = {name: [(one.step, one.value) for one in read.Scalars(name)] for name in read.Tags()["scalars"]}
    assert shown == {"train_loss": [(1, 3.0), (2, 2.0)], "test_accuracy": [(2, 0.5)]}
