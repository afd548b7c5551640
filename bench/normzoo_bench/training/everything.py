"""Everything that is read off one trained model: what its training asks for once, and what each of its cells does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from normzoo_bench.training.federated import Federation
from normzoo_bench.training.feed import Feed
from normzoo_bench.training.leak import read_leak
from normzoo_bench.training.online import read_stream
from normzoo_bench.training.readings import Reader
from normzoo_bench.training.trainer import ResidentBatches, Trained, Training
from normzoo_suites.settings import AccuracySettings


class Readings:
    """The readings of one model on one held-out part; ``frozen`` is the branch with frozen statistics, if any."""

    def __init__(self, reader: Reader, training: Trained, frozen: Trained | None) -> None:
        self.reader, self.training, self.frozen = reader, training, frozen
        self._common: dict[str, float] | None = None

    def read(self, asked: AccuracySettings) -> dict[str, float]:
        """Give the metrics that one of the training's cells asks for.

        Raises:
            CannotRun: when the held-out part has fewer samples than a batch.
            TooFewValuesError: when the cell's batches are too small for its normalizer.

        """
        if self._common is None:
            self._common = self.reader.read(self.training)
            if self.frozen is not None:
                self._common |= self.reader.frozen(self.frozen)
        running = self._common.get("test_accuracy", 0.0)
        found = self.reader.by_batch(self.training, running, asked)
        found |= read_stream(self.training.model, self.reader.held, asked)
        found |= read_leak(self.training.model, self.reader.held, asked, found.get("test_accuracy_batch", running))
        return self._common | found


class ReadingsByRank:
    """The readings of ranks that have norm layers of their own: each rank's model reads its share of the held-out part.

    Sample i belongs to rank i mod ranks, as in training. Metrics are the mean over samples.
    """

    def __init__(self, settings: AccuracySettings, held: Feed, both: Sequence[Federation | None]) -> None:
        training, branch = both
        assert training is not None  # for mypy: only a branch may be missing
        self.parts = [_every(held, rank, settings.ranks) for rank in range(settings.ranks)]
        self.readings = [
            Readings(Reader(settings, _data(own), part), own, branch.ranks[rank] if branch else None)
            for rank, (part, own) in enumerate(zip(self.parts, training.ranks, strict=True))
        ]

    def read(self, asked: AccuracySettings) -> dict[str, float]:
        """Give the metrics that one of the training's cells asks for; see ``Readings.read``."""
        found = [own.read(asked) for own in self.readings]
        weights = [len(part) for part in self.parts]
        names = [name for name in found[0] if all(name in one for one in found)]
        return {
            name: sum(weight * one[name] for weight, one in zip(weights, found, strict=True)) / sum(weights)
            for name in names
        }


def _data(own: Training) -> Feed:
    """Give a rank's own training data, of which its population statistics are."""
    assert isinstance(own.batches, ResidentBatches)  # for mypy: ranks by themselves have these
    return own.batches.feed


def _every(held: Feed, rank: int, ranks: int) -> Feed:
    return dataclasses.replace(held, images=held.images[rank::ranks], labels=held.labels[rank::ranks])
