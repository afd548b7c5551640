"""What a warm-up before a CUDA graph moves is put back: tested on any device, since it needs no graph."""

from __future__ import annotations

import pytest
import torch

from normzoo_bench import accuracy
from normzoo_bench.result import Diverged
from normzoo_bench.training import capture
from normzoo_bench.training.capture import moved, warm_up
from normzoo_bench.training.trainer import Training


def run_of(settings, digits, **changes):
    run = accuracy.Run(settings(**({"train_samples": 200, "epochs": 2, "augment": "flip"} | changes)), digits)
    run.training.begin(0)
    return run


CELLS = [
    {"normalizer": "batch_norm", "ranks": 5},
    {"normalizer": "batch_renorm", "ranks": 5, "ema": 0.9},
    {"normalizer": "sync_batch_norm", "optimizer": "adamw", "learning_rate": 0.01},
    {"normalizer": "group_norm", "model": "small_convnet"},
]


@pytest.mark.parametrize("changes", CELLS, ids=lambda cell: cell["normalizer"])
def test_a_training_after_a_warm_up_is_the_training_without_one(settings, digits, changes):
    plain, warmed = run_of(settings, digits, **changes), run_of(settings, digits, **changes)
    random = torch.get_rng_state()
    warm_up([warmed.training])
    assert torch.equal(torch.get_rng_state(), random)
    for run in (plain, warmed):
        for _ in range(run.training.batches.steps):
            run.training.step()
        run.training.end()
    assert warmed.training.series == plain.training.series
    pairs = zip(moved(plain.training), moved(warmed.training), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("changes", CELLS, ids=lambda cell: cell["normalizer"])
def test_a_warm_up_in_the_middle_keeps_the_optimizers_state(settings, digits, changes):
    run = run_of(settings, digits, **changes)
    run.training.step()
    before = [one.clone() for one in moved(run.training)]
    warm_up([run.training])
    assert all(torch.equal(one, other) for one, other in zip(moved(run.training), before, strict=True))


def test_every_tensor_that_a_step_changes_is_known_to_the_warm_up(settings, digits):
    """Whatever of a training is a tensor is held against itself before and after a step."""
    run = run_of(settings, digits, ranks=5, ema=0.9)
    run.training.step()
    known = {one.data_ptr() for one in moved(run.training)}
    reachable, seen = {}, set()

    def collect(thing, path, depth=0):
        if id(thing) in seen or depth > 9:
            return
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            reachable[path] = thing
        elif isinstance(thing, dict):
            for key, value in thing.items():
                collect(value, f"{path}.{key if isinstance(key, str) else type(key).__name__}", depth + 1)
        elif isinstance(thing, list | tuple | set):
            for number, value in enumerate(thing):
                collect(value, f"{path}[{number}]", depth + 1)
        elif hasattr(thing, "__dict__"):
            collect(vars(thing), path, depth + 1)

    collect(run.training, "training")
    before = {path: tensor.clone() for path, tensor in reachable.items()}
    run.training.step()
    changed = [path for path, tensor in reachable.items() if not torch.equal(tensor, before[path])]
    assert len(changed) > 10
    gradients = {path for path in changed if path.endswith(".grad")}
    assert [path for path in changed if path not in gradients and reachable[path].data_ptr() not in known] == []


def test_a_training_that_has_diverged_is_taken_along_by_the_others_graph(settings, digits, monkeypatch):
    """A stand-in for the graph takes a step of all, as a replay does."""

    class Steps:
        def __init__(self, trainings):
            self.trainings = list(trainings)

        def replay(self):
            for one in self.trainings:
                one.step()

    monkeypatch.setattr(capture, "_record", Steps)
    monkeypatch.setattr(accuracy, "_side_by_side", lambda runs: [runs])
    monkeypatch.setattr(accuracy, "eager", capture.Captured())
    original = Training.end

    def end(self):
        original(self)
        self.diverged = self.settings.seed == 1

    monkeypatch.setattr(Training, "end", end)
    cells = [settings(seed=seed, train_samples=200, epochs=3) for seed in (0, 1, 2)]
    first, second, third = accuracy.measure_together(cells, digits)
    assert isinstance(second, Diverged)
    assert [len(one.series["train_loss"]) for one in (first, third)] == [3, 3]
