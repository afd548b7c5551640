"""One trained net, read with each kind of statistics that its normalizer has: running, population, batch.

Running statistics are the moving averages that training has left; population statistics are those of the training part,
computed afterwards; batch statistics are those of the test batch itself, as in training.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
from normzoo import CannotRecalibrateError, TooFewValuesError, recalibrate
from normzoo_bench.ranks import VirtualRanks, unwrap, wrap
from normzoo_bench.result import CannotRun
from normzoo_bench.seeds import stream
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.trainer import Training, autocast
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings

EVAL_BATCH = 250  # only a matter of memory: eval ignores batch-mates


class Reader:
    """Tests trained nets of one cell on its held-out part."""

    def __init__(self, settings: AccuracySettings, train: Feed, held: Feed) -> None:
        self.settings, self.train, self.held = settings, train, held
        self.card = normzoo.card(parse_call(settings.normalizer).name)
        self.part = settings.evaluate_on

    def read(self, training: Training) -> dict[str, float]:
        """Give the metrics of every reading but those by batch; the model is left with the buffers that are kept."""
        found = self._running(training.model)
        if self.part == "validation":
            return found
        if training.average is not None:
            found["test_accuracy_ema"] = self._averaged(training.average.module, training.model)
        if self.settings.readings == "all":
            with contextlib.suppress(_NoReadingError):
                found["test_accuracy_population"] = self._accuracy(self._with_population(training.model))
        return found

    def by_batch(self, training: Training, running: float, eval_batch_size: int) -> dict[str, float]:
        """Give the metrics of the reading by batch statistics; ``running`` is the test accuracy by running ones.

        Raises:
            CannotRun: when the held-out part has fewer samples than ``eval_batch_size``.

        """
        if self.part == "validation" or self.settings.readings != "all":
            return {}
        try:
            accuracy = self._by_batch(training.model, eval_batch_size)
        except _NoReadingError:
            return {}
        gap = {"train_eval_gap": running - accuracy} if self.card.running_stats else {}
        return {"test_accuracy_batch": accuracy} | gap

    def frozen(self, training: Training) -> dict[str, float]:
        """Test a branch that was trained with frozen statistics."""
        return {"test_accuracy_frozen": self._accuracy(training.model)}

    def _running(self, model: nn.Module) -> dict[str, float]:
        metrics = {}
        layers = [layer for layer in model.modules() if isinstance(layer, VirtualRanks)]
        # one training gives the mean reading too, wherever it was not the statistics that the training itself used
        if layers and not layers[0].tied and self.settings.buffers == "rank0" and self.part == "test":
            for layer in layers:
                layer.read("mean")
            metrics["test_accuracy_mean_buffers"] = self._accuracy(model)
        for layer in layers:
            layer.read(self.settings.buffers)
        return self._tested(model) | metrics

    def _averaged(self, average: nn.Module, model: nn.Module) -> float:
        """Test averaged weights with population statistics, or where those cannot be had, with the model's own."""
        try:
            return self._accuracy(self._with_population(average))
        except _NoReadingError:
            average, model = (unwrap(copy.deepcopy(one)) for one in (average, model))
            kept = dict(model.named_buffers())
            for name, buffer in average.named_buffers():
                buffer.copy_(kept[name])
            return self._accuracy(average)

    def _with_population(self, model: nn.Module) -> nn.Module:
        if not self.card.running_stats:
            raise _NoReadingError
        model = unwrap(copy.deepcopy(model))
        try:
            population(model, self.train, self.settings)
        except CannotRecalibrateError:
            raise _NoReadingError from None
        return model

    def _by_batch(self, model: nn.Module, eval_batch_size: int) -> float:
        """Test with the statistics of test batches, drawn iid; 0 samples stand for as many as in training."""
        if "batch" not in self.card.pools:
            raise _NoReadingError
        own = self.settings.batch_size if "rank" in self.card.pools else int(self.settings.local_batch)
        size = eval_batch_size or own
        if size > len(self.held):
            raise CannotRun(f"eval_batch_size is {size}, and the {self.part} part has {len(self.held)} samples")
        drawn = stream(self.settings.seed, "test batches").permutation(len(self.held))
        # the last part is filled up from the beginning, so that every sample is read once; what fills it does not count
        filled = np.resize(drawn, -(-len(drawn) // size) * size)
        batches = torch.from_numpy(filled).to(self.held.labels.device)
        chunks = batches.split(max(1, EVAL_BATCH // size) * size)
        try:
            hits = torch.cat([self._hits_by_part(model, some, size) for some in _by_length(chunks)])
        except TooFewValuesError:
            if eval_batch_size:
                raise
            raise _NoReadingError from None
        return hits[: len(drawn)].sum().item() / len(drawn)

    @torch.no_grad()
    def _hits_by_part(self, model: nn.Module, chunks: Sequence[Tensor], size: int) -> Tensor:
        """Tell which of these positions are hits; chunks of one length, cut into parts of ``size`` samples each."""
        model = unwrap(copy.deepcopy(model)).eval()
        layers = wrap(model, self.card, len(chunks[0]) // size)
        for layer in layers:
            layer.train()
            layer.register_forward_pre_hook(functools.partial(_require_samples, len(chunks[0])))
        states = [state for layer in layers for state in layer.states.values()]
        kept = [state.clone() for state in states]
        hits = []
        for chunk in chunks:
            images, labels = self.held.batch(chunk)
            with autocast(self.settings):
                hits.append(model(images).argmax(1) == labels)
            for state, before in zip(states, kept, strict=True):
                state.copy_(before)  # what training mode moves is not for the next
        return torch.cat(hits)

    def _accuracy(self, model: nn.Module) -> float:
        return self._hits_and_loss(model)[0]

    def _tested(self, model: nn.Module) -> dict[str, float]:
        accuracy, loss = self._hits_and_loss(model)
        found = {f"{self.part}_accuracy": accuracy}
        # a net read with wrong statistics may overflow; its accuracy stands all the same
        return found | ({f"{self.part}_loss": loss} if math.isfinite(loss) else {})

    @torch.no_grad()
    def _hits_and_loss(self, model: nn.Module) -> tuple[float, float]:
        model.eval()
        device = self.held.labels.device
        hits, loss = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.float64)
        for start in range(0, len(self.held), EVAL_BATCH):
            images, labels = self.held.batch(slice(start, start + EVAL_BATCH))
            with autocast(self.settings):
                logits = model(images).float()
            hits += (logits.argmax(1) == labels).sum()
            loss += F.cross_entropy(logits, labels, reduction="sum")
        return hits.item() / len(self.held), loss.item() / len(self.held)


def freeze(training: Training, feed: Feed, settings: AccuracySettings) -> Training:
    """Give a branch of a training that goes on with population statistics, constants from here on."""
    branch = training.branch()
    unwrap(branch.model)
    population(branch.model, feed, settings)
    factory = normzoo.card(parse_call(settings.normalizer).name).factory
    for layer in branch.model.modules():
        if isinstance(layer, factory):
            layer.eval()
    return branch


def population(model: nn.Module, feed: Feed, settings: AccuracySettings) -> None:
    """Give every layer the statistics of the training part, in batches of ``EVAL_BATCH``, unaugmented.

    Raises:
        CannotRecalibrateError: for a normalizer with statistics of its own making and no ``set_population``.

    """
    drawn = torch.from_numpy(stream(settings.seed, "population").permutation(len(feed))).to(feed.labels.device)

    def call(one: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        with autocast(settings):
            one(batch[0])

    # even batches: a remainder of few samples would normalize the deeper layers' input by odd statistics
    batches = torch.tensor_split(drawn, -(-len(drawn) // EVAL_BATCH))
    recalibrate(model, (feed.batch(index) for index in batches), call=call)


def _by_length(chunks: Sequence[Tensor]) -> list[list[Tensor]]:
    """Group chunks of one length: all but the last, which may be shorter."""
    lengths = dict.fromkeys(len(chunk) for chunk in chunks)
    return [[chunk for chunk in chunks if len(chunk) == length] for length in lengths]


def _require_samples(count: int, _: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Require that a layer sees samples on its first axis: where tokens are flattened into it, parts would mix them."""
    if args[0].shape[0] != count:
        raise _NoReadingError


class _NoReadingError(Exception):
    """The normalizer has no such statistics."""
