"""Test batches that are each normalized by a statistic of their own, many of them in one forward pass.

The norm layers take a pass's batches as virtual ranks take theirs; nothing else of a model looks at batch-mates.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import normzoo
from normzoo import Card
from normzoo_bench.ranks import VirtualRanks, unwrap, wrap
from normzoo_bench.result import CannotRun
from normzoo_bench.seeds import stream
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.trainer import autocast
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings

EVAL_BATCH = 250  # only a matter of memory: eval ignores batch-mates

Prepare = Callable[[Sequence[VirtualRanks]], None]
"""Puts the layers of a model into the state in which they take batches."""


class NoReadingError(Exception):
    """The normalizer has no such statistics."""


class Batches(NamedTuple):
    """Batches of one size: positions in the held-out part, and which of them count; both [batches, size].

    What fills a batch up does not count, so that every sample is read once.
    """

    index: Tensor  # type: ignore[assignment]  # hides the method of tuples, which nobody wants of batches
    counts: Tensor


def card_of(settings: AccuracySettings) -> Card:
    """Give the card of a cell's normalizer."""
    return normzoo.card(parse_call(settings.normalizer).name)


def samples_per_statistic(settings: AccuracySettings, held: Feed) -> int:
    """Give the size of a cell's test batches; an ``eval_batch_size`` of 0 stands for as many samples as in training.

    Raises:
        CannotRun: when the held-out part has fewer, and that matters to the normalizer.

    """
    own = settings.batch_size if "rank" in card_of(settings).pools else int(settings.local_batch)
    size = settings.eval_batch_size or own
    if size > len(held) and "batch" in card_of(settings).pools:
        raise CannotRun(f"eval_batch_size is {size}, and the {settings.evaluate_on} part has {len(held)} samples")
    return min(size, len(held))


def iid_batches(seed: int, count: int, size: int) -> Batches:
    """Draw batches of ``size`` from ``count`` samples; the last are filled up from those that were drawn first."""
    drawn = stream(seed, "test batches").permutation(count)
    places = np.arange(-(-count // size) * size)
    chunks = np.split(places, range(_at_once(size) * size, len(places), _at_once(size) * size))
    # a chunk is dealt as a step is dealt to ranks: place i is of batch i mod batches
    dealt = np.concatenate([chunk.reshape(size, -1).T for chunk in chunks])
    return Batches(torch.from_numpy(drawn[dealt % count]), torch.from_numpy(dealt < count))


def classwise(seed: int, labels: NDArray[np.int64], size: int) -> Batches:
    """Draw batches of one class each; a class's last batch is filled up from the class."""
    draw = stream(seed, "test batches of one class")
    index, counts = [], []
    for label in np.unique(labels):
        own = draw.permutation(np.flatnonzero(labels == label))
        places = np.arange(-(-len(own) // size) * size).reshape(-1, size)
        index.append(own[places % len(own)])
        counts.append(places < len(own))
    return Batches(torch.from_numpy(np.concatenate(index)), torch.from_numpy(np.concatenate(counts)))


def own_statistics(layers: Iterable[VirtualRanks]) -> None:
    """Let every batch be normalized as a batch of training is."""
    for layer in layers:
        layer.train()


def accuracy_by_batch(
    model: nn.Module, batches: Batches, feed: Feed, settings: AccuracySettings, prepare: Prepare = own_statistics
) -> float:
    """Test by batches that are filled up; see ``hits_by_batch``."""
    hits = hits_by_batch(model, list(batches.index), feed, settings, prepare)
    return hits[batches.counts.flatten().to(hits.device)].sum().item() / len(feed)


@torch.no_grad()
def hits_by_batch(
    model: nn.Module,
    batches: Sequence[Tensor],
    feed: Feed,
    settings: AccuracySettings,
    prepare: Prepare = own_statistics,
) -> Tensor:
    """Tell which samples are hits, in the order of the batches; the model stays as it is.

    Args:
        model: with virtual ranks or without.
        batches: positions in the feed, [size] each; neighbours of one size go through the model together.
        feed: the held-out part.
        settings: of the cell.
        prepare: what the norm layers do with a batch.

    Raises:
        NoReadingError: where a norm layer does not see samples on its first axis.
        TooFewValuesError: where a batch gives a layer fewer than 2 values per channel.

    """
    plain = unwrap(copy.deepcopy(model)).eval()
    parts = functools.lru_cache(maxsize=1)(functools.partial(Parts, plain, card_of(settings), prepare))
    hits = []
    for some in _together(batches):
        images, labels = feed.batch(interleaved(some).to(feed.labels.device))
        with autocast(settings):
            found = parts(len(some), len(some[0]))(images).argmax(1) == labels
        hits.append(found.view(-1, len(some)).T.flatten())
    return torch.cat(hits)


class Parts:
    """A copy of a model that takes ``parts`` batches of ``size`` samples at once, interleaved."""

    def __init__(self, plain: nn.Module, card: Card, prepare: Prepare, parts: int, size: int) -> None:
        self.model = copy.deepcopy(plain)
        layers = wrap(self.model, card, parts)
        for layer in layers:
            layer.register_forward_pre_hook(functools.partial(_require_samples, parts * size))
        prepare(layers)
        states = [state for layer in layers for state in layer.states.values()]
        self.kept = [(state, state.clone()) for state in states]

    def __call__(self, images: Tensor) -> Tensor:
        """Give the logits; what training mode moves is not for the next batches."""
        logits: Tensor = self.model(images)
        with torch.no_grad():
            for state, before in self.kept:
                state.copy_(before)
        return logits


def interleaved(batches: Sequence[Tensor]) -> Tensor:
    """Put batches of one size together as ranks have a step: position i is of batch i mod batches."""
    return torch.stack(list(batches), dim=1).flatten()


def _at_once(size: int) -> int:
    """Give how many batches of this size go through a model together."""
    return max(1, EVAL_BATCH // size)


def _together(batches: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Cut a sequence of batches into what goes through a model at once: neighbours of one size."""
    for size, run in itertools.groupby(batches, key=len):
        alike, step = list(run), _at_once(size)
        yield from (alike[start : start + step] for start in range(0, len(alike), step))


def _require_samples(count: int, _: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Require that a layer sees samples on its first axis: where tokens are flattened into it, parts would mix them."""
    if args[0].shape[0] != count:
        raise NoReadingError
