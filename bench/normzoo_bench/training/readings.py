"""One trained net, read with each kind of statistics that its normalizer has: running, population, batch.

Running statistics are the moving averages that training has left; population statistics are those of the training part,
computed afterwards; batch statistics are those of the test batch itself, as in training.
"""

from __future__ import annotations

import contextlib
import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo import CannotRecalibrateError, TooFewValuesError, recalibrate
from normzoo_bench.ranks import VirtualRanks, unwrap
from normzoo_bench.seeds import stream
from normzoo_bench.training.batchwise import (
    EVAL_BATCH,
    NoReadingError,
    accuracy_by_batch,
    card_of,
    iid_batches,
    samples_per_statistic,
)
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.trainer import Trained, Training, autocast
from normzoo_suites.settings import AccuracySettings


class Reader:
    """Tests trained nets of one cell on its held-out part."""

    def __init__(self, settings: AccuracySettings, train: Feed, held: Feed) -> None:
        self.settings, self.train, self.held = settings, train, held
        self.card = card_of(settings)
        self.part = settings.evaluate_on

    def read(self, training: Trained) -> dict[str, float]:
        """Give the metrics of every reading but those by batch; the model is left with the buffers that are kept."""
        found = self._running(training.model)
        if self.part == "validation":
            return found
        if training.average is not None:
            found["test_accuracy_ema"] = self._averaged(training.average.module, training.model)
        if self.settings.readings == "all":
            with contextlib.suppress(NoReadingError):
                found["test_accuracy_population"] = self._accuracy(self._with_population(training.model))
        return found

    def by_batch(self, training: Trained, running: float, asked: AccuracySettings) -> dict[str, float]:
        """Give the metrics of the reading by batch statistics, for one of the cells that read this training.

        ``running`` is the test accuracy by running statistics.

        Raises:
            CannotRun: when the held-out part has fewer samples than a batch.
            TooFewValuesError: when a cell asks for too small batches, and for nothing else that they leave.

        """
        # the leak probe is never shown without its iid counterpart
        if self.part == "validation" or (asked.readings != "all" and asked.probe == "none"):
            return {}
        try:
            accuracy = self._by_batch(training.model, asked)
        except NoReadingError:
            return {}
        gap = {"train_eval_gap": running - accuracy} if self.card.running_stats else {}
        return {"test_accuracy_batch": accuracy} | gap

    def frozen(self, training: Trained) -> dict[str, float]:
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
        except NoReadingError:
            average, model = (unwrap(copy.deepcopy(one)) for one in (average, model))
            kept = dict(model.named_buffers())
            for name, buffer in average.named_buffers():
                buffer.copy_(kept[name])
            return self._accuracy(average)

    def _with_population(self, model: nn.Module) -> nn.Module:
        return with_population(model, self.train, self.settings)

    def _by_batch(self, model: nn.Module, asked: AccuracySettings) -> float:
        """Test with the statistics of test batches, drawn iid."""
        if "batch" not in self.card.pools:
            raise NoReadingError
        batches = iid_batches(asked.seed, len(self.held), samples_per_statistic(asked, self.held))
        try:
            return accuracy_by_batch(model, batches, self.held, asked)
        except TooFewValuesError:
            if asked.eval_batch_size and asked.stream == "none":
                raise
            raise NoReadingError from None

    def _accuracy(self, model: nn.Module) -> float:
        return hits_and_loss(model, self.held, self.settings)[0]

    def _tested(self, model: nn.Module) -> dict[str, float]:
        accuracy, loss = hits_and_loss(model, self.held, self.settings)
        found = {f"{self.part}_accuracy": accuracy}
        # a net read with wrong statistics may overflow; its accuracy stands all the same
        return found | ({f"{self.part}_loss": loss} if math.isfinite(loss) else {})


@torch.no_grad()
def hits_and_loss(model: nn.Module, held: Feed, settings: AccuracySettings) -> tuple[float, float]:
    """Give the share of hits and the mean loss with the statistics that the model has; it is left in eval."""
    model.eval()
    device = held.labels.device
    hits, loss = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.float64)
    for start in range(0, len(held), EVAL_BATCH):
        images, labels = held.batch(slice(start, start + EVAL_BATCH))
        with autocast(settings):
            logits = model(images).float()
        hits += (logits.argmax(1) == labels).sum()
        loss += F.cross_entropy(logits, labels, reduction="sum")
    return hits.item() / len(held), loss.item() / len(held)


def freeze(training: Training, feed: Feed, settings: AccuracySettings) -> Training:
    """Give a branch of a training that goes on with population statistics, constants from here on."""
    branch = training.branch()
    unwrap(branch.model)
    population(branch.model, feed, settings)
    factory = card_of(settings).factory
    for layer in branch.model.modules():
        if isinstance(layer, factory):
            layer.eval()
    return branch


def with_population(model: nn.Module, feed: Feed, settings: AccuracySettings) -> nn.Module:
    """Give a copy of a model, without virtual ranks, that has the statistics of these samples.

    Raises:
        NoReadingError: for a normalizer that keeps none, or none that can be set.

    """
    if not card_of(settings).running_stats:
        raise NoReadingError
    model = unwrap(copy.deepcopy(model))
    try:
        population(model, feed, settings)
    except CannotRecalibrateError:
        raise NoReadingError from None
    return model


def population(model: nn.Module, feed: Feed, settings: AccuracySettings) -> None:
    """Give every layer the statistics of a part of the data, in batches of ``EVAL_BATCH``, unaugmented.

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
