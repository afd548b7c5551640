"""The leak probe: how much of a label can be read off a sample's batch-mates through batch statistics.

A statistic over a batch tells every sample of it something about all others. Where batches are composed by label, that
is a hint at the answer, which a net can learn to take (Wu & Johnson 2021, arXiv:2105.07576).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo import TooFewValuesError
from normzoo_bench.ranks import VirtualRanks, unwrap
from normzoo_bench.training.batchwise import (
    NoReadingError,
    Parts,
    accuracy_by_batch,
    card_of,
    classwise,
    iid_batches,
    interleaved,
    own_statistics,
    samples_per_statistic,
)
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.trainer import autocast
from normzoo_suites.settings import AccuracySettings

SAMPLES = 64
"""Whose gradients are looked at: few, as each takes a backward pass through its batch."""


def read_leak(model: nn.Module, held: Feed, settings: AccuracySettings, iid: float) -> dict[str, float]:
    """Give the metrics of the leak probe, where a cell asks for it; the model stays as it is.

    ``test_accuracy_grouped`` is the accuracy on batches of one class each, with their own statistics.
    ``label_leak`` is what it has more than ``iid``, the accuracy on iid batches of that size. Above 0, the net reads
    labels off batch-mates: it was trained on parts of one class, and has learnt that they agree (what Ioffe 2017,
    arXiv:1702.03275, figure 3, has for parts of 16 classes, two samples each: 76.5 on such batches, 67.0 without).
    Below 0, which is usual for batch norm after other training, a statistic of one class takes away what tells it from
    others. Batch renorm is near 0 once its limits are wide: it gives what running statistics give, and only its
    gradient looks at batch-mates. What does not pool over the batch is the control: it has no statistic of the batch,
    ``iid`` is its plain test accuracy, and its leak is 0.

    ``gradient_footprint`` is the part of a sample's own loss that its batch-mates answer for; see ``footprint``.

    Raises:
        CannotRun: when the held-out part has fewer samples than a batch.

    """
    if settings.probe == "none" or settings.evaluate_on == "validation":
        return {}
    size = samples_per_statistic(settings, held)
    prepare = own_statistics if "batch" in card_of(settings).pools else _as_in_eval
    batches = classwise(settings.seed, held.labels.cpu().numpy(), size)
    try:
        grouped = accuracy_by_batch(model, batches, held, settings, prepare)
        reach = footprint(model, held, settings, size)
    except (NoReadingError, TooFewValuesError):
        return {}
    found = {"test_accuracy_grouped": grouped, "label_leak": grouped - iid}
    return found | ({"gradient_footprint": reach} if math.isfinite(reach) else {})


def footprint(model: nn.Module, held: Feed, settings: AccuracySettings, size: int) -> float:
    """Give the part of the gradient of one sample's loss that reaches its batch-mates, in training mode.

    Σ_{j≠i} ‖∂loss_i/∂x_j‖² / Σ_j ‖∂loss_i/∂x_j‖², x_j being the standardized images of the batch, on iid test batches
    of ``size``; the mean over 64 samples i, some more or fewer so that batches have equally many. Samples without
    any gradient are left out; without one that has it, the result is not a number.

    It is 0 for what does not pool over the batch, and at most 1.
    """
    count = min(-(-SAMPLES // size), len(held) // size)
    index = iid_batches(settings.seed, len(held), size).index[:count]
    images, labels = held.batch(interleaved(list(index)).to(held.labels.device))
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        with autocast(settings):
            logits = _in_training(model, settings, *index.shape)(images)
        losses = F.cross_entropy(logits.float(), labels, reduction="none").view(size, count)
    shares = [_reach(losses, images, place) for place in range(min(size, -(-SAMPLES // count)))]
    return torch.cat(shares).nanmean().item()


def _reach(losses: Tensor, images: Tensor, place: int) -> Tensor:
    """Give the part that reaches batch-mates, [batches], for the sample at one place of every batch.

    One backward pass serves all batches: they have nothing in common.
    """
    (gradient,) = torch.autograd.grad(losses[place].sum(), images, retain_graph=True)
    squares = gradient.double().square().flatten(1).sum(1).view(losses.shape)  # [size, batches]
    whole = squares.sum(0)
    squares[place] = 0
    return squares.sum(0) / whole


def _in_training(model: nn.Module, settings: AccuracySettings, parts: int, size: int) -> nn.Module | Parts:
    """Give a copy of the model whose norm layers alone are in training mode, with no parameter that wants gradients."""
    card = card_of(settings)
    plain = unwrap(copy.deepcopy(model)).eval().requires_grad_(False)
    if "batch" in card.pools:
        return Parts(plain, card, own_statistics, parts, size)
    for layer in plain.modules():
        if isinstance(layer, card.factory):
            layer.train()
    return plain


def _as_in_eval(_: Sequence[VirtualRanks]) -> None:
    """Leave the layers in eval, where they have no statistic of the batch."""
