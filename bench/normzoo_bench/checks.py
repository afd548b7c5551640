"""What can be known to be wrong, or impossible, before anything is measured.

``check_*`` raise for mistakes of whoever asked; ``skip_reason`` says why a cell cannot run, which is a result.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import normzoo
from normzoo import CannotConvertError, Card, NormalizerOptionError, TooFewValuesError, UnknownNormalizerError
from normzoo_bench import data, models, splits
from normzoo_bench.data import Source
from normzoo_bench.errors import UsageError
from normzoo_bench.processes.check import check as check_processes
from normzoo_bench.processes.check import lacking
from normzoo_bench.processes.work import Asked
from normzoo_bench.ranks import is_split
from normzoo_bench.speed.layers import REFERENCE
from normzoo_bench.speed.model_steps import CLASSES
from normzoo_bench.training import effects, online
from normzoo_bench.training.augment import augmentation
from normzoo_bench.training.stream import check_augment
from normzoo_bench.worker import describe
from normzoo_suites import Cell, parse_call
from normzoo_suites.settings import AccuracySettings, SyncCostSettings, ThroughputSettings


def check_devices(cells: Iterable[Cell]) -> None:
    """Require the devices that cells name, and as many as their ranks need; raises UsageError."""
    cells = list(cells)
    if any(cell.settings.device == "cuda" for cell in cells) and not torch.cuda.is_available():
        raise UsageError("device cuda was asked for, and torch finds no CUDA device here; use --device cpu")
    for cell in cells:
        if isinstance(cell.settings, Asked):
            check_processes(cell.settings)


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
        if not isinstance(cell.settings, AccuracySettings):
            continue
        settings = cell.settings
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


def skip_reason(cell: Cell, sources: Mapping[str, Source]) -> str | None:
    """Say why a cell cannot run, or give None.

    Raises:
        UsageError: for a model that does not exist or cannot take the data.

    """
    settings = cell.settings
    if isinstance(settings, ThroughputSettings):
        sizes = settings.sizes()
        own = _layer_reason(settings.normalizer, sizes[1]) or _values_reason(settings.normalizer, sizes)
        others = _values_reason(REFERENCE, sizes)
        return own or (f"it would be timed against {REFERENCE}, and {others}" if others else None)
    if isinstance(settings, SyncCostSettings):
        return _sync_reason(settings)
    if isinstance(settings, AccuracySettings):
        dataset = data.load_as(settings.data, settings.dataset, sources[settings.dataset].where)
        card = normzoo.card(parse_call(settings.normalizer).name)
        if reason := _test_reason(settings, card, dataset.test_size()):
            return reason
        if settings.local_epochs and "rank" in card.pools:
            return f"{card.name} pools over ranks in every step, and ranks that train by themselves do not meet there"
        dealt = is_split(card, settings.ranks) and not settings.local_epochs
        local = settings.batch_size // settings.ranks if dealt or settings.local_epochs else settings.batch_size
        # two samples give every statistic two values; only one sample needs a look at the model's smallest map
        virtual = dealt and settings.ranks_backend == "virtual"
        return _model_reason(settings.normalizer, settings.model, dataset.shape, dataset.classes, local == 1, virtual)
    return None


def _sync_reason(settings: SyncCostSettings) -> str | None:
    """Say why ranks cannot be processes here, or why a rank's batch is too small for either normalizer."""
    if reason := lacking(settings):
        return f"sync_cost {reason}"

    def unfit(normalizer: str) -> str | None:
        pooled = "rank" in normzoo.card(parse_call(normalizer).name).pools
        one_sample = (settings.batch_size if pooled else settings.local_batch) == 1
        shape = (3, settings.image_size, settings.image_size)
        return _model_reason(normalizer, settings.model, shape, CLASSES, one_sample, False)

    others = unfit(REFERENCE)
    return unfit(settings.normalizer) or (f"it would be timed against {REFERENCE}, and {others}" if others else None)


def _test_reason(settings: AccuracySettings, card: Card, size: int) -> str | None:
    """Say why a test part of this size is too small for the readings that are asked for."""
    whose = f"the test part has {size} samples"
    if settings.buffers == "local":  # each rank's model reads its share
        size //= settings.ranks
        whose = f"each of {settings.ranks} ranks reads {size} of the test part's samples"
    own = int(settings.local_batch) if settings.buffers == "local" else 0
    wanted = settings.eval_batch_size or own
    by_batch = settings.eval_batch_size or settings.readings == "all" or settings.probe != "none"
    if size < 1:
        return whose
    if by_batch and wanted > size and "batch" in card.pools:
        return f"{'eval_batch_size' if settings.eval_batch_size else 'local_batch'} is {wanted}, and {whose}"
    return None


@functools.cache
def _layer_reason(normalizer: str, channels: int) -> str | None:
    call = parse_call(normalizer)
    return _reason(normalizer, lambda: normzoo.create(call.name, channels, **call.options))


def _values_reason(normalizer: str, sizes: tuple[int, ...]) -> str | None:
    needed = normzoo.card(parse_call(normalizer).name).smallest_batch(sizes[2:])
    if sizes[0] >= needed:
        return None
    return f"{normalizer} needs a batch of {needed} at {math.prod(sizes[2:])} position(s) per sample, got {sizes[0]}"


@functools.cache
def _model_reason(
    normalizer: str, model: str, shape: models.Shape, classes: int, one_sample: bool, dealt: bool
) -> str | None:
    """Convert the model, and try it where one sample makes up a statistic, or samples are dealt to virtual ranks.

    A group of channels is a part of one sample, however many there are.
    """
    call = parse_call(normalizer)
    converted = copy.deepcopy(_checked_model(model, shape, classes))

    def attempt() -> None:
        changed = normzoo.convert(converted, call.name, **call.options)
        if dealt:
            _require_samples_first(changed, normzoo.card(call.name), shape)
        if one_sample or "group" in normzoo.card(call.name).pools:
            changed.train()(torch.zeros(1 if one_sample else 2, *shape))

    return _reason(normalizer, attempt)


class _NotSamplesError(ValueError):
    pass


def _require_samples_first(model: nn.Module, card: Card, shape: models.Shape) -> None:
    """Require that every norm layer sees samples on its first axis: virtual ranks deal by it.

    Some token models flatten tokens or windows into it, and then a row's rank cannot be told.
    """

    def look(name: str, layer: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].shape[0] != count:
            raise _NotSamplesError(f"virtual ranks deal samples, and {name} has others than samples on its first axis")

    count = 3  # a number of samples that no axis of a model has by chance
    layers = [pair for pair in model.named_modules() if isinstance(pair[1], card.factory)]
    hooks = [layer.register_forward_pre_hook(functools.partial(look, name)) for name, layer in layers]
    try:
        with torch.no_grad():
            model.train()(torch.zeros(count, *shape))  # in training, where every option of a normalizer is used
    finally:
        for hook in hooks:
            hook.remove()


def _reason(normalizer: str, attempt: Callable[[], object]) -> str | None:
    """Try a normalizer; give why it does not fit, or None.

    Raises:
        UsageError: when it fails in any other way: an option of a wrong type, a fault in its code.

    """
    try:
        attempt()
    except (CannotConvertError, NormalizerOptionError, TooFewValuesError, _NotSamplesError) as error:
        return str(error)
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot build and try {normalizer}: {describe(error)}") from error
    return None


@functools.cache
def _checked_model(name: str, shape: models.Shape, classes: int) -> nn.Module:
    """Build a model and try it on two blank images.

    Raises:
        UsageError: when it cannot take images of this shape.

    """
    model = models.build(name, shape, classes)
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, shape))
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the model {name} cannot take {size} images: {reason}") from None
    return model
