"""What can be known to be wrong before anything is measured: mistakes of whoever asked."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import normzoo
from normzoo import NormalizerOptionError, UnknownNormalizerError
from normzoo_bench import data, splits
from normzoo_bench.data import Source
from normzoo_bench.errors import UsageError
from normzoo_bench.processes.check import check as check_processes
from normzoo_bench.processes.work import Asked
from normzoo_bench.training import effects, online
from normzoo_bench.training.augment import augmentation
from normzoo_bench.training.stream import check_augment
from normzoo_suites import Cell, parse_call
from normzoo_suites.settings import AccuracySettings, training_of


def check_devices(cells: Iterable[Cell], elsewhere: bool = False) -> None:
    """Require the devices that cells name, and as many as their ranks need; raises UsageError.

    Where cells are to run ``elsewhere``, it is not known here which devices there are.
    """
    cells = list(cells)
    if not elsewhere and any(cell.settings.device == "cuda" for cell in cells) and not torch.cuda.is_available():
        raise UsageError("device cuda was asked for, and torch finds no CUDA device here; use --device cpu")
    for cell in cells:
        if isinstance(cell.settings, Asked):
            check_processes(cell.settings, elsewhere)


def check_normalizers(cells: Iterable[Cell]) -> None:
    """Require normalizers that are registered and have the options that cells give them; raises UsageError."""
    for spelling in dict.fromkeys(cell.settings.normalizer for cell in cells):
        call = parse_call(spelling)
        try:
            normzoo.check_options(call.name, call.options)
        except (UnknownNormalizerError, NormalizerOptionError) as error:
            raise UsageError(str(error)) from None


def check_data(cells: Iterable[Cell], sources: Mapping[str, Source]) -> None:
    """Require enough samples for every batch, and splits that fit; raises UsageError."""
    parts = _Parts(sources)
    # none of it depends on the normalizer, and cells of several normalizers share all the rest
    looked_at = AccuracySettings.all_but("normalizer")
    trained = [training for cell in cells if (training := training_of(cell.settings)) is not None]
    for settings in {looked_at(one): one for one in trained}.values():
        kept = parts.kept(settings.data, settings.dataset, settings.train_samples, settings.evaluate_on)
        if settings.batch_size > kept:
            beside = " beside the validation part" if settings.evaluate_on == "validation" else ""
            raise UsageError(
                f"batch_size is {settings.batch_size}, larger than the {kept} training samples there are{beside}"
            )
        part = (settings.data, settings.dataset, settings.seed, settings.train_samples, settings.evaluate_on)
        parts.check(*part)
        parts.check_split(settings, *part)
        if settings.data == "stream":
            check_augment(settings.augment)
        else:
            augmentation(settings.augment).check_fits(parts.load(settings.data, settings.dataset).shape)
        effects.check(settings)
        online.check(settings)


class _Parts:
    """The training parts of a plan's data sets, each looked at once however many cells share it."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.load = functools.cache(lambda kind, name: data.load_as(kind, name, sources[name].where))
        self.kept, self.check = functools.cache(self._kept), functools.cache(self._check)
        self._labels = functools.lru_cache(maxsize=4)(self._read_labels)  # of arrays
        self._split: set[tuple[object, ...]] = set()

    def _kept(self, kind: data.Kind, name: str, train_samples: int | str, evaluate_on: str) -> int:
        """Count the samples that are trained on; raises UsageError where more are wanted than there are."""
        dataset = self.load(kind, name)
        have = dataset.train_size()
        wanted = have if train_samples == "all" else int(train_samples)
        if wanted > have:
            raise UsageError(f"train_samples is {wanted}, and {name} has {have} training samples")
        return dataset.kept(train_samples, evaluate_on)

    def _check(self, kind: data.Kind, name: str, seed: int, train_samples: int | str, evaluate_on: str) -> None:
        """Require all classes in a training part; raises UsageError."""
        dataset = self.load(kind, name)
        dataset.check(name)
        classes = dataset.present_classes(seed, train_samples, evaluate_on)
        if classes < dataset.trained_classes():
            raise UsageError(
                f"the training part (seed {seed}, train_samples {train_samples}) holds {classes} of the "
                f"{dataset.trained_classes()} classes of {name}, and nobody can learn the others; use more "
                "train_samples"
            )

    def check_split(self, settings: AccuracySettings, *part: Any) -> None:
        """Require a draw, a split and a dealing that fit this training part; raises UsageError."""
        asked = (settings.draw, settings.split, settings.dealing, settings.ranks, settings.batch_size)
        if (part, asked) not in self._split:
            splits.check(settings, functools.partial(self._labels, *part))
            self._split.add((part, asked))

    def _read_labels(self, kind: data.Kind, name: str, *part: Any) -> NDArray[np.int64]:
        return self.load(kind, name).trained_labels(*part)
