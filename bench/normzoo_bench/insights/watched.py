"""A training that is looked at on its way, step by step, and is the same to the bit as one that nobody looks at."""

from __future__ import annotations

from collections.abc import Callable

import torch

from normzoo_bench.accuracy import Run, finish
from normzoo_bench.data import DataSet
from normzoo_bench.training.trainer import Training
from normzoo_suites.settings import AccuracySettings

Look = Callable[[int], None]
"""Is told how many steps have been taken."""


class StopTraining(Exception):  # noqa: N818  # not an error: who looks has seen enough
    """Raised by who looks, to end the training there."""


class Watched(Training):
    """A training that tells of every step that it has taken."""

    look: Look | None = None
    taken = 0

    def step(self) -> None:
        """Take a step, and tell of it."""
        super().step()
        self.taken += 1
        if self.look is not None:
            devices = [torch.cuda.current_device()] if self.settings.device == "cuda" else []
            with torch.random.fork_rng(devices):  # what a look draws, by a model's dropout say, training does not miss
                self.look(self.taken)


def watched(training: AccuracySettings, data: DataSet) -> Run:
    """Build the model and its batches; nothing is trained yet. Steps are launched one by one, on CUDA too."""
    training = training.model_copy(update={"capture": "off"})
    return Run(training, data, lambda model, _, batches, settings: Watched(model, batches, settings))


def watch(run: Run, look: Look) -> None:
    """Train to the end, or until the look raises ``StopTraining``; it is told after every step."""
    assert isinstance(run.training, Watched)  # for mypy: ``watched`` made it one
    run.training.look = look
    try:
        finish(run)
    except StopTraining:
        return
    finally:
        run.training.look = None


def steps_of(run: Run) -> int:
    """Count the steps of a whole training."""
    return len(run.train) // run.settings.batch_size * run.settings.epochs


def trains(run: Run) -> bool:
    """Whether a training that has ended has trained its net.

    That is so where the mean training accuracy of the last epoch is above halfway from chance to 1; one whose loss was
    not finite has not.
    """
    chance = run.known["chance_accuracy"]
    return not run.training.diverged and run.training.series["train_accuracy"][-1] > (1 + chance) / 2
