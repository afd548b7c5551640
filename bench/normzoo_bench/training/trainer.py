"""One or several models on their way: epochs of steps, with no wait for the device inside an epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo_bench import splits
from normzoo_bench.seeds import stream
from normzoo_bench.training.augment import augmentation
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.observe import Observer, tell
from normzoo_bench.training.optimizer import optimizer, rates
from normzoo_suites.settings import AccuracySettings, TrainingSettings


class Batches(Protocol):
    """What a training takes its batches from, epoch by epoch."""

    steps: int

    def begin(self, epoch: int) -> None:
        """Start an epoch."""

    def take(self) -> tuple[Tensor, Tensor]:
        """Give the next batch: images [N, C, H, W] and labels [N], on the device."""


class ResidentBatches:
    """Batches picked and augmented on the device; order and draws of an epoch lie there before it begins.

    Which batch is next is told by a number on the device, so that a captured step moves on by itself.
    """

    def __init__(self, feed: Feed, settings: AccuracySettings) -> None:
        self.feed, self.seed = feed, settings.seed
        self.steps = len(feed) // settings.batch_size
        self.augmentation = augmentation(settings.augment)
        self._steps_of = splits.steps(settings, feed.labels.cpu().numpy())
        device, shape = settings.device, (self.steps, settings.batch_size)
        self.order = torch.zeros(shape, dtype=torch.int64, device=device)
        self.drawn = torch.zeros((*shape, 3), dtype=torch.int64, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)

    def begin(self, epoch: int) -> None:
        """Draw an epoch's order and augmentation."""
        order, places = self._steps_of(epoch)
        self.order.copy_(torch.from_numpy(order))
        draw = stream(self.seed, f"augmentation of epoch {epoch}")
        if self.augmentation.changes:
            drawn = self.augmentation.draw(draw, self.order.numel()).reshape(self.drawn.shape)
            self.drawn.copy_(torch.from_numpy(np.take_along_axis(drawn, places[..., None], axis=1)))
        self.position.zero_()

    def take(self) -> tuple[Tensor, Tensor]:
        """Give the next batch."""
        images, labels = self.feed.batch(self.of_step(self.order))
        images = self.augmentation.apply(images, self.of_step(self.drawn))
        self.position += 1
        return images, labels

    def of_step(self, drawn: Tensor) -> Tensor:
        """Give the next step's part of what was drawn for an epoch, [steps, …]."""
        return drawn.index_select(0, self.position).squeeze(0)


class Trained(Protocol):
    """What a training comes to, and is read: a model, and where it was asked for the average of its weights."""

    @property
    def model(self) -> nn.Module:
        """The model, in training mode."""

    @property
    def average(self) -> Average | None:
        """The moving average of its weights."""


class Training:
    """A model on its way through one cell's training, with all that moves with it.

    Attributes:
        model: the model, in training mode.
        series: by name, a number per epoch that has ended.
        diverged: whether an epoch's mean loss was not finite.
        observer: is told of every epoch that has ended well.

    """

    observer: Observer | None = None

    def __init__(self, model: nn.Module, batches: Batches, settings: AccuracySettings) -> None:
        self.model, self.batches, self.settings = model.train(), batches, settings
        self.optimizer = optimizer(model, settings)
        self.average = _average(model, settings)
        device = settings.device
        self.rates = torch.tensor(rates(settings, batches.steps), dtype=torch.float64)
        self.rate_of_step = torch.zeros(batches.steps, device=device, dtype=torch.float64)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.loss_sum, self.hits = torch.zeros((), device=device), torch.zeros((), device=device)
        self.series: dict[str, list[float]] = {"train_loss": [], "train_accuracy": []}
        self.diverged = False

    def begin(self, epoch: int) -> None:
        """Prepare an epoch: everything that its steps read is on the device afterwards."""
        self.batches.begin(epoch)
        steps = self.batches.steps
        self.rate_of_step.copy_(self.rates[epoch * steps : (epoch + 1) * steps])
        for one in (self.position, self.loss_sum, self.hits):
            one.zero_()

    def step(self) -> None:
        """Take a batch, and one step; nothing here waits for the device."""
        images, labels = self._take()
        self._set_rate()
        with autocast(self.settings):
            logits = self.model(images)
            loss = self._loss(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.clip_gradient:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_gradient)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        self.loss_sum += loss.detach()
        self.hits += (logits.detach().argmax(1) == labels).sum()

    def _take(self) -> tuple[Tensor, Tensor]:
        return self.batches.take()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the mean over the samples, in float32 at least."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        return F.cross_entropy(logits.to(wide), labels, label_smoothing=self.settings.label_smoothing)

    def _set_rate(self) -> None:
        rate = self.rate_of_step.index_select(0, self.position).squeeze(0)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].copy_(rate)
            else:
                group["lr"] = rate.item()  # on CPU, where nothing has to be waited for
        self.position += 1

    def end(self) -> None:
        """Write an epoch's numbers down: the first wait for the device."""
        count = self.batches.steps * self.settings.batch_size
        self.series["train_loss"].append(self.loss_sum.item() / self.batches.steps)
        self.series["train_accuracy"].append(self.hits.item() / count)
        self.diverged = self.diverged or not math.isfinite(self.series["train_loss"][-1])
        ended = len(self.series["train_loss"])
        tell(self.observer, self.settings.seed, self.series, () if self.diverged else (ended - 1,))

    def branch(self) -> Training:
        """Give a training that goes on from here by itself; the images are shared."""
        shared = {id(self.settings): self.settings}
        if isinstance(self.batches, ResidentBatches):
            shared[id(self.batches.feed)] = self.batches.feed  # type: ignore[assignment]  # deepcopy's memo takes any
        branch = copy.deepcopy(self, shared)
        branch.average = branch.observer = None
        return branch


def _average(model: nn.Module, settings: AccuracySettings) -> Average | None:
    if not settings.ema:
        return None
    from timm import utils

    made: Average = utils.ModelEmaV3(model, decay=settings.ema)  # type: ignore[attr-defined]  # no __all__
    return made


class Average(Protocol):
    """A moving average of a model's weights, timm's."""

    module: nn.Module

    def update(self, model: nn.Module) -> None:
        """Take a step's weights in."""


def autocast(settings: AccuracySettings) -> AbstractContextManager[object]:
    """Give the surroundings in which a model of this cell runs, in training and in tests."""
    return torch.autocast(settings.device, torch.bfloat16) if precision(settings) == "bfloat16" else nullcontext()


def precision(settings: TrainingSettings) -> str:
    """Give the precision that ``auto`` stands for."""
    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if settings.device == "cuda" else "float32"


def layout(settings: AccuracySettings) -> torch.memory_format:
    """Give the memory layout that ``auto`` stands for."""
    last = settings.layout == "channels_last" or (settings.layout == "auto" and settings.device == "cuda")
    return torch.channels_last if last else torch.contiguous_format


def train(trainings: Sequence[Training], first: int, last: int, steps: Callable[[Sequence[Training]], None]) -> None:
    """Train side by side from epoch ``first`` up to ``last``; ``steps`` takes one epoch's steps of all of them.

    A training whose loss was not finite ends there; the others go on.
    """
    for epoch in range(first, last):
        going = [one for one in trainings if not one.diverged]
        if not going:
            return
        for one in trainings:
            one.begin(epoch)  # all: a recorded step takes those along that have ended, and must not run off their order
        steps(going)
        for one in going:
            one.end()


def eager(trainings: Sequence[Training]) -> None:
    """Take one epoch's steps, each launched from here."""
    for _ in range(trainings[0].batches.steps):
        for one in trainings:
            one.step()
