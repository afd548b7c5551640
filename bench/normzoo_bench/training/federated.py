"""Federated averaging: ranks train by themselves for some epochs, then their weights are averaged, and so on.

McMahan et al. 2017 (arXiv:1602.05629), algorithm 1, with every rank in every round. A round's optimizer is a fresh one,
since what is averaged are weights; its rate goes on where the schedule is. Ranks count by their numbers of samples.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import normzoo
from normzoo_bench import splits
from normzoo_bench.seeds import stream
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.observe import Observer, tell
from normzoo_bench.training.optimizer import optimizer
from normzoo_bench.training.trainer import ResidentBatches, Training, eager, train
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings


class Federation:
    """A model that several ranks train in rounds.

    Attributes:
        model: the averaged model. With ``buffers = "local"`` its norm layers mean nothing: each rank's has its own.
        ranks: by rank, the training of its own copy.
        series: by name, a number per epoch that has ended, the mean over samples of all ranks.
        diverged: whether a rank's mean loss of an epoch was not finite.
        observer: is told of the epochs of every round that has ended, but for one that went wrong.

    """

    average = None  # `ema` is of steps, and there is none across rounds
    observer: Observer | None = None

    def __init__(self, model: nn.Module, feed: Feed, settings: AccuracySettings) -> None:
        self.model, self.settings = model.train(), settings
        owners = _owners(settings, feed.labels.cpu().numpy())
        self.shares = [len(own) / sum(map(len, owners)) for own in owners]
        self.ranks = [_alone(copy.deepcopy(model), feed, settings, rank, own) for rank, own in enumerate(owners)]
        self.kept = _norm_layers(model, settings) if settings.buffers == "local" else ()
        self.series: dict[str, list[float]] = {"train_loss": [], "train_accuracy": []}
        self.diverged = False

    def train(self, first: int, last: int) -> None:
        """Train from epoch ``first`` up to ``last``, in whole rounds; ends early where a rank diverges.

        Afterwards every rank has the average of the last round, so that all are read after communication.
        """
        for start in range(first, last, self.settings.local_epochs):
            if self.diverged:
                break
            self._round(start)
        for rank in self.ranks:
            self._send(rank.model)

    def _round(self, start: int) -> None:
        for rank in self.ranks:
            self._send(rank.model)
            rank.optimizer = optimizer(rank.model, rank.settings)
            train([rank], start, start + self.settings.local_epochs, eager)
        self._note(start)
        self._average()

    def branch(self) -> Federation:
        """Give a federation that goes on from here with its running statistics as constants (FixBN).

        Zhong et al. 2023 (arXiv:2303.06530): what has been averaged so far is frozen; weights and biases are not.
        """
        branch = copy.copy(self)
        branch.observer = None
        branch.model, branch.series = copy.deepcopy(self.model), copy.deepcopy(self.series)
        branch.ranks = [rank.branch() for rank in self.ranks]
        factory = normzoo.card(parse_call(self.settings.normalizer).name).factory
        for model in (branch.model, *(rank.model for rank in branch.ranks)):
            for layer in model.modules():
                if isinstance(layer, factory):
                    layer.eval()
        return branch

    def _note(self, start: int) -> None:
        """Write down a round's numbers, up to the epoch in which a rank diverged."""
        self.diverged = any(rank.diverged for rank in self.ranks)
        for name, values in self.series.items():
            own = [rank.series[name][start:] for rank in self.ranks]
            ended = min(map(len, own))
            values += np.average([one[:ended] for one in own], axis=0, weights=self.shares).tolist()
        last = len(self.series["train_loss"]) - self.diverged
        tell(self.observer, self.settings.seed, self.series, range(start, last))

    @torch.no_grad()
    def _send(self, model: nn.Module) -> None:
        for (name, own), common in zip(_tensors(model), _values(self.model), strict=True):
            if not name.startswith(self.kept):
                own.copy_(common)

    @torch.no_grad()
    def _average(self) -> None:
        every = zip(*(_values(rank.model) for rank in self.ranks), strict=True)
        for common, tensors in zip(_values(self.model), every, strict=True):
            mean = sum(share * one.double() for share, one in zip(self.shares, tensors, strict=True))
            assert isinstance(mean, Tensor)  # for mypy, to which a sum may be 0: there is a rank
            common.copy_(mean if common.is_floating_point() else mean.round())  # a counter of steps


def _alone(model: nn.Module, feed: Feed, settings: AccuracySettings, rank: int, own: NDArray[np.int64]) -> Training:
    """Give a rank's training on its own samples; one with fewer than a batch goes through them again to fill it."""
    local = int(settings.local_batch)
    index = torch.from_numpy(np.resize(own, max(len(own), local))).to(feed.labels.device)
    samples = dataclasses.replace(feed, images=feed.images[index], labels=feed.labels[index])
    seed = int(stream(settings.seed, f"rank {rank} by itself").integers(2**32))
    alone = settings.model_copy(
        update={"batch_size": local, "ranks": 1, "split": "iid", "local_epochs": 0, "buffers": "rank0", "seed": seed}
    )
    return Training(model, ResidentBatches(samples, alone), alone)


def _owners(settings: AccuracySettings, labels: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    owners = splits.owners(settings, labels)
    if owners is not None:
        return owners
    return np.array_split(stream(settings.seed, "iid ranks").permutation(len(labels)), settings.ranks)


def _norm_layers(model: nn.Module, settings: AccuracySettings) -> tuple[str, ...]:
    """Name the norm layers, as their parameters' and buffers' names begin."""
    factory = normzoo.card(parse_call(settings.normalizer).name).factory
    return tuple(f"{name}." for name, layer in model.named_modules() if isinstance(layer, factory))


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _values(model: nn.Module) -> Iterator[Tensor]:
    return (tensor for _, tensor in _tensors(model))
