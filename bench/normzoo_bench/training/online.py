"""A trained net on a stream: the held-out part in an order of time, corrupted or not, met batch by batch.

Every sample comes once, and no weight changes. What differs is the statistics: those that training has left, each
batch's own (Nado et al. 2020, arXiv:2006.10963; Schneider et al. 2020, arXiv:2006.16971), those of the whole stream
without its labels (AdaBN, Li et al. 2016, arXiv:1603.04779), or moving averages that go on moving.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normzoo import TooFewValuesError
from normzoo_bench import splits
from normzoo_bench.errors import UsageError
from normzoo_bench.ranks import VirtualRanks
from normzoo_bench.seeds import stream
from normzoo_bench.training.batchwise import (
    NoReadingError,
    card_of,
    hits_by_batch,
    own_statistics,
    samples_per_statistic,
)
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.readings import hits_and_loss, with_population
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]


def read_stream(model: nn.Module, held: Feed, settings: AccuracySettings) -> dict[str, float]:
    """Give the metrics of the stream that a cell asks for; what its normalizer has no statistics for is left out.

    So is what its batches are too small for. The model is left as it is but for its mode.

    Raises:
        CannotRun: when the held-out part has fewer samples than a batch of the stream.

    """
    if settings.stream == "none" or settings.evaluate_on == "validation":
        return {}
    samples_per_statistic(settings, held)
    corrupted = _corrupted(held, settings)
    metrics = {}
    for name, reading in _READINGS.items():
        with contextlib.suppress(NoReadingError, TooFewValuesError):
            metrics[name] = reading(model, corrupted, settings)
    return metrics


def check(settings: AccuracySettings) -> None:
    """Require a stream and a corruption that exist, and readings of a trained net that go with the other settings.

    Raises:
        UsageError: otherwise.

    """
    if settings.stream != "none":
        splits.check_order(settings.stream)
    splits.check_corruption(settings.corruption)
    if settings.corruption != "none" and settings.data == "stream":
        raise UsageError(
            f'corruption {settings.corruption} changes images that are decoded, which needs data = "resident", got '
            '"stream"'
        )
    for key in ("stream", "probe"):
        if (asked := getattr(settings, key)) == "none":
            continue
        if settings.effects != "none":
            raise UsageError(f"{key} {asked} needs effects none, got {settings.effects}: one thing at a time")


def cut(order: Indices, size: int) -> list[Indices]:
    """Cut a stream into batches; a last one of at most half the size joins the one before, a larger one is its own."""
    whole, rest = divmod(len(order), size)
    pieces = max(1, whole + (2 * rest > size))
    return np.split(order, range(size, pieces * size, size))


def _corrupted(held: Feed, settings: AccuracySettings) -> Feed:
    if settings.corruption == "none":
        return held
    images = splits.corrupted(settings.corruption, held.images.cpu(), settings.seed)
    return dataclasses.replace(held, images=images.to(held.images.device))


def _batches(feed: Feed, settings: AccuracySettings) -> list[Tensor]:
    draw = stream(settings.seed, "order of the test stream")
    order = splits.order(settings.stream, feed.labels.cpu().numpy(), draw)
    return [torch.from_numpy(one) for one in cut(order, samples_per_statistic(settings, feed))]


def _kept(model: nn.Module, feed: Feed, settings: AccuracySettings) -> float:
    """Test with the statistics that training has left; the order cannot matter."""
    card = card_of(settings)
    if card.batch_dependent and not card.running_stats:
        raise NoReadingError
    return hits_and_loss(model, feed, settings)[0]


def _own(model: nn.Module, feed: Feed, settings: AccuracySettings) -> float:
    """Test with each batch's own statistics, in training mode as every step of training was."""
    if "batch" not in card_of(settings).pools:
        raise NoReadingError
    return _share(hits_by_batch(model, _batches(feed, settings), feed, settings))


def _adapted(model: nn.Module, feed: Feed, settings: AccuracySettings) -> float:
    """Test with population statistics of the whole stream; the order cannot matter."""
    return hits_and_loss(with_population(model, feed, settings), feed, settings)[0]


def _following(model: nn.Module, feed: Feed, settings: AccuracySettings) -> float:
    """Test with running statistics that every batch moves before it is normalized by them."""
    if not card_of(settings).running_stats:
        raise NoReadingError
    followers: list[_Follower] = []

    def prepare(layers: Sequence[VirtualRanks]) -> None:
        if not followers:  # later ones go on where these are
            followers.extend(_Follower(layer.get_submodule("inner"), settings.stream_momentum) for layer in layers)
        own_statistics(layers)
        for layer, follower in zip(layers, followers, strict=True):
            layer.get_submodule("inner").eval()
            layer.register_forward_pre_hook(functools.partial(_follow, follower))

    hits = hits_by_batch(model, _batches(feed, settings), feed, settings, prepare)
    if any(follower.seen > len(hits) for follower in followers):
        raise NoReadingError  # a layer that runs twice would see later batches before earlier ones come again
    return _share(hits)


def _share(hits: Tensor) -> float:
    return hits.sum().item() / len(hits)


_READINGS: dict[str, Callable[[nn.Module, Feed, AccuracySettings], float]] = {
    "stream_accuracy": _kept,
    "stream_accuracy_batch": _own,
    "stream_accuracy_adabn": _adapted,
    "stream_accuracy_momentum": _following,
}


class _Follower:
    """The running statistics of one norm layer, on the CPU, as batches move them with a weight of ``momentum``.

    What moves is what the layer keeps: batch norm the unbiased variance, batch renorm the standard deviation.
    """

    def __init__(self, layer: nn.Module, momentum: float) -> None:
        self.layer, self.momentum = copy.deepcopy(layer).cpu(), momentum
        self.statistics = self._floating()
        self.set: Callable[[Tensor, Tensor, int], None] = getattr(self.layer, "set_population", self._set)
        self.seen = 0

    @torch.no_grad()
    def move(self, mean: Tensor, var: Tensor, count: int) -> dict[str, Tensor]:
        """Take in a batch's mean and biased variance [C], of ``count`` values; give the statistics after it.

        A single value has no variance: it moves the mean alone.
        """
        batch = self._batch(mean, var, count)
        before = self.statistics
        self.statistics = before | {name: torch.lerp(before[name], new, self.momentum) for name, new in batch.items()}
        return self.statistics

    def _batch(self, mean: Tensor, var: Tensor, count: int) -> dict[str, Tensor]:
        if count > 1:
            self.set(mean, var, count)
            return self._floating()
        if "running_mean" not in self.statistics:
            raise NoReadingError
        return {"running_mean": mean.to(self.statistics["running_mean"].dtype)}

    def _floating(self) -> dict[str, Tensor]:
        return {name: one.clone() for name, one in self.layer.named_buffers() if one.is_floating_point()}

    def _set(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Set the statistics of what is derived from torch's batch norm, as ``recalibrate`` does."""
        layer = self.layer
        if not isinstance(layer, _BatchNorm) or layer.running_mean is None or layer.running_var is None:
            raise NoReadingError
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(var * (count / (count - 1)))


@torch.no_grad()
def _follow(follower: _Follower, layer: VirtualRanks, args: tuple[Tensor, ...]) -> None:
    """Give each batch in x [size · batches, C, *space], interleaved, the running statistics as they are after it.

    Batches go through a layer together and yet one after the other: what a layer sees of a batch hangs on nothing that
    comes later.
    """
    x = args[0]
    values = x.double().reshape(-1, layer.ranks, x.shape[1], x[0, 0].numel())  # [size, batches, C, positions]
    var, mean = (one.cpu() for one in torch.var_mean(values, dim=(0, 3), correction=0))
    count = values.shape[0] * values.shape[3]
    after = [follower.move(*moments, count) for moments in zip(mean, var, strict=True)]
    follower.seen += len(x)
    for name in follower.statistics:
        layer.states[name].copy_(torch.stack([one[name] for one in after]))
