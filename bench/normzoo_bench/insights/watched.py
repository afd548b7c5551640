"""A training that is looked at on its way, and held still for it: what is tried is tried on copies."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo import TooFewValuesError
from normzoo_bench.accuracy import Ended, Run
from normzoo_bench.data import DataSet
from normzoo_bench.insights.trained import begun
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.seeds import torch_seed
from normzoo_bench.training.capture import Captured
from normzoo_bench.training.trainer import ResidentBatches, Training, train
from normzoo_suites.settings import TrainingSettings

LOOKS = 10
"""How many looks a training gets, about, where nobody says how many steps lie between them."""

Look = Callable[[int], None]
"""Is told how many steps have been taken."""

S = TypeVar("S", bound=TrainingSettings)


class StopTraining(Exception):  # noqa: N818  # not an error: who looks has seen enough
    """Raised by who looks, to end the training there."""


class Watcher(Protocol):
    """Looks at a training before and after each of its steps, counted from 0, and moves nothing in it."""

    def before(self, step: int) -> None:
        """Look before a step."""

    def after(self, step: int) -> None:
        """Look after it."""

    def result(self) -> Result:
        """Give what was seen, once the training has ended well; raises CannotRun where nothing could be."""


def while_training(cells: Sequence[S], data: DataSet, watcher: Callable[[Run, S], Watcher]) -> list[Ended]:
    """Train once, with a watcher for every cell; a training that diverged shows nothing.

    A layer that gets too few values in training leaves nothing to look at; what one cell cannot see leaves the others.
    """
    run = begun(cells[0], data)
    try:
        watchers = [watcher(run, settings) for settings in cells]
        watch(run, watchers)
    except (CannotRun, TooFewValuesError) as error:
        return [CannotRun(str(error)) for _ in cells]
    if run.training.diverged:
        return [run.diverged() for _ in cells]
    return [_told(one) for one in watchers]


def _told(watcher: Watcher) -> Ended:
    try:
        return watcher.result()
    except CannotRun as error:
        return error


def watch(run: Run, watchers: Sequence[Watcher]) -> None:
    """Train to the end, to the bit as ``accuracy`` does, under the eyes of watchers."""
    settings, training = run.settings, _training(run)
    torch.manual_seed(torch_seed(settings.seed, "training"))
    captured = Captured() if settings.device == "cuda" and settings.capture == "auto" else None
    done = 0

    def steps(trainings: Sequence[Training]) -> None:
        nonlocal done
        for _ in range(training.batches.steps):
            for one in watchers:
                one.before(done)
            captured.step(trainings) if captured else training.step()
            for one in watchers:
                one.after(done)
            done += 1

    train([training], 0, settings.epochs, steps)


@dataclass(frozen=True)
class _After:
    """Tells of every step that was taken; what a look draws, by a model's dropout say, training does not miss."""

    look: Look
    devices: list[int]

    def before(self, step: int) -> None:
        """Look at nothing."""

    def after(self, step: int) -> None:
        """Tell how many steps have been taken."""
        with torch.random.fork_rng(self.devices):
            self.look(step + 1)

    def result(self) -> Result:
        """Give nothing: who looks keeps what was seen."""
        return Result({})


def watch_steps(run: Run, look: Look) -> None:
    """Train to the end, or until the look raises ``StopTraining``; it is told after every step."""
    devices = [torch.cuda.current_device()] if run.settings.device == "cuda" else []
    with contextlib.suppress(StopTraining):
        watch(run, [_After(look, devices)])


def trains(run: Run) -> bool:
    """Whether a training that has ended has trained its net.

    That is so where the mean training accuracy of the last epoch is above halfway from chance to 1; one whose loss was
    not finite has not.
    """
    chance = run.known["chance_accuracy"]
    return not run.training.diverged and run.training.series["train_accuracy"][-1] > (1 + chance) / 2


def _training(run: Run) -> Training:
    assert isinstance(run.training, Training)  # for mypy: these settings have no local_epochs
    return run.training


def steps_of(run: Run) -> int:
    """Count the steps of a whole training."""
    return _training(run).batches.steps * run.settings.epochs


def distance(run: Run, every: int) -> int:
    """Give the steps from one look to the next."""
    return every or max(1, steps_of(run) // LOOKS)


@dataclass(frozen=True)
class Held:
    """A net in training mode and a batch, as they were at one moment.

    Whatever is computed finds the running statistics of that moment, and draws the same random numbers. It is in
    float32 whatever the training is in, on CUDA without TF32, since what is rounded to fewer digits looks rough.
    """

    model: nn.Module
    images: Tensor  # [N, C, H, W]
    labels: Tensor  # [N]
    label_smoothing: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, run: Run) -> Held:
        """Hold a training as it is before its next step, with the batch of that step."""
        training = _training(run)
        batches = training.batches
        assert isinstance(batches, ResidentBatches)  # for mypy: these settings have no data = "stream"
        place = batches.position.clone()
        images, labels = batches.take()
        batches.position.copy_(place)
        seed = torch_seed(run.settings.seed, "looks")
        return cls(copy.deepcopy(training.model), images, labels, run.settings.label_smoothing, seed)

    @property
    def weights(self) -> list[Tensor]:
        """What is trained, in the order of the model."""
        return [one.detach() for one in self.model.parameters() if one.requires_grad]

    def at(self, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Give the batch's loss, without weight decay, and its gradient, at these weights."""
        model = copy.deepcopy(self.model)  # a plugin may keep more than buffers from pass to pass
        trained = [one for one in model.parameters() if one.requires_grad]
        with torch.no_grad():
            for one, value in zip(trained, weights, strict=True):
                one.copy_(value)
        with exactly(self.images.device, self.seed):
            logits = model(self.images)
            wide = torch.promote_types(logits.dtype, torch.float32)
            loss = F.cross_entropy(logits.to(wide), self.labels, label_smoothing=self.label_smoothing)
            gradient = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        return loss.detach(), list(gradient)


@contextlib.contextmanager
def exactly(device: torch.device, seed: int) -> Iterator[None]:
    """Compute in float32 without TF32, with random numbers of one seed; afterwards all is as it was."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Give the l2 norm of all of them together, summed up in float64."""
    return torch.stack([torch.linalg.vector_norm(one, dtype=torch.float64) for one in tensors]).square().sum().sqrt()
