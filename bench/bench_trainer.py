"""The trainer against a bare PyTorch loop: same model, data, batches, augmentation and optimizer, in paired samples.

`pytest bench/bench_trainer.py` prints images per second and the ratio for each case, on a GPU if there is one; a ratio
above 1 means that the trainer is faster. Before it is timed, the trainer's loss has to lie on the loop's.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn
from torch.nn import functional as F

from normzoo_bench import accuracy, models
from normzoo_bench.data import DataSet
from normzoo_bench.seeds import torch_seed
from normzoo_bench.timing import time_pairs
from normzoo_bench.training.trainer import Training, eager
from normzoo_suites.settings import AccuracySettings
from training_steps import CLOCK, DEVICE, noise, step_of

SAMPLES = 4096 if DEVICE == "cuda" else 512
PAIRS = 9
BATCHES = (2, 4, 16, 64, 256)


@pytest.fixture(scope="module")
def images() -> DataSet:
    """Noise, some steps of the largest batch."""
    return noise(SAMPLES)


def cell(batch_size: int) -> AccuracySettings:
    """Give the cell whose training is timed."""
    told: dict[str, Any] = {"normalizer": "batch_norm", "dataset": "noise", "model": "resnet20", "epochs": 1000}
    told |= {"batch_size": batch_size, "augment": "crop_flip", "device": DEVICE}
    return AccuracySettings(**told)


@dataclass
class Bare:
    """A loop as one writes it: index, augment by batch, forward, backward, step; the scheduler once a step."""

    settings: AccuracySettings
    training: Training

    def __post_init__(self) -> None:
        torch.manual_seed(torch_seed(self.settings.seed, "weights"))
        layout = torch.channels_last if DEVICE == "cuda" else torch.contiguous_format
        self.model: nn.Module = models.build("resnet20", (3, 32, 32), 10).to(DEVICE, memory_format=layout)  # type: ignore[call-overload]  # no stub
        weights = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        groups = [{"params": others, "weight_decay": 0.0}, {"params": weights, "weight_decay": 5e-4}]
        self.optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
        steps = self.settings.epochs * self.training.batches.steps
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.position = 0
        self.losses: list[torch.Tensor] = []

    def step(self) -> None:
        """Take one step on the batch that the trainer's order has next."""
        batches: Any = self.training.batches
        index, drawn = batches.order[self.position], batches.drawn[self.position]
        feed = batches.feed
        images = (feed.images[index].float() - feed.mean) / feed.deviation
        padded = F.pad(images, (4, 4, 4, 4))
        made = [padded[n, :, row : row + 32, column : column + 32] for n, (row, column, _) in enumerate(drawn.tolist())]
        flips = drawn[:, 2].view(-1, 1, 1, 1).bool()
        images = torch.stack(made)
        images = torch.where(flips, images.flip(3), images)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = F.cross_entropy(self.model(images), feed.labels[index])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(loss.detach())
        self.position = (self.position + 1) % batches.steps


def run_of(batch_size: int, images: DataSet) -> tuple[Training, Bare]:
    """Give a training and a bare loop that start alike."""
    settings = cell(batch_size)
    training = accuracy.Run(settings, images).training
    assert isinstance(training, Training)  # for mypy: it is federated where ranks train by themselves only
    training.begin(0)
    return training, Bare(settings, training)


def bench_the_loss_lies_on_the_bare_loops(images: DataSet) -> None:
    training, bare = run_of(64, images)
    eager([training])
    for _ in range(training.batches.steps):
        bare.step()
    mean = training.loss_sum.item() / training.batches.steps
    assert math.isclose(mean, torch.stack(bare.losses).mean().item(), rel_tol=1e-3 if DEVICE == "cpu" else 2e-2)


@pytest.mark.parametrize("batch_size", BATCHES)
def bench_trainer(benchmark: BenchmarkFixture, batch_size: int, images: DataSet) -> None:
    training, bare = run_of(batch_size, images)
    ours, theirs = step_of(training), bare.step
    pairs = time_pairs(ours, theirs, CLOCK, PAIRS)
    ratio = statistics.median(1 / one for one in pairs.ratios())
    benchmark.group = f"training step on {DEVICE}"
    benchmark.extra_info.update({"images_per_s_ratio": ratio, "batch_size": batch_size, "device": DEVICE})
    speed = batch_size / statistics.median(pairs.candidate) * 1e3
    print(f"\nbatch {batch_size}: {speed:,.0f} images/s, {ratio:.2f} times the bare loop's")
    benchmark.pedantic(ours, rounds=3)  # type: ignore[no-untyped-call]  # it has no types
