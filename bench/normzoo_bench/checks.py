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
from normzoo_suites.settings import training_of


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

    @functools.cache  # many cells share a training part
    def present(kind: data.Kind, name: str, seed: int, train_samples: int | str, evaluate_on: str) -> int:
        return data.load_as(kind, name, sources[name].where).present_classes(seed, train_samples, evaluate_on)

    @functools.lru_cache(maxsize=4)  # of arrays
    def labels(kind: data.Kind, name: str, *part: Any) -> NDArray[np.int64]:
        return data.load_as(kind, name, sources[name].where).trained_labels(*part)

    split: set[tuple[object, ...]] = set()  # what has been checked: cells of several normalizers share it
    for cell in cells:
        settings = training_of(cell.settings)
        if settings is None:
            continue
        dataset = data.load_as(settings.data, settings.dataset, sources[settings.dataset].where)
        have = dataset.train_size()
        wanted = have if settings.train_samples == "all" else int(settings.train_samples)
        if wanted > have:
            raise UsageError(f"train_samples is {wanted}, and {settings.dataset} has {have} training samples")
        kept = dataset.kept(settings.train_samples, settings.evaluate_on)
        if settings.batch_size > kept:
            beside = " beside the validation part" if settings.evaluate_on == "validation" else ""
            raise UsageError(
                f"batch_size is {settings.batch_size}, larger than the {kept} training samples there are{beside}"
            )
        dataset.check(settings.dataset)
        part = (settings.seed, settings.train_samples, settings.evaluate_on)
        classes = present(settings.data, settings.dataset, *part)
        if classes < dataset.trained_classes():
            raise UsageError(
                f"the training part (seed {settings.seed}, train_samples {settings.train_samples}) holds {classes} of "
                f"the {dataset.trained_classes()} classes of {settings.dataset}, and nobody can learn the others; use "
                "more train_samples"
            )
        asked = (settings.draw, settings.split, settings.dealing, settings.ranks, settings.batch_size)
        if (settings.data, settings.dataset, part, asked) not in split:
            splits.check(settings, functools.partial(labels, settings.data, settings.dataset, *part))
            split.add((settings.data, settings.dataset, part, asked))
        if settings.data == "stream":
            check_augment(settings.augment)
        else:
            augmentation(settings.augment).check_fits(dataset.shape)
        effects.check(settings)
        online.check(settings)
