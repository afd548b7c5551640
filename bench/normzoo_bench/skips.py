"""What cannot run, and why: known before anything is measured, and a result, not a mistake."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

import normzoo
from normzoo import CannotConvertError, Card, NormalizerOptionError, TooFewValuesError
from normzoo_bench import data, models
from normzoo_bench.data import Source
from normzoo_bench.errors import UsageError
from normzoo_bench.processes.check import lacking
from normzoo_bench.ranks import is_split
from normzoo_bench.running.worker import describe
from normzoo_bench.speed.layers import REFERENCE
from normzoo_bench.speed.model_steps import CLASSES, ModelSettings
from normzoo_bench.streamed import StreamedSet
from normzoo_suites import Cell, parse_call
from normzoo_suites.settings import (
    AccuracySettings,
    MemorySettings,
    ModelThroughputSettings,
    SyncCostSettings,
    ThroughputSettings,
    training_of,
)


def skip_reason(cell: Cell, sources: Mapping[str, Source], elsewhere: bool = False) -> str | None:
    """Say why a cell cannot run, or give None; of devices nothing, where it is to run on other machines.

    Raises:
        UsageError: for a model that does not exist or cannot take the data.

    """
    settings = cell.settings
    if training := training_of(settings):
        dataset = data.load_as(training.data, training.dataset, sources[training.dataset].where)
        return _training_reason(training, dataset)
    if getattr(settings, "mode", "eager") == "captured" and settings.device != "cuda":
        return "a captured CUDA graph needs a GPU"
    if isinstance(settings, ThroughputSettings):
        sizes = settings.sizes()
        own = _layer_reason(settings.normalizer, sizes[1]) or _values_reason(settings.normalizer, sizes)
        return own or _against_the_reference(_values_reason(REFERENCE, sizes))
    if isinstance(settings, MemorySettings):
        return _step_reason(settings.normalizer, settings)
    if isinstance(settings, SyncCostSettings) and not elsewhere and (reason := lacking(settings)):
        return f"sync_cost {reason}"
    if isinstance(settings, ModelThroughputSettings | SyncCostSettings):
        own = _step_reason(settings.normalizer, settings)
        return own or _against_the_reference(_step_reason(REFERENCE, settings))
    return None


def _training_reason(settings: AccuracySettings, dataset: data.DataSet | StreamedSet) -> str | None:
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


def _against_the_reference(reason: str | None) -> str | None:
    return f"it would be timed against {REFERENCE}, and {reason}" if reason else None


def _step_reason(normalizer: str, settings: ModelSettings) -> str | None:
    """Say why a timed or weighed step of a model cannot have this normalizer, or give None.

    Raises:
        UsageError: for a model that does not exist or cannot take such images.

    """
    card = normzoo.card(parse_call(normalizer).name)
    phase = "training" if isinstance(settings, SyncCostSettings) else settings.phase
    if phase == "folded" and card.pools and not card.running_stats:
        return f"{card.name} has no running statistics, and only constants can be folded into a convolution"
    apart = settings.ranks if isinstance(settings, SyncCostSettings) and "rank" not in card.pools else 1
    pooled = settings.batch_size // apart if phase == "training" or not card.running_stats else 0
    shape = (3, settings.image_size, settings.image_size)
    return _model_reason(normalizer, settings.model, shape, CLASSES, pooled == 1, False)


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
