"""What the benches of training share: noise to train on, the device, and one step of a training."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from normzoo_bench.data import DataSet, Images
from normzoo_bench.timing import Step, clock_of
from normzoo_bench.training.capture import Captured
from normzoo_bench.training.trainer import Training

DEVICE: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
CLOCK = clock_of(DEVICE)


def noise(samples: int) -> DataSet:
    """Give noise of CIFAR-10's shape: times do not depend on what is in the pixels."""
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (samples, 3, 32, 32), dtype=np.uint8))
    part = Images(pixels, torch.from_numpy(draw.integers(0, 10, samples)))
    return DataSet(part, part, 10, "noise")


def step_of(training: Training) -> Step:
    """Give one step, replayed on a GPU; the order starts over in time."""
    captured, taken = Captured(), 0

    def step() -> None:
        nonlocal taken
        if taken % training.batches.steps == 0:
            training.begin(0)
        taken += 1
        captured.step([training]) if DEVICE == "cuda" else training.step()

    return step
