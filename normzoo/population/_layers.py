"""Which layers of a model have running statistics, and how those are set."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normzoo import registry
from normzoo.norms._common import TooFewValuesError
from normzoo.population._moments import Moments

STATISTICS = {"running_mean", "running_var", "running_std"}
"""Buffers of these names say that a layer keeps running statistics; a ``running_loss`` is none of ours."""


class CannotRecalibrateError(ValueError):
    """A model's statistics cannot be replaced by those of these batches; the model is as it was."""


def keeps_statistics(name: str, layer: nn.Module) -> bool:
    """Tell whether a layer has running statistics that can be set.

    Raises:
        CannotRecalibrateError: when it has some that cannot.

    """
    own = dict(layer.named_buffers(recurse=False))
    if any(nn.parameter.is_lazy(buffer) for buffer in own.values()):
        raise CannotRecalibrateError(f"{path(name)} does not know its channels yet; run the model on a batch first")
    if callable(getattr(layer, "set_population", None)):
        return True
    if isinstance(layer, _BatchNorm):  # what counts is whether eval reads them, and it does wherever they are
        return layer.running_mean is not None and layer.running_var is not None
    has = any(key in STATISTICS and buffer.is_floating_point() for key, buffer in own.items())
    # torchvision, timm and detectron2 name them so: their statistics are constants, which training does not move
    if (has and not type(layer).__name__.startswith("Frozen")) or _hides_statistics(name, layer):
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        raise CannotRecalibrateError(
            f"{path(name)} ({kind}) keeps running statistics, but has no method set_population(mean, var, count) "
            "to set them; add it (one that does nothing keeps them as they are)"
        )
    return False


def _hides_statistics(name: str, layer: nn.Module) -> bool:
    """Tell whether a layer's card claims running statistics that are to be found neither in it nor in its parts."""
    cards = map(registry.card, registry.names())
    if not any(card.running_stats and isinstance(layer, card.factory) for card in cards):
        return False
    parts = itertools.islice(layer.named_modules(prefix=name), 1, None)  # all but itself
    return not any(keeps_statistics(inner, part) for inner, part in parts)


def write(name: str, layer: nn.Module, moments: Moments) -> None:
    """Set a layer's statistics; torch's batch norm stores the unbiased variance."""
    if moments.count < 2:
        raise TooFewValuesError(
            f"{path(name)} saw a single value per channel in all batches; a variance needs 2, give more data"
        )
    mean, variance = moments.mean, moments.squares / moments.count
    if not bool(torch.isfinite(mean + variance).all()):
        raise CannotRecalibrateError(f"{path(name)} saw values that are not finite; look at the data and the weights")
    if callable(setter := getattr(layer, "set_population", None)):
        setter(mean, variance, moments.count)
        return
    cast(Tensor, layer.running_mean).copy_(mean)
    cast(Tensor, layer.running_var).copy_(moments.squares / (moments.count - 1))


def path(name: str) -> str:
    """Name a layer by its path in the model."""
    return repr(name) if name else "the model"
