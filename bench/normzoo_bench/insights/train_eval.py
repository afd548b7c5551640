"""The measure ``train_eval``: a test without ``eval()``, what it leaves behind, and images that training has not seen.

In training mode a norm layer normalizes by the test batch, and moves its running statistics towards it. Where the test
images are shifted that may even help: prediction-time batch normalization (Nado et al. 2020, arXiv:2006.10963); or the
statistics are recomputed on them beforehand (Schneider et al. 2020, arXiv:2006.16971).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from normzoo_bench import splits
from normzoo_bench.accuracy import Ended, Run
from normzoo_bench.data import DataSet
from normzoo_bench.insights.trained import after_training, norm_layers
from normzoo_bench.ranks import unwrap
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.seeds import stream
from normzoo_bench.training.batchwise import NoReadingError, card_of, classwise, iid_batches
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.online import cut
from normzoo_bench.training.readings import with_population
from normzoo_bench.training.trainer import autocast
from normzoo_suites.settings import AccuracySettings, TrainEvalSettings

SHIFTS = {
    "noise": [f"noise(level={level})" for level in (0.08, 0.12, 0.18, 0.26, 0.38)],
    "blur": [f"blur(radius={radius})" for radius in (0.4, 0.6, 0.7, 0.8, 1.0)],
    "contrast": [f"contrast(factor={factor})" for factor in (0.4, 0.3, 0.2, 0.1, 0.05)],
}
"""By shift, the corruption of strengths 1 to 5 (Hendrycks & Dietterich 2019, arXiv:1903.12261).

Noise and contrast are ImageNet-C's, since they do not hang on an image's size; the blur, in pixels, is CIFAR-10-C's.
"""

DUPLICATED = 100
"""Test samples at most that are repeated, a batch each: those of larger test parts are drawn."""

Moments = tuple[Tensor, Tensor]
"""A layer's running mean and standard deviation, [C] each."""

Batch = tuple[Tensor, Tensor]
"""Positions in the test part, and which of them count, so that every sample is read once."""


def measure(cells: Sequence[TrainEvalSettings], data: DataSet) -> list[Ended]:
    """Train once, and test as every cell asks."""
    return after_training(cells, data, _look)


def _look(run: Run, settings: TrainEvalSettings) -> Result:
    card, asked = card_of(run.settings), run.settings
    if settings.test_batch_size > len(run.held) and "batch" in card.pools:
        raise CannotRun(f"test_batch_size is {settings.test_batch_size}, and the test part has {len(run.held)} samples")
    feed = _shifted(run.held, settings)
    model = _prepared(run, feed, settings)
    layers = norm_layers(model, settings)
    # always the same batches: floats of batches of other sizes differ in their last bits
    batches = composed(settings, feed.labels.cpu().numpy())
    properly = hits(model, batches, feed, asked)
    before = running(layers)
    for layer in layers:
        layer.train()
    forgotten = hits(model, batches, feed, asked)
    after = running(layers)
    for layer in layers:
        layer.eval()
    metrics = {
        "chance_accuracy": run.known["chance_accuracy"],
        "shifted_accuracy": _share(properly),
        "forgotten_eval_accuracy": _share(forgotten),
        "forgotten_eval_drop": _share(properly) - _share(forgotten),
        "eval_accuracy_afterwards": _share(hits(model, batches, feed, asked)),
    }
    if before or not card.running_stats:  # a plugin may keep its statistics under names of its own
        far = moved(before, after)
        metrics |= {"moved_statistics": far} if math.isfinite(far) else {}
    return Result(metrics, dict(run.training.series), options=run.options)


def corruption(settings: TrainEvalSettings) -> str:
    """Name the corruption that a shift of some strength is."""
    return SHIFTS[settings.shift][settings.strength - 1] if settings.strength else "none"


def _shifted(held: Feed, settings: TrainEvalSettings) -> Feed:
    images = splits.corrupted(corruption(settings), held.images.cpu(), settings.seed)
    return dataclasses.replace(held, images=images.to(held.images.device))


def _prepared(run: Run, feed: Feed, settings: TrainEvalSettings) -> nn.Module:
    """Give a copy of the trained net, in eval, with the statistics that it comes to the test with.

    What keeps no running statistics has none to recompute: it is the control.
    """
    card = card_of(run.settings)
    model = run.training.model
    if settings.statistics == "trained" or not card.running_stats:
        return unwrap(copy.deepcopy(model)).eval()
    try:
        return with_population(model, feed, run.settings).eval()
    except NoReadingError:
        raise CannotRun(f"the running statistics of {card.name} cannot be recomputed: no set_population") from None


def composed(settings: TrainEvalSettings, labels: NDArray[np.int64]) -> list[Batch]:
    """Compose the test batches, in the order in which they come.

    What fills up a last batch does not count; of ``class_ordered`` ones the last is shorter, or by half its size
    longer, as a stream's.
    """
    size, count = settings.test_batch_size, len(labels)
    draw = stream(settings.seed, "forgotten eval")
    if settings.composition == "class_ordered":
        order = splits.order("class_ordered", labels, draw)
        return [(torch.from_numpy(one), torch.ones(len(one), dtype=torch.bool)) for one in cut(order, size)]
    if settings.composition == "duplicates":
        first = torch.arange(size) == 0
        drawn = torch.from_numpy(draw.permutation(count)[:DUPLICATED])
        return [(one.expand(size), first) for one in drawn]
    if settings.composition == "iid":
        return list(zip(*iid_batches(settings.seed, count, size), strict=True))
    index, counts = classwise(settings.seed, labels, size)
    return [(index[place], counts[place]) for place in draw.permutation(len(index))]


@torch.no_grad()
def hits(model: nn.Module, batches: Sequence[Batch], feed: Feed, settings: AccuracySettings) -> Tensor:
    """Tell which samples are hits, batch after batch, each module in the mode that it is in."""
    found = []
    for index, counts in batches:
        images, labels = feed.batch(index.to(feed.labels.device))
        with autocast(settings):
            right = model(images).argmax(1) == labels
        found.append(right[counts.to(right.device)])
    return torch.cat(found)


def running(layers: Sequence[nn.Module]) -> list[Moments]:
    """Give copies of the running statistics that layers keep, float64; a variance gives √(variance + eps)."""
    found = []
    for part in (part for layer in layers for part in layer.modules()):
        mean, var = getattr(part, "running_mean", None), getattr(part, "running_var", None)
        deviation = getattr(part, "running_std", None)
        if isinstance(var, Tensor) and not isinstance(deviation, Tensor):
            deviation = (var.double() + getattr(part, "eps", 1e-5)).sqrt()
        if isinstance(mean, Tensor) and isinstance(deviation, Tensor):
            found.append((mean.detach().double().clone(), deviation.detach().double().clone()))
    return found


def moved(before: Sequence[Moments], after: Sequence[Moments]) -> float:
    """Give how far running means have moved, in the running standard deviations that there were before.

    The root mean square over the channels of all layers; 0 where nothing is kept.
    """
    if not before:
        return 0.0
    far = [(late - early) / deviation for (early, deviation), (late, _) in zip(before, after, strict=True)]
    return torch.cat(far).square().mean().sqrt().item()


def _share(right: Tensor) -> float:
    return right.sum().item() / len(right)
