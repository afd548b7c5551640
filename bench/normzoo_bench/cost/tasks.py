"""What costs time once, a training with all that is read of it or one timed cell, and which of them are alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from normzoo_bench import data
from normzoo_bench.data import Source
from normzoo_suites.settings import AccuracySettings, Settings, TrainingSettings, training_of

Key = tuple[Any, ...]

TRAININGS = (
    "the same but for the seed",
    "the same data, model and normalizer",
    "the same model and normalizer",
    "the same model",
    "other models",
)
"""How a training can be like another, the nearest likeness first."""

TIMED = (
    "the same but for the repeat",
    "the same but for repeat and normalizer",
    "the same kind of step",
    "the same measure",
)
"""How a timed cell can be like another."""

FAMILIAR = {TRAININGS: 2, TIMED: 3}
"""How many of these likenesses are near enough that a probe of the task itself would tell no more."""

_ALWAYS = ("device", "ranks_backend", "data")  # processes are started, and streams decoded, at a cost of their own
_OF_A_STEP = ("device", "model", "mode", "phase", "direction", "cache", "find", "ranks")


@dataclass(frozen=True)
class Task:
    """One thing that costs time.

    Attributes:
        measure: what is measured.
        settings: of its first cell.
        samples: that a training sees, over all epochs, in whole batches, the branch with frozen statistics too; 1 for
            what is timed, which takes as long as its protocol says.
        keys: what it has in common with others, the nearest likeness first.

    """

    measure: str
    settings: Settings
    samples: float
    keys: tuple[Key, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Name the likenesses that the keys stand for."""
        return TRAININGS if isinstance(self.settings, TrainingSettings) else TIMED

    @property
    def batch_size(self) -> int:
        """Samples per step, on which the time per sample depends; 1 for what is timed."""
        return self.settings.batch_size if isinstance(self.settings, TrainingSettings) else 1


class Tasks:
    """Makes tasks; ``sources`` say where data sets are loaded from, since their sizes count."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._sizes: dict[Key, int | None] = {}
        self._made: dict[Key, Task | None] = {}

    def task(self, measure: str, settings: Settings, reads: frozenset[Key]) -> Task | None:
        """Make a task of settings and of what is read of it; None for a training on data of unknown size.

        Tasks that differ in their seed alone are one object: there may be a hundred thousand.
        """
        training = training_of(settings)
        if training is None:
            return Task(measure, settings, 1.0, _timed(measure, settings))
        # what trainings that take equally long may differ in is left out
        same = (measure, *without(settings, settings.READ_AFTERWARDS | {"seed"}), reads)
        if same not in self._made:
            count = self._count(training)
            epochs = training.epochs + max(0, training.epochs - training.frozen_epoch())
            keys = (same, *_alike(measure, settings))
            self._made[same] = None if count is None else Task(measure, settings, float(max(count, 1) * epochs), keys)
        return self._made[same]

    def _count(self, settings: AccuracySettings) -> int | None:
        """Count the samples of an epoch, without the last partial batch."""
        asked = (settings.data, settings.dataset, settings.train_samples, settings.evaluate_on)
        if asked not in self._sizes:
            self._sizes[asked] = self._kept(settings)
        kept = self._sizes[asked]
        return None if kept is None else kept // settings.batch_size * settings.batch_size

    def _kept(self, settings: AccuracySettings) -> int | None:
        source = self._sources.get(settings.dataset)
        if source is None:
            return None if settings.train_samples == "all" else int(settings.train_samples)
        loaded = data.load_as(settings.data, settings.dataset, source.where)
        return loaded.kept(settings.train_samples, settings.evaluate_on)


def reading(settings: Settings) -> Key:
    """Name what is read of a training."""
    return tuple(value for key, value in vars(settings).items() if key in settings.READ_AFTERWARDS)


def without(settings: Settings, left_out: Collection[str]) -> Key:
    """Give the values of all settings but these, in their one order."""
    return tuple(value for key, value in vars(settings).items() if key not in left_out)


def _only(settings: Settings, names: Collection[str]) -> Key:
    return tuple(getattr(settings, name, None) for name in names)


def _alike(measure: str, settings: Settings) -> tuple[Key, ...]:
    """Give what trainings that are not the same have in common, the nearest likeness first."""
    always = (measure, *_only(settings, _ALWAYS))
    likenesses = (("dataset", "model", "normalizer"), ("model", "normalizer"), ("model",), ())
    return tuple((*always, *_only(settings, names)) for names in likenesses)


def _timed(measure: str, settings: Settings) -> tuple[Key, ...]:
    return (
        (measure, *without(settings, {"repeat"})),
        (measure, *without(settings, {"repeat", "normalizer"})),
        (measure, *_only(settings, _OF_A_STEP)),
        (measure, settings.device),
    )
